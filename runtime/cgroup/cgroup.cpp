// SPDX-License-Identifier: Apache-2.0
// The cgroup of a container, whichever version the host has: create, enter, count, kill, remove. The mounts are looked
// up once a process; descriptors live for one call only (see hierarchy.hpp).

#include "cgroup.hpp"

#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>


#include "hierarchy.hpp"

namespace dray::runtime {
namespace {

using cgroup::Hierarchy;

constexpr long kKillTimeoutMs = 10'000;

const Result<std::vector<Hierarchy>>& hierarchies() {
  static const Result<std::vector<Hierarchy>> found = []() -> Result<std::vector<Hierarchy>> {
    std::string text = TRY(read_file("/proc/self/mountinfo", 64u << 20));
    std::vector<Hierarchy> all = cgroup::parse_hierarchies(text);
    if (all.empty())
      return Failure(Error(ErrorCode::unsupported, "no cgroup hierarchy is mounted")
                         .with_hint("mount -t cgroup2 none /sys/fs/cgroup"));
    return all;
  }();
  return found;
}

Result<FileDescriptor> open_root(const Hierarchy& hierarchy) {
  return open_file(hierarchy.mount_point, O_PATH | O_DIRECTORY);
}

long now_ms() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
}

/// SIGKILL to everything in it. Frozen meanwhile, so that nothing forks away between reading the list and the signal.
void kill_all(const std::vector<Hierarchy>& all, const std::string& path) {
  const Hierarchy* freezer = nullptr;
  for (const Hierarchy& hierarchy : all) {
    if (hierarchy.unified) {
      auto root = open_root(hierarchy);
      if (!root) continue;
      auto leaf = cgroup::open_directory(*root, path);
      if (!leaf) continue;
      if (cgroup::write_value(*leaf, "cgroup.kill", "1")) return;
      (void)cgroup::write_value(*leaf, "cgroup.freeze", "1");  // v2: SIGKILL ends frozen processes too
    }
    if (hierarchy.has("freezer")) freezer = &hierarchy;
  }
  auto set_freezer = [&](const char* state) {
    if (freezer == nullptr) return;
    auto root = open_root(*freezer);
    if (!root) return;
    if (auto leaf = cgroup::open_directory(*root, path)) (void)cgroup::write_value(*leaf, "freezer.state", state);
  };
  set_freezer("FROZEN");
  for (const Hierarchy& hierarchy : all) {
    auto root = open_root(hierarchy);
    if (!root) continue;
    auto pids = cgroup::read_processes(*root, path);
    if (!pids) continue;
    for (pid_t pid : *pids)
      if (pid != getpid()) kill(pid, SIGKILL);
  }
  set_freezer("THAWED");  // v1: they die only now. Also what ends a paused container.
}

/// Removes it where it is empty; true if all are gone.
Result<bool> remove_empty(const std::vector<Hierarchy>& all, const std::string& path) {
  bool gone = true;
  for (const Hierarchy& hierarchy : all) {
    FileDescriptor root = TRY(open_root(hierarchy));
    auto removed = cgroup::remove_directory(root, path);
    if (removed) continue;
    if (removed.error().code() != ErrorCode::in_use) return Failure(std::move(removed).error());
    gone = false;
  }
  return gone;
}

/// Where the memory controller is, and its file with the line "oom_kill N".
const Hierarchy* find_memory(const std::vector<Hierarchy>& all) {
  for (const Hierarchy& hierarchy : all)
    if (hierarchy.unified || hierarchy.has("memory")) return &hierarchy;
  return nullptr;
}

}  // namespace

Result<void> create_cgroup(const std::string& cgroups_path, const Resources& resources,
                           [[maybe_unused]] ExistingCgroup existing) {
  std::string path = TRY(cgroup::clean_path(cgroups_path));
  const auto& all = hierarchies();
  if (!all) return Failure(all.error());
  return all->front().unified ? cgroup::create_v2(all->front(), path, resources)
                              : cgroup::create_v1(*all, path, resources);
}

