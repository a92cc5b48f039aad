// SPDX-License-Identifier: Apache-2.0
// What of a container is not in its images: mounts from the host, namespaces, standard descriptors.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <set>

#include <nlohmann/json.hpp>

#include <dray/core/rooted_path.hpp>

#include "criu_job.hpp"

namespace dray::oci::criu {
namespace {

constexpr const char* kDescriptorsFile = "/descriptors.json";

bool is_below(const std::string& path, const std::string& directory) {
  return path.starts_with(directory == "/" ? directory : directory + "/");
}

bool is_on_tmpfs(const std::string& path, const std::vector<runtime::Mount>& mounts) {
  return std::any_of(mounts.begin(), mounts.end(), [&](const runtime::Mount& mount) {
    return mount.type == "tmpfs" && is_below(path, clean_path(mount.destination));
  });
}

// cgroup v1 without a namespace of it: a bind mount for each hierarchy, in a tmpfs.
Result<void> add_cgroup_mounts(const std::string& destination, const std::string& cgroups_path,
                               std::vector<ExternalMount>& mounts) {
  std::set<std::string> seen;
  for (const auto& directory : TRY(runtime::cgroup_directories(cgroups_path))) {
    if (directory.controller.empty() || !seen.insert(directory.path).second) continue;
    const std::string hierarchy = directory.path.substr(0, directory.path.size() - cgroups_path.size() - 1);
    mounts.push_back({destination + hierarchy.substr(hierarchy.rfind('/')), directory.path});
  }
  return {};
}

// What a user namespace must not make nodes of is bind-mounted.
void add_device_mounts(const runtime::Spec& spec, std::vector<ExternalMount>& mounts) {
  if (!spec.namespaces.user.is_own()) return;
  for (const char* name : {"null", "zero", "full", "random", "urandom", "tty"})
    mounts.push_back({std::string("/dev/") + name, std::string("/dev/") + name});
  for (const auto& device : spec.devices) mounts.push_back({clean_path(device.path), device.path});
}

Result<void> make_mount_point(FdRef root, const std::string& path, bool directory) {
  if (stat_in_root(root, path, FollowLast::yes)) return {};
  if (directory) {
    TRY(make_directories_in_root(root, path));
    return {};
  }
  const auto [parent, name] = split_path(path);
  FileDescriptor place = TRY(make_directories_in_root(root, parent));
  TRY(open_file_at(place, name, O_WRONLY | O_CREAT | O_NOFOLLOW, 0755));
  return {};
}

// What is done below is seen nowhere else; an unmounting would go on to mounts of the host below the root file system.
Result<void> make_private(const std::string& path) {
  if (::mount(nullptr, path.c_str(), nullptr, MS_PRIVATE | MS_REC, nullptr) != 0)
    return fail_errno("making \"" + path + "\" private");
  return {};
}

// As at create: in the order of the list, and with those before it mounted, since a mount point may be in one of them.
Result<void> make_mount_points(const std::string& root_path, const runtime::Spec& spec, const std::string& bundle) {
  FileDescriptor root = TRY(open_file(root_path, O_PATH | O_DIRECTORY));
  for (const auto& mount : spec.mounts) {
    const std::string destination = clean_path(mount.destination);
    if (mount.type == "cgroup" || destination == "/" || is_on_tmpfs(destination, spec.mounts)) continue;
    const bool bind = mount.type == "bind";
    const std::string source = join_path(bundle, mount.source);
    struct stat status{};
    if (bind && ::stat(source.c_str(), &status) != 0) return fail_errno("looking at \"" + source + "\"");
    TRY_CTX(make_mount_point(root, destination, !bind || S_ISDIR(status.st_mode)),
            "making the mount point \"" + destination + "\"");
    if (!bind) continue;
    FileDescriptor target = TRY(open_in_root(root, destination, O_PATH));
    const std::string name = descriptor_path(target);
    if (::mount(source.c_str(), name.c_str(), nullptr, MS_BIND | MS_REC, nullptr) != 0)
      return fail_errno("mounting \"" + source + "\" at \"" + destination + "\"");
    TRY(make_private(root_path));  // what is mounted in this one shall not be seen in the host's folder
  }
  return {};
}

Result<void> attach(const std::string& rootfs, const std::string& path) {
  if (::mount(rootfs.c_str(), path.c_str(), nullptr, MS_BIND | MS_REC, nullptr) != 0)
    return fail_errno("mounting the root file system at \"" + path + "\"");
  return {};
}

Result<void> detach(const std::string& path) {
  TRY(make_private(path));
  if (::umount2(path.c_str(), MNT_DETACH) != 0) return fail_errno("unmounting \"" + path + "\"");
  return {};
}

// Numbers of the mounts that a process sees.
Result<std::set<std::string>> mounts_of(pid_t pid) {
  const std::string text = TRY(read_file("/proc/" + std::to_string(pid) + "/mountinfo"));
  std::set<std::string> numbers;
  for (std::size_t at = 0; at < text.size(); at = std::min(text.find('\n', at), text.size() - 1) + 1)
    numbers.insert(text.substr(at, text.find(' ', at) - at));
  return numbers;
}

Result<std::string> mount_of_descriptor(const std::string& process, int number) {
  const std::string text = TRY(read_file(process + "/fdinfo/" + std::to_string(number)));
  const std::string key = "mnt_id:\t";
  const std::size_t at = text.find(key);
  if (at == std::string::npos) return fail(ErrorCode::corrupt, process + "/fdinfo has no mnt_id");
  return text.substr(at + key.size(), text.find('\n', at) - at - key.size());
}

bool is_plain_or_memory_device(const struct stat& status) {
  return S_ISREG(status.st_mode) || (S_ISCHR(status.st_mode) && major(status.st_rdev) == 1);
}

}  // namespace

std::string external_namespace_key(const char* name) {
  std::string key = std::string("extRoot") + name + "NS";
  key[7] = static_cast<char>(std::toupper(static_cast<unsigned char>(key[7])));
  return key;
}

std::vector<std::pair<const char*, const runtime::Namespace*>> external_namespaces(const runtime::Spec& spec) {
  std::vector<std::pair<const char*, const runtime::Namespace*>> found;
  if (!spec.namespaces.network.path.empty()) found.emplace_back("net", &spec.namespaces.network);
  if (!spec.namespaces.pid.path.empty()) found.emplace_back("pid", &spec.namespaces.pid);
  return found;
}

Result<std::vector<ExternalMount>> external_mounts(const runtime::Spec& spec, const std::string& bundle,
                                                   const std::string& cgroups_path) {
  std::vector<ExternalMount> mounts;
  for (const auto& mount : spec.mounts) {
    const std::string destination = clean_path(mount.destination);
    if (mount.type == "bind") mounts.push_back({destination, join_path(bundle, mount.source)});
    if (mount.type == "cgroup" && !spec.namespaces.cgroup.is_own())
      TRY(add_cgroup_mounts(destination, cgroups_path, mounts));
  }
  add_device_mounts(spec, mounts);
  return mounts;
}

bool is_pipe(const std::string& descriptor) { return descriptor.starts_with("pipe:["); }
bool is_external_file(const std::string& descriptor) { return descriptor.starts_with("file["); }

Result<std::vector<std::string>> describe_descriptors(pid_t pid) {
  const std::string process = "/proc/" + std::to_string(pid);
  const auto mounts = TRY(mounts_of(pid));
  std::vector<std::string> descriptors;
  for (int number = 0; number < 3; ++number) {
    const std::string path = process + "/fd/" + std::to_string(number);
    char target[PATH_MAX];
    const ssize_t length = ::readlink(path.c_str(), target, sizeof target);
    struct stat status;
    descriptors.emplace_back(target, length > 0 ? static_cast<std::size_t>(length) : 0);
    if (length <= 0 || is_pipe(descriptors.back()) || ::stat(path.c_str(), &status) != 0) continue;
    const std::string mount = TRY(mount_of_descriptor(process, number));
    if (!is_plain_or_memory_device(status) || mounts.contains(mount)) continue;
    char name[64];
    std::snprintf(name, sizeof name, "file[%lx:%llx]", std::stoul(mount),
                  static_cast<unsigned long long>(status.st_ino));
    descriptors.back() = name;
  }
  return descriptors;
}

Result<void> write_descriptors(const std::string& directory, const std::vector<std::string>& descriptors) {
  const std::string text = nlohmann::json(descriptors).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return write_file_atomically(directory + kDescriptorsFile, text, 0600, Durability::none);
}

Result<std::vector<std::string>> read_descriptors(const std::string& directory) {
  const std::string text = TRY(read_file(directory + kDescriptorsFile, 1u << 20));
  try {
    return nlohmann::json::parse(text).get<std::vector<std::string>>();
  } catch (const nlohmann::json::exception& error) {
    return fail(ErrorCode::corrupt, directory + kDescriptorsFile + " is damaged: " + error.what());
  }
}

Result<RestoreRoot> RestoreRoot::make(const std::string& path, const std::string& rootfs, const runtime::Spec& spec,
                                      const std::string& bundle) {
  if (::mkdir(path.c_str(), 0755) != 0) return fail_errno("making \"" + path + "\"");
  RestoreRoot root(path);
  TRY(attach(rootfs, path));
  auto made = make_private(path);
  if (made) made = make_mount_points(path, spec, bundle);
  // CRIU makes the mounts itself.
  TRY(detach(path));
  TRY(std::move(made));
  // Not private: the container's root may get mounts from the host, and CRIU takes that over from this one.
  TRY(attach(rootfs, path));
  return root;
}

RestoreRoot::~RestoreRoot() {
  if (path_.empty()) return;
  (void)detach(path_);
  (void)::rmdir(path_.c_str());
}

}  // namespace dray::oci::criu
