// SPDX-License-Identifier: Apache-2.0
// Starting processes in containers, the parent's side: make the plan, clone, do the slow things (cgroup, network) while
// the child mounts, say go, listen. child_plan.hpp documents the conversation; whatever fails on either side, the child
// is gone and reaped and the cgroup removed before an error is returned.
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <future>

#include <dray/runtime/launch.hpp>

#include "failure.hpp"
#include "plan_builder.hpp"

namespace dray::runtime {
namespace {

struct Channel {
  Pipe status;
  FileDescriptor ours, childs;
};

Result<Channel> make_channel(ChildPlan& plan) {
  Channel channel;
  channel.status = TRY(make_pipe());
  int sockets[2];
  // Packets: each message of the conversation stays one.
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0)
    return fail_errno("creating a socket pair");
  channel.ours = FileDescriptor(sockets[0]);
  channel.childs = FileDescriptor(sockets[1]);
  plan.status = channel.status.write_end.get();
  plan.socket = channel.childs.get();
  return channel;
}

/// The cloned child; killed and reaped unless released.
struct Child {
  pid_t pid = -1;
  FileDescriptor pidfd;

  Child() = default;
  Child(Child&& other) noexcept : pid(other.pid), pidfd(std::move(other.pidfd)) { other.pid = -1; }
  Child& operator=(Child&&) = delete;
  ~Child() { end(); }
  void end() {
    if (pid < 0) return;
    ::kill(pid, SIGKILL);
    reap();
  }
  void reap() {
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    pid = -1;
  }
};

// A plain fork with namespaces; glibc's fork would run handlers of libraries. `cgroup`: of v2 to be born in, may be
// invalid.
Result<Child> clone_child(const ChildPlan& plan, const Channel& channel, std::uint64_t namespaces, FdRef cgroup,
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
    ::close(channel.ours.get());
    ::close(channel.status.read_end.get());
    run(plan);
    ::_exit(126);
  }
  Child child;
  child.pid = static_cast<pid_t>(pid);
  child.pidfd = FileDescriptor(pidfd);
  return child;
}

