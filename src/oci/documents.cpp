// SPDX-License-Identifier: Apache-2.0
// The JSON that goes to the state directory, to hooks and to whoever asks. Orders of keys are runc's.
#include <pwd.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "state.hpp"

namespace dray::oci {
namespace {

using Json = nlohmann::ordered_json;

std::string print(const Json& document, int indent) {
  // What is not UTF-8 (annotations come from anywhere) is replaced rather than thrown at.
  return document.dump(indent, ' ', false, Json::error_handler_t::replace);
}

Json describe_container(const ContainerState& state, Status status) {
  Json document;
  document["ociVersion"] = state.oci_version;
  document["id"] = state.id;
  document["pid"] = status == Status::stopped ? 0 : state.pid;
  document["status"] = name_of(status);
  document["bundle"] = state.bundle;
  document["rootfs"] = state.rootfs;
  document["created"] = state.created;
  if (!state.annotations.empty()) document["annotations"] = state.annotations;
  document["owner"] = owner_name(state.owner);
  return document;
}

Json describe_state(const ContainerState& state, const char* status) {
  Json document;
  document["ociVersion"] = state.oci_version;
  document["id"] = state.id;
  document["status"] = status;
  if (state.pid != 0 && std::string_view(status) != "stopped") document["pid"] = state.pid;
  document["bundle"] = state.bundle;
  if (!state.annotations.empty()) document["annotations"] = state.annotations;
  return document;
}

}  // namespace

std::string owner_name(uid_t uid) {
  struct passwd entry{}, *found = nullptr;
  char buffer[4096];
  if (::getpwuid_r(uid, &entry, buffer, sizeof buffer, &found) == 0 && found != nullptr) return found->pw_name;
  return "#" + std::to_string(uid);
}

std::string serialize(const ContainerState& state) {
  Json document;
  document["id"] = state.id;
  document["bundle"] = state.bundle;
  document["rootfs"] = state.rootfs;
  document["created"] = state.created;
  document["ociVersion"] = state.oci_version;
  document["owner"] = state.owner;
  document["pid"] = state.pid;
  document["startTicks"] = state.start_ticks;
  document["boot"] = state.boot;
  document["cgroupsPath"] = state.cgroups_path;
  if (state.systemd_unit) {
    document["systemdSlice"] = state.systemd_unit->slice;
    document["systemdUnit"] = state.systemd_unit->name;
    document["systemdOfUser"] = state.systemd_unit->of_user;
    document["systemdManager"] = state.systemd_unit->manager_cgroup;
  }
  if (state.rdt_group) {
    document["rdtGroup"] = state.rdt_group->path;
    document["rdtMonitoring"] = state.rdt_group->monitoring;
    document["rdtOwn"] = state.rdt_group->own;
  }
  document["ownPidNamespace"] = state.own_pid_namespace;
  document["newKeyring"] = state.new_keyring;
  document["annotations"] = state.annotations;
  return print(document, -1);
}

Result<ContainerState> parse_state(const std::string& json) {
  ContainerState state;
  try {
    const Json document = Json::parse(json);
    document.at("id").get_to(state.id);
    document.at("bundle").get_to(state.bundle);
    document.at("rootfs").get_to(state.rootfs);
    document.at("created").get_to(state.created);
    document.at("ociVersion").get_to(state.oci_version);
    document.at("owner").get_to(state.owner);
    document.at("pid").get_to(state.pid);
    document.at("startTicks").get_to(state.start_ticks);
    document.at("boot").get_to(state.boot);
    document.at("cgroupsPath").get_to(state.cgroups_path);
    if (document.contains("systemdUnit")) {
      runtime::SystemdUnit& unit = state.systemd_unit.emplace();
      document.at("systemdSlice").get_to(unit.slice);
      document.at("systemdUnit").get_to(unit.name);
      document.at("systemdOfUser").get_to(unit.of_user);
      document.at("systemdManager").get_to(unit.manager_cgroup);
    }
    if (document.contains("rdtGroup"))
      state.rdt_group =
          runtime::RdtGroup{document.at("rdtGroup").get<std::string>(), document.at("rdtMonitoring").get<std::string>(),
                            document.at("rdtOwn").get<bool>()};
    document.at("ownPidNamespace").get_to(state.own_pid_namespace);
    if (document.contains("newKeyring")) document.at("newKeyring").get_to(state.new_keyring);
    if (document.at("annotations").is_object()) document.at("annotations").get_to(state.annotations);
  } catch (const Json::exception& error) {
    return fail(ErrorCode::corrupt, std::string("the container's state.json is damaged: ") + error.what());
  }
  return state;
}

std::string describe_for_hook(const ContainerState& state, const char* status) {
  return print(describe_state(state, status), -1);
}

std::string describe(const ContainerState& state, Status status) {
  return print(describe_container(state, status), 2) + "\n";
}

std::string describe_all(const std::vector<std::pair<ContainerState, Status>>& containers) {
  if (containers.empty()) return "null";  // Go's empty list
  Json list = Json::array();
  for (const auto& [state, status] : containers) list.push_back(describe_container(state, status));
  return print(list, -1);
}

std::string describe_process(const ContainerState& state, const char* status, pid_t pid, const std::string& metadata) {
  Json document;
  document["ociVersion"] = state.oci_version;
  document["fds"] = {"seccompFd"};
  document["pid"] = pid;
  if (!metadata.empty()) document["metadata"] = metadata;
  document["state"] = describe_state(state, status);
  return print(document, -1);
}

}  // namespace dray::oci
