// SPDX-License-Identifier: Apache-2.0
// The processes of a cgroup: counting, signalling, ending them with the cgroup.

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <optional>

#include <algorithm>
#include <cerrno>

#include "hierarchy.hpp"

namespace dray::runtime {
namespace {

using cgroup::Hierarchy;
using cgroup::Place;

constexpr long kKillTimeoutMs = 10'000;

long now_ms() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
}

/// Removes it where it is empty; true if all are gone. What cannot be removed in one hierarchy keeps it in no other;
/// that is an error once there are no processes left to be killed.
Result<bool> remove_empty(const std::vector<Hierarchy>& all, const std::string& path) {
  bool gone = true;
  std::optional<Error> first;
  for (const Hierarchy& hierarchy : all) {
    auto root = cgroup::open_root(hierarchy);
    auto removed = root ? cgroup::remove_directory(*root, path) : Result<void>(Failure(std::move(root).error()));
    if (removed) continue;
    if (removed.error().code() == ErrorCode::in_use) {
      gone = false;
    } else if (!first) {
      first = std::move(removed).error();
    }
  }
  if (gone && first) return Failure(std::move(*first));
  return gone;
}

}  // namespace

// Frozen meanwhile, so that nothing forks away between reading the list and the signal.
void cgroup::kill_all(const std::vector<Hierarchy>& all, const std::string& path) {
  const Hierarchy* freezer = nullptr;
  FileDescriptor frozen_v2;
  for (const Hierarchy& hierarchy : all) {
    if (hierarchy.unified) {
      auto leaf = open_leaf(hierarchy, path);
      if (!leaf) continue;
      const bool killed = write_value(*leaf, "cgroup.kill", "1").has_value();
      if (killed && all.size() == 1) return;  // on a hybrid host v1 may know more
      if (!killed && write_value(*leaf, "cgroup.freeze", "1")) frozen_v2 = std::move(*leaf);
    }
    if (hierarchy.has("freezer")) freezer = &hierarchy;
  }
  auto set_freezer = [&](const char* state) {
    if (freezer == nullptr) return;
    if (auto leaf = open_leaf(*freezer, path)) (void)write_value(*leaf, "freezer.state", state);
  };
  set_freezer("FROZEN");
  for (const Hierarchy& hierarchy : all) {
    auto root = open_root(hierarchy);
    if (!root) continue;
    auto pids = read_processes(*root, path);
    if (!pids) continue;
    for (pid_t pid : *pids)
      if (pid != getpid()) kill(pid, SIGKILL);
  }
  if (frozen_v2.valid()) (void)write_value(frozen_v2, "cgroup.freeze", "0");  // they die frozen, but it may live on
  set_freezer("THAWED");  // v1: they die only now. Also what ends a paused container.
}

Result<std::vector<pid_t>> cgroup_processes(const std::string& cgroups_path) {
  const Place place = TRY(cgroup::find_place(cgroups_path));
  for (const Hierarchy& hierarchy : *place.all) {
    FileDescriptor root = TRY(cgroup::open_root(hierarchy));
    std::vector<pid_t> pids = TRY(cgroup::read_processes(root, place.path));
    if (pids.empty()) continue;
    std::sort(pids.begin(), pids.end());
    pids.erase(std::unique(pids.begin(), pids.end()), pids.end());
    return pids;
  }
  return std::vector<pid_t>();
}

Result<bool> is_cgroup_empty(const std::string& cgroups_path) {
  const std::vector<pid_t> pids = TRY(cgroup_processes(cgroups_path));
  return pids.empty();
}

Result<void> signal_cgroup(const std::string& cgroups_path, int signal) {
  const Place place = TRY(cgroup::find_place(cgroups_path));
  if (signal == SIGKILL) {
    cgroup::kill_all(*place.all, place.path);
    return {};
  }
  // Frozen meanwhile, so that none is missed; without freezer it is the best that can be done.
  const bool paused = TRY(is_cgroup_frozen(cgroups_path));
  const bool frozen = signal != 0 && !paused && freeze_cgroup(cgroups_path).has_value();
  auto pids = cgroup_processes(cgroups_path);
  Result<void> sent;
  if (!pids) sent = Failure(pids.error());
  for (pid_t pid : pids ? *pids : std::vector<pid_t>()) {
    if (pid == getpid() || kill(pid, signal) == 0 || errno == ESRCH || !sent) continue;
    sent = fail_errno("sending signal " + std::to_string(signal) + " to process " + std::to_string(pid));
  }
  if (frozen) TRY(thaw_cgroup(cgroups_path));
  return sent;
}

Result<void> destroy_cgroup(const std::string& cgroups_path) {
  const Place place = TRY(cgroup::find_place(cgroups_path));
  const long deadline = now_ms() + kKillTimeoutMs;
  for (long pause_us = 200;; pause_us = std::min(pause_us * 2, 20'000L)) {
    bool gone = TRY(remove_empty(*place.all, place.path));
    if (gone) return {};
    if (now_ms() > deadline)
      return fail(ErrorCode::in_use, "processes of cgroup \"" + place.path + "\" do not end within 10 s of SIGKILL");
    cgroup::kill_all(*place.all, place.path);
    usleep(static_cast<useconds_t>(pause_us));
  }
}

}  // namespace dray::runtime
