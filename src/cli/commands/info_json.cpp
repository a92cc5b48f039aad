// SPDX-License-Identifier: Apache-2.0
// info: Docker's words for what the host and the store are.
#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <set>

#include <dray/engine/containers.hpp>
#include <dray/engine/images.hpp>

#include <dray/flags/flags.hpp>
#include <nlohmann/json.hpp>
#include "../command.hpp"
#include "../table.hpp"

namespace dray::cli {
namespace {

using nlohmann::ordered_json;

/// PRETTY_NAME of os-release(5).
std::string operating_system() {
  for (const char* path : {"/etc/os-release", "/usr/lib/os-release"}) {
    const std::string text = "\n" + read_file(path, 1u << 16).value_or("");
    constexpr std::string_view key = "\nPRETTY_NAME=";
    const auto start = text.find(key);
    if (start == std::string::npos) continue;
    std::string name = text.substr(start + key.size(), text.find('\n', start + 1) - start - key.size());
    std::erase(name, '"');
    return name;
  }
  return "Linux";
}

/// Those that this process may use, as Docker counts them.
int processors() {
  cpu_set_t set;
  return ::sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set)
                                                       : static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));
}

Result<ordered_json> describe(engine::Context& context) {
  const auto containers = TRY(engine::list_containers(context, true));
  const auto running = std::ranges::count_if(containers, [](const engine::ContainerInfo& container) {
    return container.status == engine::Status::running || container.status == engine::Status::restarting;
  });
  std::set<std::string> images;  // one may have many names
  for (const auto& image : TRY(engine::list_images(context))) images.insert(image.id.to_string());
  struct utsname host;
  if (::uname(&host) != 0) return fail_errno("asking for the host's name");
  const auto pages = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES));
  return ordered_json{{"Containers", containers.size()},
                      {"ContainersRunning", running},
                      {"ContainersPaused", 0},
                      {"ContainersStopped", static_cast<std::ptrdiff_t>(containers.size()) - running},
                      {"Images", images.size()},
                      {"ServerVersion", DRAY_VERSION},
                      {"Driver", store::name_of(context.store->snapshots().driver())},
                      {"CgroupVersion", ::access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0 ? "2" : "1"},
                      {"KernelVersion", host.release},
                      {"OperatingSystem", operating_system()},
                      {"OSType", "linux"},
                      {"Architecture", host.machine},
                      {"NCPU", processors()},
                      {"MemTotal", pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE))},
                      {"Name", host.nodename},
                      {"DockerRootDir", context.configuration.root}};
}

/// Docker's: four digits, powers of 1024.
std::string memory(std::uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4gGiB", static_cast<double>(bytes) / (1u << 30));
  return text;
}

std::string in_words(const ordered_json& info) {
  struct Line {
    const char *label, *key;
  };
  static constexpr Line kLines[] = {{"Containers", "Containers"},
                                    {" Running", "ContainersRunning"},
                                    {" Paused", "ContainersPaused"},
                                    {" Stopped", "ContainersStopped"},
                                    {"Images", "Images"},
                                    {"Server Version", "ServerVersion"},
                                    {"Storage Driver", "Driver"},
                                    {"Cgroup Version", "CgroupVersion"},
                                    {"Kernel Version", "KernelVersion"},
                                    {"Operating System", "OperatingSystem"},
                                    {"OSType", "OSType"},
                                    {"Architecture", "Architecture"},
                                    {"CPUs", "NCPU"},
                                    {"Total Memory", "MemTotal"},
                                    {"Name", "Name"},
                                    {"Docker Root Dir", "DockerRootDir"}};
  std::string text;
  for (const Line& line : kLines) {
    const ordered_json& value = info.at(line.key);
    const bool is_size = std::string_view(line.key) == "MemTotal";
    text += std::string(line.label) + ": " +
            (is_size             ? memory(value.get<std::uint64_t>())
             : value.is_string() ? value.get<std::string>()
                                 : value.dump()) +
            "\n";
  }
  return text;
}

Result<int> info(Invocation& invocation) {
  std::string format;
  std::vector<std::string> operands;
  Flags flags("dray info", "[OPTIONS]", "Show what the host and the store are");
  flags.option("-f,--format", format, "Format output: json, or a Go template");
  flags.operands(operands, 0, 0);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  engine::Context context = TRY(open_engine(invocation));
  const ordered_json document = TRY(describe(context));
  const std::string text = document.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  print(format.empty() ? printable(in_words(document)) : TRY(render_template(format, text)) + "\n");
  return 0;
}

}  // namespace

int command_info(Invocation& invocation) { return finish(info(invocation)); }

}  // namespace dray::cli
