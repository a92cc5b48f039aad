// SPDX-License-Identifier: Apache-2.0
#include "criu_job.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>

#include "log.hpp"

namespace dray::oci::criu {
namespace {

Result<unsigned> parse_cgroups_mode(const std::string& mode) {
  constexpr std::array<std::pair<const char*, unsigned>, 5> kModes = {
      {{"ignore", 0}, {"soft", 3}, {"full", 4}, {"strict", 5}, {"", 6}}};
  for (const auto& [name, number] : kModes) {
    if (mode == name) return number;
  }
  return fail(ErrorCode::invalid_argument, "invalid manage-cgroups-mode value");
}

Result<Message> parse_page_server(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  std::string address = text.substr(0, colon == std::string::npos ? 0 : colon);
  if (address.size() > 2 && address.front() == '[' && address.back() == ']')
    address = address.substr(1, address.size() - 2);
  if (address.empty() || colon + 1 == text.size())
    return fail(ErrorCode::invalid_argument, "Use --page-server ADDRESS:PORT to specify page server");
  const std::string port = text.substr(colon + 1);
  if (port.size() > 5 || port.find_first_not_of("0123456789") != std::string::npos || std::stoi(port) > 65535)
    return fail(ErrorCode::invalid_argument, "Invalid port number");
  Message server;
  server.text(1, address);
  server.number(2, static_cast<unsigned>(std::stoi(port)));
  return server;
}

Result<void> check_empty_namespaces(const std::vector<std::string>& names) {
  for (const auto& name : names) {
    if (name != "network") return fail(ErrorCode::invalid_argument, "namespace \"" + name + "\" is not supported");
  }
  return {};
}

}  // namespace

void Job::add_pair(field::Number list, std::string_view key, std::string_view value) {
  Message pair;
  pair.text(1, key);
  pair.text(2, value);
  options.message(list, pair);
}

Result<Job> make_job(const CriuOptions& wanted, const runtime::Spec& spec, const char* log_name) {
  Job job;
  const unsigned mode = TRY(parse_cgroups_mode(wanted.cgroups_mode));
  TRY(check_empty_namespaces(wanted.empty_namespaces));
  job.images = TRY_CTX(open_file(wanted.image_path, O_RDONLY | O_DIRECTORY), "the images' directory");
  job.log = wanted.image_path + "/" + log_name;
  Message& options = job.options;
  options.number(field::images_dir_fd, static_cast<unsigned>(job.images.get()));
  if (!wanted.work_path.empty()) {
    if (::mkdir(wanted.work_path.c_str(), 0700) != 0 && errno != EEXIST)
      return fail_errno("making \"" + wanted.work_path + "\"");
    job.work = TRY_CTX(open_file(wanted.work_path, O_RDONLY | O_DIRECTORY), "the work directory");
    job.log = wanted.work_path + "/" + log_name;
    options.number(field::work_dir_fd, static_cast<unsigned>(job.work.get()));
  }
  options.number(field::log_level, 4);
  options.text(field::log_file, log_name);
  options.flag(field::manage_cgroups, true);
  options.number(field::manage_cgroups_mode, mode);
  options.flag(field::notify_scripts, true);
  options.flag(field::shell_job, wanted.shell_job);
  options.flag(field::ext_unix_sk, wanted.external_unix_sockets);
  options.flag(field::tcp_established, wanted.tcp_established);
  options.flag(field::file_locks, wanted.file_locks);
  // Devices and addresses are the business of who made the network.
  options.number(field::empty_ns, CLONE_NEWNET);
  options.flag(field::orphan_pts_master, true);
  options.flag(field::auto_dedup, wanted.auto_dedup);
  options.flag(field::lazy_pages, wanted.lazy_pages);
  if (!wanted.page_server.empty()) options.message(field::page_server, TRY(parse_page_server(wanted.page_server)));
  // Settings in that file go before ours. There need not be one.
  const auto config = spec.annotations.find("org.criu.config");
  if (config == spec.annotations.end()) {
    options.text(field::config_file, "/etc/criu/runc.conf");
  } else if (!config->second.empty()) {
    options.text(field::config_file, config->second);
  }
  return job;
}

void quote_log(const std::string& path) {
  auto text = read_file(path, 256u << 20);
  if (!text) return log_warning(text.error().message());
  constexpr std::size_t kBefore = 5;
  std::vector<std::string_view> lines;
  const std::string_view all = *text;
  for (std::size_t at = 0; at < all.size();) {
    const std::size_t end = std::min(all.find('\n', at), all.size());
    lines.push_back(all.substr(at, end - at));
    at = end + 1;
  }
  std::size_t next = 0;  // line not yet quoted
  bool quoting = false;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (lines[i].find("Error") == std::string_view::npos) continue;
    const std::size_t first = std::max(next, i > kBefore ? i - kBefore : 0);
    if (!quoting) {
      log_warning("--- Quoting \"" + path + "\"");
    } else if (first > next) {
      log_warning("...");
    }
    quoting = true;
    for (next = first; next <= i; ++next) log_warning(std::to_string(next + 1) + ":" + std::string(lines[next]));
  }
  if (quoting) log_warning("---");
}

}  // namespace dray::oci::criu
