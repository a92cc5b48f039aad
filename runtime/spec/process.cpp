// SPDX-License-Identifier: Apache-2.0
// config.md §process. Capability names that this kernel doesn't have are dropped with a warning, as the specification
// wants: a bundle made for a newer kernel starts on an older one.

#include <algorithm>
#include <set>

#include <dray/runtime/spec_json.hpp>

#include "read.hpp"

namespace dray::runtime {
namespace {

constexpr std::size_t kMaxWarning = 1000;

void read_capabilities(const JsonObject& object, Process& process) {
  if (!object.present()) return;
  const std::vector<std::string> known = all_capabilities();
  std::set<std::string> ignored;
  auto read = [&](std::string_view name, std::vector<std::string>& out) {
    object.read(name, out);
    std::erase_if(out, [&](const std::string& capability) {
      if (std::find(known.begin(), known.end(), capability) != known.end()) return false;
      ignored.insert(capability);
      return true;
    });
  };
  read("bounding", process.capabilities.bounding);
  read("effective", process.capabilities.effective);
  read("permitted", process.capabilities.permitted);
  read("inheritable", process.capabilities.inheritable);
  read("ambient", process.capabilities.ambient);
  if (ignored.empty()) return;
  std::string text = "ignoring unknown or unavailable capabilities: [";
  for (const std::string& name : ignored) {
    if (text.size() > kMaxWarning) break;
    text += name + " ";
  }
  text.back() = ']';
  process.warnings.push_back(std::move(text));
}

void read_user(const JsonObject& object, User& user) {
  object.read("uid", user.uid);
  object.read("gid", user.gid);
  object.read("umask", user.umask);
  object.read("additionalGids", user.additional_gids);
  if (user.umask && *user.umask > 0777) object.fail("umask", "expected 0 to 511 (octal 777)");
}

void read_scheduler(const JsonObject& object, std::optional<Scheduler>& out) {
  if (!object.present()) return;
  Scheduler& scheduler = out.emplace();
  object.read("policy", scheduler.policy);
  object.read("nice", scheduler.nice);
  object.read("priority", scheduler.priority);
  object.read("flags", scheduler.flags);
  object.read("runtime", scheduler.runtime);
  object.read("deadline", scheduler.deadline);
  object.read("period", scheduler.period);
}

}  // namespace

void read_process(const JsonObject& object, Process& process) {
  object.read("terminal", process.terminal);
  const JsonObject console = object.open("consoleSize");
  console.read("height", process.console_rows);
  console.read("width", process.console_columns);
  read_user(object.open("user"), process.user);
  object.read("args", process.args);
  object.read("env", process.env);
  process.cwd.clear();
  object.read("cwd", process.cwd);
  read_capabilities(object.open("capabilities"), process);
  for (const JsonObject& item : object.list("rlimits")) {
    Rlimit& limit = process.rlimits.emplace_back();
    item.read("type", limit.type);
    item.read("soft", limit.soft);
    item.read("hard", limit.hard);
  }
  object.read("noNewPrivileges", process.no_new_privileges);
  object.read("oomScoreAdj", process.oom_score_adj);
  object.read("apparmorProfile", process.apparmor_profile);
  object.read("selinuxLabel", process.selinux_label);
  read_scheduler(object.open("scheduler"), process.scheduler);
  if (const JsonObject priority = object.open("ioPriority"); priority.present()) {
    process.io_priority.emplace();
    priority.read("class", process.io_priority->io_class);
    priority.read("priority", process.io_priority->priority);
  }
  const JsonObject affinity = object.open("execCPUAffinity");
  affinity.read("initial", process.cpu_affinity.initial);
  affinity.read("final", process.cpu_affinity.final);
}

Result<Process> parse_process(std::string_view json) {
  const JsonDocument document = TRY_CTX(JsonDocument::parse(json, kMaxSpecSize), "process");
  Process process;
  read_process(document.root("process"), process);
  TRY(document.result());
  TRY(validate_process(process));
  return process;
}

}  // namespace dray::runtime
