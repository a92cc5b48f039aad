// SPDX-License-Identifier: Apache-2.0
// config.md: the outermost object, root, mounts, hooks.

#include <algorithm>

#include <dray/runtime/spec_json.hpp>

#include "read.hpp"

namespace dray::runtime {
namespace {

void read_mounts(const JsonObject& object, Spec& spec) {
  for (const JsonObject& item : object.list("mounts")) {
    Mount& mount = spec.mounts.emplace_back();
    item.read("destination", mount.destination);
    item.read("type", mount.type);
    item.read("source", mount.source);
    item.read("options", mount.options);
    read_id_mappings(item, "uidMappings", mount.uid_mappings);
    read_id_mappings(item, "gidMappings", mount.gid_mappings);
    if (mount.destination.empty()) return item.fail("destination", "must not be empty");
    if (mount.destination[0] != '/')
      spec.warnings.push_back("mount destination \"" + mount.destination +
                              "\" is not absolute: taken as relative to /");
    // config.md §mounts: the options make a bind mount; its type is a dummy, often "none".
    for (const std::string& option : mount.options)
      if (option == "bind" || option == "rbind") mount.type = "bind";
  }
}

void read_hooks(const JsonObject& object, Hooks& hooks) {
  auto read = [&](std::string_view name, std::vector<Hook>& out) {
    for (const JsonObject& item : object.list(name)) {
      Hook& hook = out.emplace_back();
      item.read("path", hook.path);
      item.read("args", hook.args);
      item.read("env", hook.env);
      item.read("timeout", hook.timeout);
      if (hook.path.empty() || hook.path[0] != '/') return item.fail("path", "expected an absolute path");
      if (hook.timeout && *hook.timeout <= 0) return item.fail("timeout", "expected a number of seconds from 1");
    }
  };
  read("prestart", hooks.prestart);
  read("createRuntime", hooks.create_runtime);
  read("createContainer", hooks.create_container);
  read("startContainer", hooks.start_container);
  read("poststart", hooks.poststart);
  read("poststop", hooks.poststop);
}

/// Those of the list replace the default of the same path.
void add_default_devices(Spec& spec) {
  std::vector<Device> devices = default_devices();
  std::erase_if(devices, [&](const Device& device) {
    return std::any_of(spec.devices.begin(), spec.devices.end(),
                       [&](const Device& listed) { return listed.path == device.path; });
  });
  devices.insert(devices.end(), spec.devices.begin(), spec.devices.end());
  spec.devices = std::move(devices);
  const std::vector<DeviceRule> rules = default_device_rules();
  spec.resources.devices.insert(spec.resources.devices.end(), rules.begin(), rules.end());
}

}  // namespace

Result<Spec> parse_spec(std::string_view json) {
  const JsonDocument document = TRY_CTX(JsonDocument::parse(json, kMaxSpecSize), "config.json");
  const JsonObject root = document.root();
  Spec spec;
  Namespaces& spaces = spec.namespaces;  // what the list doesn't name is shared with the caller
  for (Namespace* space : {&spaces.mount, &spaces.pid, &spaces.uts, &spaces.ipc, &spaces.network, &spaces.cgroup})
    space->is_new = false;
  root.read("ociVersion", spec.oci_version);
  if (spec.oci_version.empty()) root.fail("ociVersion", "is missing");
  read_process(root.open("process"), spec.process);
  const JsonObject rootfs = root.open("root");
  if (!rootfs.present()) root.fail("root", "must be specified");
  rootfs.read("path", spec.rootfs_path);
  if (spec.rootfs_path.empty()) rootfs.fail("path", "must not be empty");
  rootfs.read("readonly", spec.rootfs_readonly);
  root.read("hostname", spec.hostname);
  root.read("domainname", spec.domainname);
  read_mounts(root, spec);
  read_hooks(root.open("hooks"), spec.hooks);
  root.read("annotations", spec.annotations);
  if (spec.annotations.contains("")) root.fail("annotations", "a key must not be empty");
  read_linux(root.open("linux"), spec);
  TRY(document.result());
  add_default_devices(spec);
  return spec;
}

}  // namespace dray::runtime
