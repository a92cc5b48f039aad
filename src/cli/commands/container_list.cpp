// SPDX-License-Identifier: Apache-2.0
// ps and the inspect commands.
#include <ctime>

#include <dray/core/process.hpp>
#include <dray/engine/containers.hpp>
#include <dray/engine/images.hpp>
#include <dray/engine/remote.hpp>

#include <dray/flags/flags.hpp>
#include "../command.hpp"
#include "../platform_flag.hpp"
#include "../table.hpp"

namespace dray::cli {
namespace {

std::string state_name(engine::Status status) {
  switch (status) {
    case engine::Status::created:
      return "created";
    case engine::Status::running:
      return "running";
    case engine::Status::restarting:
      return "restarting";
    case engine::Status::exited:
      return "exited";
    case engine::Status::dead:
      return "dead";
  }
  return "dead";
}

std::string status_text(const engine::ContainerInfo& info) {
  auto now = static_cast<std::int64_t>(::time(nullptr));
  switch (info.status) {
    case engine::Status::created:
      return "Created";
    case engine::Status::running:
      return "Up " + human_duration(now - parse_time(info.started_at).value_or(now));
    case engine::Status::restarting:
      return "Restarting (" + std::to_string(info.exit_code) + ") " + human_age(info.finished_at);
    case engine::Status::exited:
      return "Exited (" + std::to_string(info.exit_code) + ") " + human_age(info.finished_at);
    case engine::Status::dead:
      return "Dead";
  }
  return "";
}

std::string ports_text(const engine::ContainerInfo& info) {
  std::string text;
  if (!info.endpoint) return text;
  for (const auto& port : info.endpoint->ports) {
    if (!text.empty()) text += ", ";
    text += (port.host_ip.empty() ? "0.0.0.0" : port.host_ip) + ":" + std::to_string(port.host_port) + "->" +
            std::to_string(port.container_port) + "/" + port.protocol;
  }
  return text;
}

std::string command_text(const engine::ContainerInfo& info, bool whole) {
  std::string text;
  for (const auto& word : info.command) text += (text.empty() ? "" : " ") + word;
  if (!whole && text.size() > 20) text = text.substr(0, 19) + "…";
  return "\"" + text + "\"";
}

std::string labels_text(const std::map<std::string, std::string>& labels) {
  std::string text;
  for (const auto& [key, value] : labels) text += (text.empty() ? "" : ",") + key + "=" + value;
  return text;
}

/// --filter key=value. Several values of one key are alternatives; several keys must all hold.
Result<bool> passes(const engine::ContainerInfo& info, const std::vector<std::string>& filters) {
  std::map<std::string, bool> verdicts;
  for (const auto& filter : filters) {
    std::size_t equals = filter.find('=');
    if (equals == std::string::npos)
      return fail(ErrorCode::invalid_argument, "invalid filter '" + filter + "': expected key=value");
    std::string key = filter.substr(0, equals), value = filter.substr(equals + 1);
    bool matches = false;
    if (key == "name") {
      matches = info.name.find(value) != std::string::npos;
    } else if (key == "id") {
      matches = info.id.starts_with(value);
    } else if (key == "status") {
      matches = state_name(info.status) == value;
    } else if (key == "exited") {
      matches = info.status == engine::Status::exited && std::to_string(info.exit_code) == value;
    } else if (key == "ancestor") {
      auto wanted = Reference::parse(value);
      auto mine = Reference::parse(info.image);
      matches = (wanted && mine && *wanted == *mine) || info.image_id.find(value) != std::string::npos;
    } else if (key == "label") {
      std::size_t inner = value.find('=');
      auto found = info.options.labels.find(value.substr(0, inner));
      matches = found != info.options.labels.end() &&
                (inner == std::string::npos || found->second == value.substr(inner + 1));
    } else {
      return fail(ErrorCode::invalid_argument,
                  "invalid filter '" + key + "' (there are: ancestor, exited, id, label, name, status)");
    }
    verdicts[key] = verdicts[key] || matches;
  }
  return std::all_of(verdicts.begin(), verdicts.end(), [](const auto& verdict) { return verdict.second; });
}

Result<int> list(Invocation& invocation) {
  bool all = false, quiet = false, no_trunc = false, latest = false;
  std::optional<int> last;
  std::string format;
  std::vector<std::string> filters, operands;
  Flags flags("dray ps", "[OPTIONS]", "List containers");
  flags.flag("-a,--all", all, "Show all containers (default shows just running)");
  flags.list("-f,--filter", filters, "Filter output based on conditions provided", "filter");
  flags.option("--format", format, "Format output: table, 'table TEMPLATE', json, or a Go template");
  flags.option("-n,--last", last, "Show n last created containers (includes all states)");
  flags.flag("-l,--latest", latest, "Show the latest created container (includes all states)");
  flags.flag("--no-trunc", no_trunc, "Don't truncate output");
  flags.flag("-q,--quiet", quiet, "Only display container IDs");
  flags.operands(operands, 0, 0);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  if (latest) last = 1;
  bool by_status = std::any_of(filters.begin(), filters.end(), [](const auto& text) {
    return text.starts_with("status=") || text.starts_with("exited=");
  });
  engine::Context context = TRY(open_engine(invocation));
  std::vector<TableRow> rows;
  for (const auto& info : TRY(engine::list_containers(context, all || last || by_status))) {
    if (!TRY(passes(info, filters))) continue;
    if (last && rows.size() >= static_cast<std::size_t>(std::max(0, *last))) break;
    std::string id = no_trunc ? info.id : info.id.substr(0, 12);
    if (quiet) {
      print(id + "\n");
      rows.emplace_back();
      continue;
    }
    std::string mounts;
    for (const auto& mount : info.options.mounts) mounts += (mounts.empty() ? "" : ",") + mount.source;
    rows.push_back({{{"ID", id},
                     {"Image", info.image},
                     {"Command", command_text(info, no_trunc)},
                     {"CreatedAt", info.created_at},
                     {"RunningFor", human_age(info.created_at)},
                     {"Status", status_text(info)},
                     {"State", state_name(info.status)},
                     {"Ports", ports_text(info)},
                     {"Names", info.name},
                     {"Labels", labels_text(info.options.labels)},
                     {"Mounts", mounts},
                     {"Networks", info.options.network}}});
  }
  if (quiet) return 0;
  print(TRY(render_table({{"ID", "CONTAINER ID"},
                          {"Image", "IMAGE"},
                          {"Command", "COMMAND"},
                          {"RunningFor", "CREATED"},
                          {"Status", "STATUS"},
                          {"Ports", "PORTS"},
                          {"Names", "NAMES"}},
                         rows, format)));
  return 0;
}

enum class Subject { any, container, image };

Result<int> inspect_document(Invocation& invocation, const std::vector<std::string>& names, const std::string& format,
                             bool raw, bool remote) {
  if (raw && !format.empty()) return fail(ErrorCode::invalid_argument, "--raw and --format exclude each other");
  CancelToken& cancel = install_cancel_handlers();
  engine::Context context = TRY(open_engine(invocation));
  for (const auto& name : names) {
    const std::string text = !raw     ? TRY(engine::remote_config(context, name, cancel))
                             : remote ? TRY(engine::remote_manifest(context, name, cancel)).bytes
                                      : TRY(engine::image_manifest(context, name));
    print(format.empty() ? text : TRY(render_template(format, text)) + "\n");
    if (!raw && format.empty()) print("\n");
  }
  return 0;
}

Result<int> inspect(Invocation& invocation, Subject subject) {
  std::string format, type, platform;
  bool raw = false, remote = false;
  std::vector<std::string> names;
  Flags flags("dray inspect", "[OPTIONS] NAME|ID [NAME|ID...]",
              "Return low-level information on containers and images");
  flags.option("-f,--format", format, "Format output using a Go template, or 'json'");
  flags.option("--type", type, "Only inspect objects of the given type: container or image");
  if (subject == Subject::image) {
    flags.option("--platform", platform, "Inspect that platform's image of the name, such as linux/arm64");
    flags.flag("--raw", raw, "Print the image's manifest byte by byte (with --remote: also an index)");
    flags.flag("--remote", remote, "Ask the registry instead of the local store; without --raw: the image's config");
  }
  flags.operands(names, 1, kAnyNumber);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  const std::optional<image::Platform> wanted = TRY(parse_platform(platform));
  if (wanted && (raw || remote)) return fail(ErrorCode::invalid_argument, "--platform excludes --raw and --remote");
  if (raw || remote) return inspect_document(invocation, names, format, raw, remote);
  if (type == "container")
    subject = Subject::container;
  else if (type == "image")
    subject = Subject::image;
  else if (!type.empty())
    return fail(ErrorCode::invalid_argument, "unknown type: \"" + type + "\" (there are: container, image)");
  engine::Context context = TRY(open_engine(invocation));
  std::vector<std::string> documents;
  int code = 0;
  for (const auto& name : names) {
    Result<std::string> document = fail(ErrorCode::not_found, "No such object: " + name);
    if (subject != Subject::image) document = engine::inspect_container(context, name);
    bool absent = !document && document.error().code() == ErrorCode::not_found;
    if (subject != Subject::container && absent) {
      document = engine::inspect_image(context, name, wanted);
      if (subject == Subject::any && !document && document.error().code() == ErrorCode::not_found)
        document = fail(ErrorCode::not_found, "No such object: " + name);
    }
    if (!document) {
      code = report(document.error());
      continue;
    }
    documents.push_back(std::move(*document));
  }
  if (format.empty()) {
    print(indented_array(documents) + "\n");
  } else {
    for (const auto& document : documents) print(TRY(render_template(format, document)) + "\n");
  }
  return code;
}

}  // namespace

int command_ps(Invocation& invocation) { return finish(list(invocation)); }
int command_inspect(Invocation& invocation) { return finish(inspect(invocation, Subject::any)); }
int command_inspect_container(Invocation& invocation) { return finish(inspect(invocation, Subject::container)); }
int command_inspect_image(Invocation& invocation) { return finish(inspect(invocation, Subject::image)); }

}  // namespace dray::cli
