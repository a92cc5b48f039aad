// SPDX-License-Identifier: Apache-2.0
// The files are the administrator's and name paths of the host; what they say is done as it stands. An edit that is not
// understood is refused: a device without its hook would be half a device.
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>

#include <nlohmann/json.hpp>

#include <dray/core/fd.hpp>

#include "cdi.hpp"
#include "container_spec.hpp"

namespace dray::engine {
namespace {

using json = nlohmann::json;

constexpr std::string_view kDirectories[] = {"/etc/cdi", "/var/run/cdi"};  // the later one wins
constexpr std::size_t kMaxFile = 4u << 20;

std::string text_of(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

const json& list_of(const json& object, const char* key) {
  static const json kNone = json::array();
  const auto found = object.find(key);
  return found != object.end() && found->is_array() ? *found : kNone;
}

std::vector<std::string> strings_of(const json& list) {
  std::vector<std::string> result;
  for (const json& item : list)
    if (item.is_string()) result.push_back(item.get<std::string>());
  return result;
}

Failure bad(const std::string& name, const std::string& what) {
  return fail(ErrorCode::invalid_argument, "CDI device \"" + name + "\": " + what);
}

Result<void> add_node(runtime::Spec& spec, const json& node, const std::string& name) {
  runtime::Device device;
  device.path = text_of(node, "path");
  const std::string host = node.contains("hostPath") ? text_of(node, "hostPath") : device.path;
  if (!device.path.starts_with('/')) return bad(name, "a device node without an absolute path");
  struct stat status = {};
  if (::stat(host.c_str(), &status) != 0) return fail_errno("CDI device \"" + name + "\": \"" + host + "\"");
  if (!S_ISCHR(status.st_mode) && !S_ISBLK(status.st_mode)) return bad(name, "\"" + host + "\" is no device");
  device.type = S_ISBLK(status.st_mode) ? 'b' : 'c';
  device.major = gnu_dev_major(status.st_rdev);
  device.minor = gnu_dev_minor(status.st_rdev);
  device.mode = node.value("fileMode", json()).is_number_unsigned() ? node["fileMode"].get<std::uint32_t>() & 07777u
                                                                    : status.st_mode & 07777u;
  device.uid = node.value("uid", json()).is_number_unsigned() ? node["uid"].get<std::uint32_t>() : status.st_uid;
  device.gid = node.value("gid", json()).is_number_unsigned() ? node["gid"].get<std::uint32_t>() : status.st_gid;
  const std::string access = node.contains("permissions") ? text_of(node, "permissions") : "rwm";
  if (access.empty() || access.find_first_not_of("rwm") != std::string::npos)
    return bad(name, "invalid permissions \"" + access + "\"");
  spec.resources.devices.push_back({true, device.type, device.major, device.minor, access});
  std::erase_if(spec.devices, [&](const runtime::Device& old) { return old.path == device.path; });
  spec.devices.push_back(std::move(device));
  return {};
}

Result<void> apply(runtime::Spec& spec, const json& edits, const std::string& name) {
  if (!edits.is_object()) return {};
  for (const auto& [key, value] : edits.items()) {
    if (key != "env" && key != "deviceNodes" && key != "mounts" && key != "additionalGids")
      return fail(ErrorCode::unsupported, "CDI device \"" + name + "\" needs \"" + key + "\", which is not supported");
  }
  spec.process.env = merge_environment(std::move(spec.process.env), strings_of(list_of(edits, "env")));
  for (const json& node : list_of(edits, "deviceNodes")) {
    if (!node.is_object()) return bad(name, "a device node must be an object");
    TRY(add_node(spec, node, name));
  }
  for (const json& item : list_of(edits, "mounts")) {
    if (!item.is_object()) return bad(name, "a mount must be an object");
    runtime::Mount mount;
    mount.source = text_of(item, "hostPath");
    mount.destination = text_of(item, "containerPath");
    mount.type = item.contains("type") ? text_of(item, "type") : "bind";
    mount.options = strings_of(list_of(item, "options"));
    if (mount.destination.empty() || mount.source.empty()) return bad(name, "a mount without paths");
    spec.mounts.push_back(std::move(mount));
  }
  for (const json& group : list_of(edits, "additionalGids"))
    if (group.is_number_unsigned()) spec.process.user.additional_gids.push_back(group.get<std::uint32_t>());
  return {};
}

struct CdiFile {
  std::string path;
  json content;
};

Result<std::vector<CdiFile>> read_files(std::vector<std::string>& unread) {
  std::vector<CdiFile> files;
  for (const std::string_view directory : kDirectories) {
    for (const std::string& name : list_directory(std::string(directory)).value_or(std::vector<std::string>())) {
      const std::string path = std::string(directory) + "/" + name;
      if (path.ends_with(".yaml") || path.ends_with(".yml")) unread.push_back(path);
      if (!path.ends_with(".json")) continue;
      json content = json::parse(TRY(read_file(path, kMaxFile)), nullptr, false);
      if (!content.is_object()) return fail(ErrorCode::invalid_argument, "\"" + path + "\" is not a JSON object");
      files.push_back({path, std::move(content)});
    }
  }
  return files;
}

}  // namespace

Result<void> add_cdi_devices(runtime::Spec& spec, const std::vector<std::string>& names,
                             const std::vector<std::string>& required) {
  if (names.empty()) return {};
  std::vector<std::string> unread;
  const std::vector<CdiFile> files = TRY(read_files(unread));
  std::vector<const json*> used;
  for (const std::string& name : names) {
    const std::size_t equals = name.find('=');
    const std::string kind = name.substr(0, equals);
    const std::string wanted = equals == std::string::npos ? "" : name.substr(equals + 1);
    const json* device = nullptr;
    const json* file = nullptr;
    for (const CdiFile& candidate : files) {
      if (text_of(candidate.content, "kind") != kind) continue;
      for (const json& item : list_of(candidate.content, "devices")) {
        // A class alone stands for its first device.
        if (!item.is_object() || (!wanted.empty() && text_of(item, "name") != wanted)) continue;
        device = &item;
        file = &candidate.content;
        break;
      }
    }
    if (device == nullptr) {
      if (std::find(required.begin(), required.end(), name) == required.end()) continue;
      Error error(ErrorCode::not_found, "no CDI device \"" + name + "\" in /etc/cdi or /var/run/cdi");
      if (!unread.empty()) error = std::move(error).with_hint("only JSON is read, not " + unread.front());
      return Failure(std::move(error));
    }
    if (std::find(used.begin(), used.end(), file) == used.end()) {
      used.push_back(file);
      TRY(apply(spec, file->value("containerEdits", json()), name));
    }
    TRY(apply(spec, device->value("containerEdits", json()), name));
  }
  return {};
}

}  // namespace dray::engine
