// SPDX-License-Identifier: Apache-2.0
// A process that is to outlive the unit of systemd it was started from.
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "hierarchy.hpp"

namespace dray::runtime {
namespace {

constexpr const char* kPath = "dray/monitors";

/// v2's cgroup for monitors; invalid where it's not needed: the caller's own is the root, which nobody ends. On a host
/// with v1 controllers nothing is done: entering systemd's hierarchy there takes up to 10 ms (cgroup.hpp).
Result<FileDescriptor> open_monitors_cgroup() {
  const auto& all = cgroup::hierarchies();
  if (!all || !all->front().unified) return FileDescriptor();
  if (TRY(read_file("/proc/self/cgroup", 64 * 1024)) == "0::/\n") return FileDescriptor();
  const FileDescriptor root = TRY(cgroup::open_root(all->front()));
  cgroup::Leaf leaf = TRY(cgroup::make_leaf(root, kPath, ExistingCgroup::join));
  return std::move(leaf.directory);
}

}  // namespace

pid_t fork_monitor() {
  auto home = open_monitors_cgroup();
  if (!home || !home->valid()) return ::fork();
  // Born there: moving a process takes milliseconds. The C library has no fork() that can do it, and a process from the
  // bare system call may not use all of the library; so that one forks once more.
  struct clone_args arguments{};
  arguments.flags = CLONE_INTO_CGROUP;
  arguments.exit_signal = SIGCHLD;
  arguments.cgroup = static_cast<std::uint64_t>(home->get());
  const long between = ::syscall(SYS_clone3, &arguments, sizeof arguments);
  if (between < 0) return ::fork();  // a container that may not: the monitor stays with its caller
  if (between > 0) return static_cast<pid_t>(between);
  const pid_t monitor = ::fork();
  if (monitor != 0) ::_exit(monitor < 0 ? 1 : 0);
  return 0;
}

}  // namespace dray::runtime
