// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include <dray/core/fd.hpp>
#include <dray/core/result.hpp>

#include "child_plan.hpp"
#include "execution.hpp"

// The parent's end of the conversation that child_plan.hpp documents, for launch.cpp and exec.cpp.

namespace dray::runtime {

/// A process of ours that is not yet started: killed and reaped unless released.
struct Child {
  pid_t pid = -1;
  FileDescriptor pidfd;

  Child() = default;
  Child(Child&& other) noexcept : pid(std::exchange(other.pid, -1)), pidfd(std::move(other.pidfd)) {}
  Child& operator=(Child&& other) noexcept;
  ~Child() { end(); }
  void end();
  void reap();
  /// An unprivileged caller who may not lower it leaves it as it is.
  Result<void> set_oom_score(int score) const;
  /// To those of the plan: a process in a user namespace may not raise its limits itself. Without the right to do so
  /// the child's own attempt fails, and names the limit.
  Result<void> raise_hard_limits(const PlanProcess& process) const;
  void release() { pid = -1; }
};

/// A seccomp profile with SCMP_ACT_NOTIFY needs someone to answer.
Failure fail_without_listener();

class Channel {
 public:
  /// Fills the plan's ends of it.
  static Result<Channel> create(ChildPlan& plan);

  /// A plain fork with namespaces (CLONE_NEW*); glibc's fork would run handlers of libraries. `cgroup`: of v2 to be
  /// born in, may be invalid. The child's ends are closed here.
  Result<Child> clone(const ChildPlan& plan, std::uint64_t namespaces, FdRef cgroup, void (*run)(const ChildPlan&));

  Result<void> send_go(const std::vector<FileDescriptor>& tasks, const std::vector<FileDescriptor>& mounts);
  /// Without descriptors, where the child waits for something else.
  Result<void> send_go(Step answers);
  /// The process proper that a helper has forked; nullopt if the helper ended before.
  std::optional<Child> receive_process();
  /// The pty's master, which the child sends before it says that it is ready; invalid if it has not.
  FileDescriptor receive_console();
  /// What the child sends now; invalid if it ends instead.
  FileDescriptor wait_for_descriptor();

  /// Waits for execve (nullopt) or what the child has to say.
  Result<std::optional<ChildFailure>> read_report(const Child& child, const ChildPlan& plan, const Deadline& deadline);
  /// A failure that the child has reported until now: the cause, when something of ours fails thereby.
  std::optional<ChildFailure> pending_failure();

  using Listener = std::function<Result<void>(pid_t pid, FdRef listener)>;
  /// Gets the seccomp notification descriptor `number` of the child, hands it over and lets the child go on.
  Result<void> hand_over_listener(const Child& child, const PlanProcess& process, int number, const Listener& take);

 private:
  Result<void> send(Go go, const std::vector<int>& fds);

  Pipe status_;
  FileDescriptor ours_, childs_;
  FileDescriptor console_;  // that came before the listener
};

}  // namespace dray::runtime
