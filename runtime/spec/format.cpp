// SPDX-License-Identifier: Apache-2.0
// A Spec as config.json, in the order and with the omissions of the specification's Go types: what `jq` and diff show
// is then what they show for runc.

#include <algorithm>

#include <dray/runtime/spec_json.hpp>

#include "json_writer.hpp"
#include "read.hpp"

namespace dray::runtime {
namespace {

bool is_set(const Capabilities& all) {
  return !(all.bounding.empty() && all.effective.empty() && all.permitted.empty() && all.inheritable.empty() &&
           all.ambient.empty());
}

void write_process(JsonWriter& out, const Process& process) {
  out.open_object("process");
  out.write_if("terminal", process.terminal);
  if (process.console_rows != 0 || process.console_columns != 0) {
    out.open_object("consoleSize");
    out.write("height", process.console_rows);
    out.write("width", process.console_columns);
    out.close_object();
  }
  out.open_object("user");
  out.write("uid", process.user.uid);
  out.write("gid", process.user.gid);
  out.write_if("umask", process.user.umask);
  out.write_if("additionalGids", process.user.additional_gids);
  out.close_object();
  out.write_if("args", process.args);
  out.write_if("env", process.env);
  out.write("cwd", process.cwd);
  if (is_set(process.capabilities)) {
    out.open_object("capabilities");
    out.write_if("bounding", process.capabilities.bounding);
    out.write_if("effective", process.capabilities.effective);
    out.write_if("inheritable", process.capabilities.inheritable);
    out.write_if("permitted", process.capabilities.permitted);
    out.write_if("ambient", process.capabilities.ambient);
    out.close_object();
  }
  if (!process.rlimits.empty()) {
    out.open_array("rlimits");
    for (const Rlimit& limit : process.rlimits) {
      out.open_object();
      out.write("type", limit.type);
      out.write("hard", limit.hard);
      out.write("soft", limit.soft);
      out.close_object();
    }
    out.close_array();
  }
  out.write_if("noNewPrivileges", process.no_new_privileges);
  out.write_if("apparmorProfile", process.apparmor_profile);
  out.write_if("oomScoreAdj", process.oom_score_adj);
  if (process.scheduler) {
    out.open_object("scheduler");
    out.write("policy", process.scheduler->policy);
    out.write_if("nice", process.scheduler->nice);
    out.write_if("priority", process.scheduler->priority);
    out.write_if("flags", process.scheduler->flags);
    out.write_if("runtime", process.scheduler->runtime);
    out.write_if("deadline", process.scheduler->deadline);
    out.write_if("period", process.scheduler->period);
    out.close_object();
  }
  out.write_if("selinuxLabel", process.selinux_label);
  if (process.io_priority) {
    out.open_object("ioPriority");
    out.write("class", process.io_priority->io_class);
    out.write("priority", process.io_priority->priority);
    out.close_object();
  }
  if (!process.cpu_affinity.initial.empty() || !process.cpu_affinity.final.empty()) {
    out.open_object("execCPUAffinity");
    out.write_if("initial", process.cpu_affinity.initial);
    out.write_if("final", process.cpu_affinity.final);
    out.close_object();
  }
  out.close_object();
}

void write_mounts(JsonWriter& out, const std::vector<Mount>& mounts) {
  if (mounts.empty()) return;
  out.open_array("mounts");
  for (const Mount& mount : mounts) {
    out.open_object();
    out.write("destination", mount.destination);
    out.write_if("type", mount.type);
    out.write_if("source", mount.source);
    out.write_if("options", mount.options);
    write_id_mappings(out, "uidMappings", mount.uid_mappings);
    write_id_mappings(out, "gidMappings", mount.gid_mappings);
    out.close_object();
  }
  out.close_array();
}

void write_hooks(JsonWriter& out, const Hooks& hooks) {
  const std::pair<std::string_view, const std::vector<Hook>*> lists[] = {
      {"prestart", &hooks.prestart},
      {"createRuntime", &hooks.create_runtime},
      {"createContainer", &hooks.create_container},
      {"startContainer", &hooks.start_container},
      {"poststart", &hooks.poststart},
      {"poststop", &hooks.poststop},
  };
  if (std::all_of(std::begin(lists), std::end(lists), [](const auto& list) { return list.second->empty(); })) return;
  out.open_object("hooks");
  for (const auto& [name, list] : lists) {
    if (list->empty()) continue;
    out.open_array(name);
    for (const Hook& hook : *list) {
      out.open_object();
      out.write("path", hook.path);
      out.write_if("args", hook.args);
      out.write_if("env", hook.env);
      out.write_if("timeout", hook.timeout);
      out.close_object();
    }
    out.close_array();
  }
  out.close_object();
}

}  // namespace

std::string format_spec(const Spec& spec) {
  JsonWriter out("\t");
  out.open_object();
  out.write("ociVersion", spec.oci_version);
  write_process(out, spec.process);
  out.open_object("root");
  out.write("path", spec.rootfs_path);
  out.write_if("readonly", spec.rootfs_readonly);
  out.close_object();
  out.write_if("hostname", spec.hostname);
  out.write_if("domainname", spec.domainname);
  write_mounts(out, spec.mounts);
  write_hooks(out, spec.hooks);
  out.write_if("annotations", spec.annotations);
  write_linux(out, spec);
  out.close_object();
  return std::move(out).take() + "\n";
}

}  // namespace dray::runtime
