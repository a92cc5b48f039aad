// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "catch.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "cgroup/cgroup.hpp"
#include "cgroup/hierarchy.hpp"

// For tests on the host's own cgroups, as root: below a parent of this process, which is gone afterwards.

using namespace dray;
using namespace dray::runtime;

inline const std::string kParent = "dray-test-" + std::to_string(getpid());

/// Removes the parent cgroups that the test's containers left, in every hierarchy.
struct Cleaner {
  ~Cleaner() { (void)destroy_cgroup(kParent); }
};

inline bool can_make_cgroups() {
  auto points = cgroup_mount_points();
  if (geteuid() != 0 || !points) return false;
  std::string probe = points->front().host_path + "/" + kParent + "-probe";
  if (mkdir(probe.c_str(), 0755) != 0) return false;
  rmdir(probe.c_str());
  return true;
}
#define NEEDS_CGROUPS()                           \
  if (!can_make_cgroups()) {                      \
    WARN("skipped: cgroups cannot be made here"); \
    return;                                       \
  }                                               \
  Cleaner cleaner

/// The calling process, which has one thread.
inline bool enter_cgroup(const std::string& path) {
  auto entrance = open_cgroup_entrance(path);
  if (!entrance) return false;
  if (entrance->unified.valid() && !cgroup::write_value(entrance->unified, "cgroup.procs", "0")) return false;
  return std::ranges::all_of(entrance->tasks,
                             [](const FileDescriptor& tasks) { return write(tasks.get(), "0", 1) == 1; });
}

/// A process that enters the cgroup and then forks once more.
inline pid_t spawn_sleeper(const std::string& path) {
  int ready[2] = {};
  REQUIRE(pipe(ready) == 0);
  pid_t pid = fork();
  if (pid == 0) {
    bool entered = enter_cgroup(path);
    if (entered && fork() == 0) {
      close(ready[0]);
      close(ready[1]);
      pause();
    }
    (void)!write(ready[1], entered ? "1" : "0", 1);
    pause();
    _exit(0);
  }
  char entered = '0';
  REQUIRE(read(ready[0], &entered, 1) == 1);
  REQUIRE(entered == '1');
  close(ready[0]);
  close(ready[1]);
  return pid;
}

inline const cgroup::Hierarchy* find(const std::vector<cgroup::Hierarchy>& all, const char* controller) {
  for (const cgroup::Hierarchy& hierarchy : all)
    if (hierarchy.has(controller)) return &hierarchy;
  return nullptr;
}

inline std::vector<cgroup::Hierarchy> host_hierarchies() {
  auto text = read_file("/proc/self/mountinfo");
  REQUIRE_OK(text);
  return cgroup::parse_hierarchies(*text);
}

/// What a file of the cgroup says, in the hierarchy of a v1 controller or in v2's.
inline std::string cgroup_value(const char* controller, const std::string& path, const char* file) {
  auto all = host_hierarchies();
  const cgroup::Hierarchy* hierarchy = find(all, controller);
  auto leaf = cgroup::open_leaf(hierarchy == nullptr ? all.back() : *hierarchy, path);
  if (!leaf) return "no cgroup";
  auto text = cgroup::read_value(*leaf, file);
  return text ? *text : "no " + std::string(file);
}

/// In either version.
inline bool has_controller(const char* name) {
  auto all = host_hierarchies();
  if (find(all, name) != nullptr) return true;
  auto controllers = read_file(all.back().mount_point + "/cgroup.controllers");
  return all.front().unified && controllers && (" " + *controllers).find(" " + std::string(name)) != std::string::npos;
}