Result<CgroupEntrance> open_cgroup_entrance(const std::string& cgroups_path) {
  std::string path = TRY(cgroup::clean_path(cgroups_path));
  const auto& all = hierarchies();
  if (!all) return Failure(all.error());
  CgroupEntrance entrance;
  for (const Hierarchy& hierarchy : *all) {
    const FileDescriptor root = TRY(open_root(hierarchy));
    if (hierarchy.unified) {
      entrance.unified = TRY(cgroup::open_directory(root, path));
    } else {
      FileDescriptor tasks = TRY_CTX(open_file_at(root, path + "/tasks", O_WRONLY | O_NOFOLLOW), "entering the cgroup");
      entrance.tasks.push_back(std::move(tasks));
    }
  }
  return entrance;
}

Result<std::vector<CgroupMountPoint>> cgroup_mount_points() {
  const auto& all = hierarchies();
  if (!all) return Failure(all.error());
  std::vector<CgroupMountPoint> out;
  for (const Hierarchy& hierarchy : *all)
    out.push_back(CgroupMountPoint{hierarchy.mount_point, hierarchy.name, hierarchy.unified});
  return out;
}

Result<bool> is_cgroup_unified() {
  const auto& all = hierarchies();
  if (!all) return Failure(all.error());
  return all->front().unified;
}

Result<FileDescriptor> open_oom_file(const std::string& cgroups_path) {
  std::string path = TRY(cgroup::clean_path(cgroups_path));
  const auto& all = hierarchies();
  if (!all) return Failure(all.error());
  const Hierarchy* memory = find_memory(*all);
  if (memory == nullptr) return fail(ErrorCode::not_found, "no memory controller");
  FileDescriptor root = TRY(open_root(*memory));
  return open_file_at(root, path + (memory->unified ? "/memory.events" : "/memory.oom_control"), O_RDONLY);
}

bool oom_killed(const std::string& cgroups_path) {
  auto file = open_oom_file(cgroups_path);
  if (!file) return false;
  auto text = read_all(*file, 64 * 1024);
  if (!text) return false;
  std::size_t at = text->starts_with("oom_kill ") ? 0 : text->find("\noom_kill ");
  if (at == std::string::npos) return false;
  std::size_t digits = text->find(' ', at) + 1;
  unsigned long count = 0;
  std::from_chars(text->data() + digits, text->data() + text->size(), count);
  return count > 0;
}

Result<std::vector<pid_t>> cgroup_processes(const std::string& cgroups_path) {
  std::string path = TRY(cgroup::clean_path(cgroups_path));
  const auto& all = hierarchies();
  if (!all) return Failure(all.error());
  for (const Hierarchy& hierarchy : *all) {
    FileDescriptor root = TRY(open_root(hierarchy));
    std::vector<pid_t> pids = TRY(cgroup::read_processes(root, path));
    if (pids.empty()) continue;
    std::sort(pids.begin(), pids.end());
    pids.erase(std::unique(pids.begin(), pids.end()), pids.end());
    return pids;
  }
  return std::vector<pid_t>();
}

Result<void> destroy_cgroup(const std::string& cgroups_path) {
  std::string path = TRY(cgroup::clean_path(cgroups_path));
  const auto& all = hierarchies();
  if (!all) return Failure(all.error());
  const long deadline = now_ms() + kKillTimeoutMs;
  for (long pause_us = 200;; pause_us = std::min(pause_us * 2, 20'000L)) {
    bool gone = TRY(remove_empty(*all, path));
    if (gone) return {};
    if (now_ms() > deadline)
      return fail(ErrorCode::in_use, "processes of cgroup \"" + path + "\" do not end within 10 s of SIGKILL");
    kill_all(*all, path);
    usleep(static_cast<useconds_t>(pause_us));
  }
}

}  // namespace dray::runtime
