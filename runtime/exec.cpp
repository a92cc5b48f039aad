// SPDX-License-Identifier: Apache-2.0
// A further process in a running container, the parent's side.
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <dray/runtime/launch.hpp>

#include "channel.hpp"
#include "failure.hpp"
#include "plan_builder.hpp"

namespace dray::runtime {
namespace {

struct NamespaceKind {
  const char* name;
  int flag;
};
constexpr NamespaceKind kNamespaces[] = {{"user", CLONE_NEWUSER},
                                         {"mnt", CLONE_NEWNS},
                                         {"pid", CLONE_NEWPID},
                                         {"uts", CLONE_NEWUTS},
                                         {"ipc", CLONE_NEWIPC},
                                         {"net", CLONE_NEWNET},
                                         {"time", 0x80 /* CLONE_NEWTIME */},
                                         {"cgroup", CLONE_NEWCGROUP}};

// Those that are not ours already; joining one's own is an error or a waste.
Result<int> foreign_namespaces(pid_t pid) {
  int flags = 0;
  for (const auto& kind : kNamespaces) {
    struct stat ours, theirs;
    if (::stat((std::string("/proc/self/ns/") + kind.name).c_str(), &ours) != 0)
      continue;  // a kernel without this kind
    if (::stat(("/proc/" + std::to_string(pid) + "/ns/" + kind.name).c_str(), &theirs) != 0)
      return fail(ErrorCode::unavailable, "the container is not running");
    if (ours.st_ino != theirs.st_ino || ours.st_dev != theirs.st_dev) flags |= kind.flag;
  }
  // Without a mount namespace of its own it is no container of ours; the host's files are not to be entered by mistake.
  if ((flags & CLONE_NEWNS) == 0)
    return fail(ErrorCode::invalid_argument, "process " + std::to_string(pid) + " is not in a container");
  return flags;
}

class Exec {
 public:
  explicit Exec(const ExecRequest& request) : request_(request) {}
  Result<Launched> run();

 private:
  Result<Launched> start();
  Result<void> follow(const Child& process);
  Error first_cause(Error ours);

  const ExecRequest& request_;
  PlanBuilder builder_;
  Channel channel_;
};

Error Exec::first_cause(Error ours) {
  auto theirs = channel_.pending_failure();
  return theirs ? explain_failure(*theirs, builder_, request_.process, nullptr) : std::move(ours);
}

Result<void> Exec::follow(const Child& process) {
  for (;;) {
    auto report = TRY(channel_.read_report());
    if (!report) return {};
    if (report->step == Step::seccomp_listener && report->error_number == 0) {
      TRY(channel_.hand_over_listener(process, report->index, request_.take_seccomp_listener));
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
  Child helper =
      TRY(channel_.clone(builder_.plan(), 0, entrance.unified, [](const ChildPlan& plan) { run_exec_child(plan); }));
  auto prepare = [&]() -> Result<void> {
    const PlanAffinity& initial = builder_.initial_affinity();
    if (initial.size > 0 && ::syscall(SYS_sched_setaffinity, helper.pid, initial.size, initial.mask) < 0)
      return fail_errno("setting the initial CPU affinity");
    if (request_.process.oom_score_adj) TRY(helper.set_oom_score(*request_.process.oom_score_adj));
    if ((builder_.plan().join_flags & CLONE_NEWUSER) != 0)
      TRY(helper.raise_hard_limits(builder_.plan().process));  // its child inherits them
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
  // By number: glibc 2.36 declares its wrappers without extern "C".
  FileDescriptor target(static_cast<int>(::syscall(SYS_pidfd_open, request_.pid, 0)));
  if (!target.valid()) return fail_errno("opening process " + std::to_string(request_.pid));
  const int flags = TRY(foreign_namespaces(request_.pid));
  builder_.set_exec(request_, target, flags);
  TRY(builder_.set_process(request_.process, request_.seccomp, request_.stdio, false));
  if (builder_.plan().process.seccomp_listener && !request_.take_seccomp_listener) return fail_without_listener();
  if (request_.personality) builder_.plan().process.personality = *request_.personality;
  if (request_.memory_policy) TRY(builder_.set_memory_policy(*request_.memory_policy));
  // What was read under this number was of this process only if it still lives.
  if (::syscall(SYS_pidfd_send_signal, target.get(), 0, nullptr, 0) != 0)
    return fail(ErrorCode::unavailable, "the container is not running");
  return start();
}

}  // namespace

Result<Launched> exec(const ExecRequest& request) { return Exec(request).run(); }

}  // namespace dray::runtime
