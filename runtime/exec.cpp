// SPDX-License-Identifier: Apache-2.0
// A further process in a running container, the parent's side.
#include <fcntl.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include <dray/runtime/launch.hpp>

#include "channel.hpp"
#include "failure.hpp"
#include "plan_builder.hpp"

namespace dray::runtime {
namespace {

class Exec {
 public:
  explicit Exec(const ExecRequest& request) : request_(request) {}
  Result<Launched> run();

 private:
  Result<Launched> start();
  Result<Child> clone_helper(FdRef cgroup);
  Result<void> enter_from_outside(const Child& helper);
  Result<void> follow(const Child& process);
  Error first_cause(Error ours);

  const ExecRequest& request_;
  PlanBuilder builder_;
  Channel channel_;
  bool outside_ = false;  // the helper could not be born in the cgroup
};

Result<Child> Exec::clone_helper(FdRef cgroup) {
  auto run = [](const ChildPlan& plan) { run_exec_child(plan); };
  auto helper = channel_.clone(builder_.plan(), 0, cgroup, run);
  if (helper || helper.error().error_number() != EACCES) return helper;
  if (!request_.systemd_unit && !request_.may_stay_outside) return helper;
  outside_ = true;
  return channel_.clone(builder_.plan(), 0, {}, run);
}

// To move it takes the right to write to the cgroup that the caller's and the container's have in common.
Result<void> Exec::enter_from_outside(const Child& helper) {
  auto entered = request_.systemd_unit && request_.sub_cgroups.empty()
                     ? attach_to_systemd_unit(*request_.systemd_unit, helper.pid)
                     : Result<void>(fail(ErrorCode::permission_denied, "permission denied"));
  if (entered || !request_.may_stay_outside) return entered;
  if (request_.warn) request_.warn("the process is not in the container's cgroup: " + entered.error().message());
  return {};
}

Error Exec::first_cause(Error ours) {
  auto theirs = channel_.pending_failure();
  return theirs ? explain_failure(*theirs, builder_, request_.process, nullptr) : std::move(ours);
}

Result<void> Exec::follow(const Child& process) {
  for (;;) {
    auto report = TRY(channel_.read_report(process, builder_.plan(), request_.deadline));
    if (!report) return {};
    const PlanProcess& plan = builder_.plan().process;
    if (report->step == Step::seccomp_listener && report->error_number == 0 && plan.seccomp_listener) {
      TRY(channel_.hand_over_listener(process, plan, report->index, request_.take_seccomp_listener));
    } else {
      return Failure(explain_failure(*report, builder_, request_.process, nullptr));
    }
  }
}

Result<Launched> Exec::start() {
  channel_ = TRY(Channel::create(builder_.plan()));
  CgroupEntrance entrance;
  if (!request_.cgroups_path.empty())
    entrance =
        TRY_CTX(open_cgroup_entrance(request_.cgroups_path, request_.sub_cgroups), "error adding pid to cgroups");
  Child helper = TRY(clone_helper(entrance.unified));
  auto prepare = [&]() -> Result<void> {
    const PlanAffinity& initial = builder_.initial_affinity();
    if (initial.size > 0 && ::syscall(SYS_sched_setaffinity, helper.pid, initial.size, initial.mask) < 0)
      return fail_errno("setting the initial CPU affinity");
    if (outside_) TRY(enter_from_outside(helper));
    if (request_.process.oom_score_adj && builder_.plan().oom_score.text == nullptr)
      TRY(helper.set_oom_score(*request_.process.oom_score_adj));
    if ((builder_.plan().join_flags & CLONE_NEWUSER) != 0)
      TRY(helper.raise_hard_limits(builder_.plan().process));  // its child inherits them
    if (request_.enter_groups) TRY(request_.enter_groups(helper.pid));
    return channel_.send_go(entrance.tasks, {});
  };
  if (auto prepared = prepare(); !prepared) {
    helper.end();
    return Failure(first_cause(std::move(prepared).error()));
  }
  // The process proper, a child of ours by CLONE_PARENT; killed and reaped if anything is wrong.
  auto process = channel_.receive_process();
  helper.reap();
  if (!process)
    return Failure(
        first_cause(Error(ErrorCode::unavailable, "the container ended before the command could be started")));
  TRY(follow(*process));
  Launched launched;
  if (request_.process.terminal) {
    launched.console = channel_.receive_console();
    if (!launched.console.valid()) return fail(ErrorCode::internal, "the command ended before it had started");
  }
  launched.pidfd = std::move(process->pidfd);
  launched.pid = process->pid;
  process->release();
  return launched;
}

Result<Launched> Exec::run() {
  TRY(builder_.occupy_standard_descriptors());
  const int flags = TRY(foreign_namespaces(request_.pid));
  // Without a mount namespace of its own it is no container of ours; the host's files are not to be entered by mistake.
  if ((flags & CLONE_NEWNS) == 0)
    return fail(ErrorCode::invalid_argument, "process " + std::to_string(request_.pid) + " is not in a container");
  builder_.set_exec(request_, flags);
  TRY(builder_.set_process(request_.process, request_.seccomp, request_.stdio, false));
  if (builder_.plan().process.seccomp_listener && !request_.take_seccomp_listener) return fail_without_listener();
  if (request_.personality) builder_.plan().process.personality = *request_.personality;
  if (request_.memory_policy) TRY(builder_.set_memory_policy(*request_.memory_policy));
  // What was read under this number was of this process only if it still lives.
  if (::syscall(SYS_pidfd_send_signal, request_.pidfd.get(), 0, nullptr, 0) != 0)
    return fail(ErrorCode::unavailable, "the container is not running");
  return start();
}

}  // namespace

Result<Launched> exec(const ExecRequest& request) { return Exec(request).run(); }

}  // namespace dray::runtime
