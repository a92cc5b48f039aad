// SPDX-License-Identifier: Apache-2.0
#include "channel.hpp"

#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <dray/core/socket.hpp>

namespace dray::runtime {
namespace {

struct Message {
  std::int32_t number = 0;
  FileDescriptor fd;
};

std::optional<Message> receive(FdRef socket, int flags) {
  Message result;
  auto received = receive_with_descriptor(socket, std::as_writable_bytes(std::span(&result.number, 1)), flags);
  if (!received || received->size == 0) return std::nullopt;
  result.fd = std::move(received->descriptor);
  return result;
}

bool is_failure(const ChildFailure& report) {
  return report.error_number != 0 || (report.step != Step::mounted && report.step != Step::map_ids &&
                                      report.step != Step::seccomp_listener && report.step != Step::ready);
}

}  // namespace

Child& Child::operator=(Child&& other) noexcept {
  if (this == &other) return *this;
  end();
  pid = std::exchange(other.pid, -1);
  pidfd = std::move(other.pidfd);
  return *this;
}

void Child::end() {
  if (pid < 0) return;
  ::kill(pid, SIGKILL);
  reap();
}

void Child::reap() {
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  pid = -1;
}

Result<void> Child::set_oom_score(int score) const {
  FileDescriptor file = TRY(open_file("/proc/" + std::to_string(pid) + "/oom_score_adj", O_WRONLY));
  TRY_CTX(write_all(file, std::to_string(score)), "setting the OOM score");
  return {};
}

Result<void> Child::raise_hard_limits(const PlanProcess& process) const {
  for (std::uint32_t i = 0; i < process.rlimit_count; ++i) {
    const PlanRlimit& wanted = process.rlimits[i];
    struct rlimit64 limit;
    if (::syscall(SYS_prlimit64, pid, wanted.resource, nullptr, &limit) != 0) return fail_errno("reading a limit");
    if (limit.rlim_max >= wanted.limit.rlim_max) continue;
    limit.rlim_max = wanted.limit.rlim_max;
    (void)::syscall(SYS_prlimit64, pid, wanted.resource, &limit, nullptr);
  }
  return {};
}

Failure fail_without_listener() {
  return fail(ErrorCode::unsupported, "seccomp action \"SCMP_ACT_NOTIFY\" needs a listener");
}

Result<Channel> Channel::create(ChildPlan& plan) {
  Channel channel;
  channel.status_ = TRY(make_pipe());
  int sockets[2];
  // Packets: each message of the conversation stays one.
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0)
    return fail_errno("creating a socket pair");
  channel.ours_ = FileDescriptor(sockets[0]);
  channel.childs_ = FileDescriptor(sockets[1]);
  plan.status = channel.status_.write_end.get();
  plan.socket = channel.childs_.get();
  return channel;
}

Result<Child> Channel::clone(const ChildPlan& plan, std::uint64_t namespaces, FdRef cgroup,
                             void (*run)(const ChildPlan&)) {
  int pidfd = -1;
  struct clone_args arguments{};
  arguments.flags = namespaces | CLONE_PIDFD;
  arguments.pidfd = reinterpret_cast<std::uint64_t>(&pidfd);
  arguments.exit_signal = SIGCHLD;
  if (cgroup.valid()) {
    arguments.flags |= CLONE_INTO_CGROUP;
    arguments.cgroup = static_cast<std::uint64_t>(cgroup.get());
  }
  long pid = ::syscall(SYS_clone3, &arguments, sizeof arguments);
  if (pid < 0) return fail_errno("creating a process in new namespaces");
  if (pid == 0) {
    // Our end of the socket, or the child would not notice our death.
    ::close(ours_.get());
    ::close(status_.read_end.get());
    run(plan);
    ::_exit(126);
  }
  Child child;
  child.pid = static_cast<pid_t>(pid);
  child.pidfd = FileDescriptor(pidfd);
  status_.write_end.reset();
  childs_.reset();
  return child;
}

Result<void> Channel::send_go(const std::vector<FileDescriptor>& tasks, const std::vector<FileDescriptor>& mounts) {
  if (tasks.size() > kMaxCgroups || mounts.size() > kMaxCgroups)
    return fail(ErrorCode::unsupported, "more than " + std::to_string(kMaxCgroups) + " cgroup hierarchies");
  std::vector<int> fds;
  for (const auto* list : {&tasks, &mounts})
    for (const FileDescriptor& fd : *list) fds.push_back(fd.get());
  return send(
      Go{Step::wait_for_go, static_cast<std::uint32_t>(tasks.size()), static_cast<std::uint32_t>(mounts.size())}, fds);
}

Result<void> Channel::send_go(Step answers) { return send(Go{answers, 0, 0}, {}); }

Result<void> Channel::send(Go go, const std::vector<int>& fds) {
  struct iovec part{&go, sizeof go};
  alignas(struct cmsghdr) char control[CMSG_SPACE(2 * kMaxCgroups * sizeof(int))] = {};
  struct msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    struct cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size() * sizeof(int));
  }
  ssize_t sent;
  do {
    sent = ::sendmsg(ours_.get(), &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return fail_errno("telling the container's process to go on");
  return {};
}

std::optional<Child> Channel::receive_process() {
  auto message = receive(ours_, 0);
  if (!message || !message->fd.valid()) return std::nullopt;
  Child child;
  child.pid = message->number;
  child.pidfd = std::move(message->fd);
  return child;
}

FileDescriptor Channel::receive_console() {
  if (console_.valid()) return std::move(console_);
  auto message = receive(ours_, MSG_DONTWAIT);
  return message ? std::move(message->fd) : FileDescriptor();
}

FileDescriptor Channel::wait_for_descriptor() {
  auto message = receive(ours_, 0);
  return message ? std::move(message->fd) : FileDescriptor();
}

Result<std::optional<ChildFailure>> Channel::read_report(const Child& child, const ChildPlan& plan,
                                                         const Deadline& deadline) {
  const Execution execution(child.pid, child.pidfd, identify_file("/proc/self/exe"),
                            identify_file(FdRef(plan.process.init)));
  return execution.read_report(status_.read_end, deadline);
}

std::optional<ChildFailure> Channel::pending_failure() {
  struct pollfd waiting{status_.read_end.get(), POLLIN, 0};
  while (::poll(&waiting, 1, 0) == 1 && (waiting.revents & POLLIN) != 0) {
    auto report = read_failure(status_.read_end);
    if (!report || !*report) return std::nullopt;
    if (is_failure(**report)) return **report;
  }
  return std::nullopt;
}

Result<void> Channel::hand_over_listener(const Child& child, const PlanProcess& process, int number,
                                         const Listener& take) {
  FileDescriptor listener;
  if (process.send_listener) {
    if (process.terminal) console_ = wait_for_descriptor();
    listener = wait_for_descriptor();
    if (!listener.valid())
      return fail(ErrorCode::unsupported,
                  "the seccomp profile keeps us from sending its notification descriptor: for an "
                  "ordinary user it must allow sendmsg");
  } else {
    listener = FileDescriptor(static_cast<int>(::syscall(SYS_pidfd_getfd, child.pidfd.get(), number, 0)));
    if (!listener.valid()) return fail_errno("fetching the seccomp notification descriptor");
  }
  TRY(take(child.pid, listener));
  return send_go(Step::seccomp_listener);
}

}  // namespace dray::runtime
