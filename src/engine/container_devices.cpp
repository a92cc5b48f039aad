// SPDX-License-Identifier: Apache-2.0
// Device nodes of the host for a container: the node and the cgroup rule that allows it.
#include "container_devices.hpp"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>

#include <dray/core/fd.hpp>
#include <dray/core/rooted_path.hpp>

namespace dray::engine {
namespace {

bool add_node(runtime::Spec& spec, const struct stat& status, const std::string& path) {
  if (!S_ISCHR(status.st_mode) && !S_ISBLK(status.st_mode)) return false;
  runtime::Device device;
  device.path = path;
  device.type = S_ISCHR(status.st_mode) ? 'c' : 'b';
  device.major = gnu_dev_major(status.st_rdev);
  device.minor = gnu_dev_minor(status.st_rdev);
  device.mode = status.st_mode & 07777;
  device.uid = status.st_uid;
  device.gid = status.st_gid;
  std::erase_if(spec.devices, [&](const runtime::Device& old) { return old.path == path; });
  spec.devices.push_back(std::move(device));
  return true;
}

// Calls `found` for each device below the host's directory, without what the container has of its own.
template <typename Function>
void walk(const std::string& directory, int depth, Function&& found) {
  if (depth > 8) return;
  for (const std::string& name : list_directory(directory).value_or(std::vector<std::string>())) {
    if (depth == 0 && (name == "pts" || name == "shm" || name == "fd" || name == "mqueue" || name == "console" ||
                       name == "ptmx" || name.starts_with(".")))
      continue;
    std::string path = directory + "/" + name;
    struct stat status;
    if (::lstat(path.c_str(), &status) != 0) continue;
    if (S_ISDIR(status.st_mode)) {
      walk(path, depth + 1, found);
    } else {
      found(path, status);
    }
  }
}

void allow(runtime::Spec& spec, const std::string& access) {
  const runtime::Device& device = spec.devices.back();
  runtime::DeviceRule rule;
  rule.allow = true;
  rule.type = device.type;
  rule.major = device.major;
  rule.minor = device.minor;
  rule.access = access;
  spec.resources.devices.push_back(std::move(rule));
}

}  // namespace

Result<void> add_devices(runtime::Spec& spec, const std::vector<std::string>& wishes) {
  for (const auto& wish : wishes) {
    std::size_t first = wish.find(':'), second = first == std::string::npos ? first : wish.find(':', first + 1);
    std::string source = wish.substr(0, first), target = source, access = "rwm";
    auto is_access = [](const std::string& text) {
      return !text.empty() && text.find_first_not_of("rwm") == std::string::npos;
    };
    if (second != std::string::npos) {
      target = wish.substr(first + 1, second - first - 1);
      access = wish.substr(second + 1);
    } else if (first != std::string::npos) {
      (is_access(wish.substr(first + 1)) ? access : target) = wish.substr(first + 1);
    }
    if (!is_access(access)) return fail(ErrorCode::invalid_argument, "invalid device mode: " + access);
    if (source.empty() || !target.starts_with('/'))
      return fail(ErrorCode::invalid_argument, "invalid device specification: " + wish);
    struct stat status;
    if (::stat(source.c_str(), &status) != 0)
      return fail_errno("error gathering device information while adding custom device \"" + source + "\"");
    if (S_ISDIR(status.st_mode)) {
      walk(source, 1, [&](const std::string& path, const struct stat& node) {
        if (add_node(spec, node, clean_path(target + path.substr(source.size())))) allow(spec, access);
      });
    } else if (add_node(spec, status, clean_path(target))) {
      allow(spec, access);
    } else {
      return fail(ErrorCode::invalid_argument, "error gathering device information while adding custom device \"" +
                                                   source + "\": not a device node");
    }
  }
  return {};
}

Result<void> add_all_devices(runtime::Spec& spec) {
  walk("/dev", 0, [&](const std::string& path, const struct stat& status) { add_node(spec, status, path); });
  runtime::DeviceRule all;
  all.allow = true;
  spec.resources.devices = {std::move(all)};
  return {};
}

}  // namespace dray::engine