Result<void> send_go(FdRef socket, const std::vector<FileDescriptor>& tasks,
                     const std::vector<FileDescriptor>& mounts) {
  if (tasks.size() > kMaxCgroups || mounts.size() > kMaxCgroups)
    return fail(ErrorCode::unsupported, "more than " + std::to_string(kMaxCgroups) + " cgroup hierarchies");
  std::vector<int> fds;
  for (const auto* list : {&tasks, &mounts})
    for (const FileDescriptor& fd : *list) fds.push_back(fd.get());
  Go go{static_cast<std::uint32_t>(tasks.size()), static_cast<std::uint32_t>(mounts.size())};
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
    sent = ::sendmsg(socket.get(), &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return fail_errno("telling the container's process to go on");
  return {};
}

struct Message {
  std::int32_t number = 0;
  FileDescriptor fd;
};

// What the child has sent until now; never waits: it is asked once the child has executed or failed.
std::optional<Message> receive(FdRef socket) {
  Message result;
  struct iovec part{&result.number, sizeof result.number};
  alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  struct msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t count;
  do {
    count = ::recvmsg(socket.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (count < 0 && errno == EINTR);
  if (count <= 0) return std::nullopt;
  struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header != nullptr && header->cmsg_type == SCM_RIGHTS && header->cmsg_len == CMSG_LEN(sizeof(int))) {
    int fd;
    std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
    result.fd = FileDescriptor(fd);
  }
  return result;
}

// Waits for execve (end of file) or a report. A child that was killed says nothing: the caller sees it end at once, as
// with execve.
Result<std::optional<ChildFailure>> read_status(FdRef status) {
  ChildFailure failure;
  std::size_t count = TRY(read_some(status, std::as_writable_bytes(std::span(&failure, 1))));
  if (count != sizeof failure) return std::optional<ChildFailure>();
  return std::optional<ChildFailure>(failure);
}

Result<void> write_oom_score(pid_t pid, int score) {
  FileDescriptor file = TRY(open_file("/proc/" + std::to_string(pid) + "/oom_score_adj", O_WRONLY));
  TRY_CTX(write_all(file, std::to_string(score)), "setting the OOM score");
  return {};
}

std::uint64_t new_namespaces(const Namespaces& wanted) {
  std::uint64_t flags = CLONE_NEWNS;  // never without: the mounts would be the host's
  if (wanted.pid.is_new) flags |= CLONE_NEWPID;
  if (wanted.uts.is_new) flags |= CLONE_NEWUTS;
  if (wanted.ipc.is_new) flags |= CLONE_NEWIPC;
  if (wanted.network.is_new) flags |= CLONE_NEWNET;
  return flags;
}

// The container's own cgroup of each hierarchy, as detached mounts.
Result<std::vector<FileDescriptor>> open_cgroups(const PlanBuilder& builder, const Spec& spec, bool read_only) {
  std::vector<FileDescriptor> trees;
  std::uint64_t attributes =
      MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | (read_only ? MOUNT_ATTR_RDONLY : 0);
  for (const auto& point : builder.cgroup_mount_points()) {
    FileDescriptor tree = TRY(clone_mount(point.host_path + "/" + spec.cgroups_path));
    TRY(change_mount(tree, attributes, 0, MS_PRIVATE, 0));
    trees.push_back(std::move(tree));
  }
  return trees;
}

struct PreparedCgroup {
  CgroupEntrance entrance;
  std::vector<FileDescriptor> mounts;
};

Result<PreparedCgroup> prepare_cgroup(const PlanBuilder& builder, const Spec& spec, bool read_only) {
  PreparedCgroup prepared;
  if (spec.cgroups_path.empty()) return prepared;
  TRY(create_cgroup(spec.cgroups_path, spec.resources));
  prepared.entrance = TRY(open_cgroup_entrance(spec.cgroups_path));
  prepared.mounts = TRY(open_cgroups(builder, spec, read_only));
  return prepared;
}

// The parent's work while the child mounts.
Result<void> prepare_surroundings(const LaunchRequest& request, const Child& child,
                                  const std::shared_future<Result<PreparedCgroup>>& cgroup, FdRef socket) {
  const Spec& spec = *request.spec;
  if (spec.process.oom_score_adj) TRY(write_oom_score(child.pid, *spec.process.oom_score_adj));
  if (request.configure_network) {
    FileDescriptor netns = TRY(open_file("/proc/" + std::to_string(child.pid) + "/ns/net", O_RDONLY));
    TRY(request.configure_network(netns));
  }
  const auto& prepared = cgroup.get();
  if (!prepared) return Failure(prepared.error());
  return send_go(socket, prepared->entrance.tasks, prepared->mounts);
}

// A failure on our side while the child had one of its own (it is dead, so nothing can be done to it): the child's is
// the cause.
Error first_cause(Error ours, FdRef status, const PlanBuilder& builder, const Process& process, const Spec* spec) {
  struct pollfd waiting{status.get(), POLLIN, 0};
  if (::poll(&waiting, 1, 0) != 1 || (waiting.revents & POLLIN) == 0) return ours;
  auto report = read_status(status);
  if (!report || !*report) return ours;
  return explain_failure(**report, builder, process, spec);
}

Result<Launched> launch_child(const LaunchRequest& request, PlanBuilder& builder) {
  const Spec& spec = *request.spec;
  Channel channel = TRY(make_channel(builder.plan()));
  // On v1 a dozen hierarchies take as long as making the namespaces, so both go on at once. Of v2's one the child is
  // born in.
  const bool read_only = builder.plan().cgroups.read_only;
  const std::shared_future<Result<PreparedCgroup>> cgroup =
      std::async(std::launch::async, [&, read_only] { return prepare_cgroup(builder, spec, read_only); });
  FdRef birthplace;
  if (!spec.cgroups_path.empty() && TRY(is_cgroup_unified())) {
    if (!cgroup.get()) return Failure(cgroup.get().error());
    birthplace = cgroup.get()->entrance.unified;
  }
  Child child = TRY(clone_child(builder.plan(), channel, new_namespaces(spec.namespaces), birthplace,
                                [](const ChildPlan& plan) { run_container_child(plan); }));
  channel.status.write_end.reset();
  channel.childs.reset();
  auto prepared = prepare_surroundings(request, child, cgroup, channel.ours);
  if (!prepared) {
    child.end();
    return Failure(first_cause(std::move(prepared).error(), channel.status.read_end, builder, spec.process, &spec));
  }
  auto report = TRY(read_status(channel.status.read_end));
  if (report) return Failure(explain_failure(*report, builder, spec.process, &spec));
  Launched launched;
  if (spec.process.terminal) {
    auto console = receive(channel.ours);
    if (!console || !console->fd.valid())
      return fail(ErrorCode::internal, "the container's process ended before it had started");
    launched.console = std::move(console->fd);
  }
  launched.pidfd = std::move(child.pidfd);
  launched.pid = child.pid;
  child.pid = -1;
  return launched;
}

}  // namespace

Result<Launched> launch(const LaunchRequest& request) {
  const Spec& spec = *request.spec;
  PlanBuilder builder;
  TRY(builder.occupy_standard_descriptors());
  TRY(builder.set_process(spec.process, spec.seccomp, request.stdio, request.use_init));
  TRY(builder.set_container(spec, request.rootfs));
  auto launched = launch_child(request, builder);
  if (launched || spec.cgroups_path.empty()) return launched;
  Error error = std::move(launched).error();
  auto removed = destroy_cgroup(spec.cgroups_path);
  if (!removed) error = std::move(error).with_cleanup_failure(removed.error());
  return Failure(std::move(error));
}

// ---- exec ----------------------------------------------------------------------------------------------------------

namespace {

struct NamespaceKind {
  const char* name;
  int flag;
};
constexpr NamespaceKind kNamespaces[] = {{"mnt", CLONE_NEWNS},  {"pid", CLONE_NEWPID}, {"uts", CLONE_NEWUTS},
                                         {"ipc", CLONE_NEWIPC}, {"net", CLONE_NEWNET}, {"cgroup", CLONE_NEWCGROUP}};

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

Result<Launched> exec_child(const ExecRequest& request, PlanBuilder& builder) {
  Channel channel = TRY(make_channel(builder.plan()));
  CgroupEntrance entrance;
  if (!request.cgroups_path.empty()) entrance = TRY(open_cgroup_entrance(request.cgroups_path));
  Child helper = TRY(
      clone_child(builder.plan(), channel, 0, entrance.unified, [](const ChildPlan& plan) { run_exec_child(plan); }));
  channel.status.write_end.reset();
  channel.childs.reset();
  auto prepare = [&]() -> Result<void> {
    if (request.process.oom_score_adj) TRY(write_oom_score(helper.pid, *request.process.oom_score_adj));
    return send_go(channel.ours, entrance.tasks, {});
  };
  auto prepared = prepare();
  if (!prepared) {
    helper.end();
    return Failure(
        first_cause(std::move(prepared).error(), channel.status.read_end, builder, request.process, nullptr));
  }
  auto report = read_status(channel.status.read_end);
  helper.reap();
  // The process proper, a child of ours by CLONE_PARENT; killed and reaped if anything is wrong.
  Child process;
  auto started = receive(channel.ours);
  if (started) {
    process.pid = started->number;
    process.pidfd = std::move(started->fd);
  }
  if (!report) return Failure(std::move(report).error());
  if (*report) return Failure(explain_failure(**report, builder, request.process, nullptr));
  if (!started || !process.pidfd.valid())
    return fail(ErrorCode::unavailable, "the container ended before the command could be started");
  Launched launched;
  if (request.process.terminal) {
    auto console = receive(channel.ours);
    if (!console || !console->fd.valid()) return fail(ErrorCode::internal, "the command ended before it had started");
    launched.console = std::move(console->fd);
  }
  launched.pidfd = std::move(process.pidfd);
  launched.pid = process.pid;
  process.pid = -1;
  return launched;
}

}  // namespace

Result<Launched> exec(const ExecRequest& request) {
  PlanBuilder builder;
  TRY(builder.occupy_standard_descriptors());
  // By number: glibc 2.36 declares its wrappers without extern "C".
  FileDescriptor target(static_cast<int>(::syscall(SYS_pidfd_open, request.pid, 0)));
  if (!target.valid()) return fail_errno("opening process " + std::to_string(request.pid));
  builder.plan().target = target.get();
  builder.plan().join_flags = TRY(foreign_namespaces(request.pid));
  TRY(builder.set_process(request.process, request.seccomp, request.stdio, false));
  // What was read under this number was of this process only if it still lives.
  if (::syscall(SYS_pidfd_send_signal, target.get(), 0, nullptr, 0) != 0)
    return fail(ErrorCode::unavailable, "the container is not running");
  return exec_child(request, builder);
}

}  // namespace dray::runtime
