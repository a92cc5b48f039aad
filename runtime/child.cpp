// SPDX-License-Identifier: Apache-2.0
// What happens between clone3() and execve(), in the child. The parent may have had threads; one of them may have held
// malloc's lock at the clone. So this file, child_mounts.cpp and child_process.cpp only make system calls on what the
// plan holds: no allocation, no std::string, no stdio, no locale, no exceptions; compiled -fno-exceptions -fno-rtti,
// and a test compares the symbols used with a list (cmake/check_child_symbols.cmake).
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "child_steps.hpp"

namespace dray::runtime::child {

void fail(const ChildPlan& plan, Step step, int error_number, std::uint32_t index) {
  ChildFailure failure{step, error_number, static_cast<std::int32_t>(index)};
  // Smaller than PIPE_BUF: written whole or not at all. A parent that is gone needs no answer.
  while (::write(plan.status, &failure, sizeof failure) < 0 && errno == EINTR) {
  }
  ::_exit(126);
}

void report(const ChildPlan& plan, Step step, int index) {
  ChildFailure report{step, 0, index};
  while (::write(plan.status, &report, sizeof report) < 0 && errno == EINTR) {
  }
}

bool send_with_fd(int socket, const void* payload, std::size_t size, int fd) {
  struct iovec part{const_cast<void*>(payload), size};
  alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  struct msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  ssize_t sent;
  do {
    sent = ::sendmsg(socket, &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent == static_cast<ssize_t>(size);
}

namespace {

// One that came while the child waited for another: the parent prepares the cgroup meanwhile. The child is one thread,
// and its memory a copy.
struct EarlyGo {
  bool there;
  Go go;
  int fds[2 * kMaxCgroups];
};
EarlyGo early_go;

Go receive_go(const ChildPlan& plan, Step step, int* fds) {
  Go go;
  struct iovec part{&go, sizeof go};
  alignas(struct cmsghdr) char control[CMSG_SPACE(2 * kMaxCgroups * sizeof(int))];
  struct msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t count;
  do {
    count = ::recvmsg(plan.socket, &message, MSG_CMSG_CLOEXEC);
  } while (count < 0 && errno == EINTR);
  if (count < 0) fail(plan, step, errno);
  if (count == 0) ::_exit(126);  // the parent gave up and knows why
  struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  std::size_t size = header == nullptr ? 0 : header->cmsg_len - CMSG_LEN(0);
  if (size != (go.tasks_count + go.mount_count) * sizeof(int)) fail(plan, step, EMFILE);
  if (size > 0) std::memcpy(fds, CMSG_DATA(header), size);
  return go;
}

}  // namespace

Go wait_for_go(const ChildPlan& plan, Step step, int* fds) {
  while (!(step == Step::wait_for_go && early_go.there)) {
    int received[2 * kMaxCgroups];
    const Go go = receive_go(plan, step, received);
    const std::size_t size = (go.tasks_count + go.mount_count) * sizeof(int);
    if (go.answers == step) {
      if (size > 0) std::memcpy(fds, received, size);
      return go;
    }
    if (go.answers != Step::wait_for_go) fail(plan, step, EPROTO);
    early_go.there = true;
    early_go.go = go;
    std::memcpy(early_go.fds, received, size);
  }
  early_go.there = false;
  std::memcpy(fds, early_go.fds, sizeof early_go.fds);
  return early_go.go;
}

namespace {

// In the child that returns, all namespaces are as they shall be. CLONE_PARENT: the caller of launch() or exec() is the
// parent, not this intermediate process, which ends here.
void fork_into_namespaces(const ChildPlan& plan, std::uint64_t flags) {
  int pidfd = -1;
  struct clone_args arguments{};
  arguments.flags = flags | CLONE_PARENT | CLONE_PIDFD;
  arguments.pidfd = reinterpret_cast<std::uint64_t>(&pidfd);
  long pid = ::syscall(SYS_clone3, &arguments, sizeof arguments);
  if (pid < 0) fail(plan, Step::fork_into_namespaces, errno);
  if (pid == 0) return;
  std::int32_t number = static_cast<std::int32_t>(pid);
  if (!send_with_fd(plan.socket, &number, sizeof number, pidfd)) fail(plan, Step::fork_into_namespaces, errno);
  ::_exit(0);
}

// Once with the rights of the host's user and, as a user namespace is the last of the list, once more with those it
// gives.
void join_namespaces(const ChildPlan& plan) {
  std::uint32_t joined = 0;
  for (int round = 0; round < 2; ++round) {
    for (std::uint32_t i = 0; i < plan.join_count; ++i) {
      if ((joined >> i & 1) != 0) continue;
      if (::setns(plan.joins[i].fd, plan.joins[i].flag) == 0) {
        joined |= 1u << i;
      } else if (round == 1 || errno != EPERM) {
        fail(plan, Step::join_namespace, errno, i);
      }
    }
  }
}

// They can be set until the first process is in it, so by its maker only.
void make_time_namespace(const ChildPlan& plan) {
  if (::unshare(CLONE_NEWTIME) != 0) fail(plan, Step::time_offsets, errno);
  int file = ::openat(plan.proc, "self/timens_offsets", O_WRONLY | O_CLOEXEC);
  if (file < 0 ||
      ::write(file, plan.time_offsets.text, plan.time_offsets.length) != static_cast<ssize_t>(plan.time_offsets.length))
    fail(plan, Step::time_offsets, errno);
  ::close(file);
}

// Who may not lower it goes without, as in runc.
void set_oom_score(const ChildPlan& plan) {
  if (plan.oom_score.text == nullptr) return;
  const int file = ::openat(plan.proc, "self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (file < 0) return;
  if (::write(file, plan.oom_score.text, plan.oom_score.length) < 0) {
  }
  ::close(file);
}

// Files that are made now shall belong to the container's root.
void become_root(const ChildPlan& plan) {
  // Not allowed where the map of groups was written without privilege (user_namespaces(7)): then there are none to
  // drop.
  if (::syscall(SYS_setgroups, 0, nullptr) != 0 && errno != EPERM) fail(plan, Step::become_root, errno);
  if (::syscall(SYS_setresgid, 0, 0, 0) != 0 || ::syscall(SYS_setresuid, 0, 0, 0) != 0)
    fail(plan, Step::become_root, errno);
}

void set_names(const ChildPlan& plan) {
  if (plan.hostname != nullptr && ::sethostname(plan.hostname, std::strlen(plan.hostname)) != 0)
    fail(plan, Step::hostname, errno);
  if (plan.domainname != nullptr && ::setdomainname(plan.domainname, std::strlen(plan.domainname)) != 0)
    fail(plan, Step::domainname, errno);
}

void set_sysctls(const ChildPlan& plan) {
  for (std::uint32_t i = 0; i < plan.sysctl_count; ++i) {
    const PlanSysctl& sysctl = plan.sysctls[i];
    // Below the host's own /proc, which the container cannot have replaced by anything.
    struct open_how how{};
    how.flags = O_WRONLY | O_CLOEXEC;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS;
    int fd = static_cast<int>(::syscall(SYS_openat2, plan.proc, sysctl.path, &how, sizeof how));
    if (fd < 0) fail(plan, Step::sysctl, errno, i);
    if (::write(fd, sysctl.value, sysctl.length) != static_cast<ssize_t>(sysctl.length))
      fail(plan, Step::sysctl, errno, i);
    ::close(fd);
  }
}

// cgroup v1. By moving itself a process avoids what makes moving it from outside slow (CgroupEntrance); it is alone
// yet, so moving the thread moves all. On v2 the clone made us where we belong.
void enter_cgroups(const ChildPlan& plan, const int* tasks, std::uint32_t count) {
  for (std::uint32_t i = 0; i < count; ++i) {
    if (::write(tasks[i], "0", 1) != 1) fail(plan, Step::enter_cgroup, errno, i);
    ::close(tasks[i]);
  }
}

}  // namespace
}  // namespace dray::runtime::child

namespace dray::runtime {

void run_container_child(const ChildPlan& plan) {
  using namespace child;
  // 1. In a new user namespace nothing can be done before the parent has written its maps.
  if (plan.wait_for_maps) wait_for_go(plan, Step::wait_for_maps, nullptr);
  set_oom_score(plan);
  if (plan.become_root) become_root(plan);
  // 2. Nobody in the container shall look into this copy of the engine (/proc/1/mem, /proc/1/exe).
  if (!plan.visible_to_parent) become_undumpable(plan);
  start_session(plan);
  // 3. Before sysfs is mounted, which shows the network namespace of its mounter.
  join_namespaces(plan);
  ::umask(0);
  // 4. From here on everything is resolved in the container's root, by descriptor.
  enter_rootfs(plan);
  // 5. Mounts in the order of the spec, then what needs them: device nodes in /dev, a pty of /dev/pts.
  make_mounts(plan);
  int console = -1;
  if (plan.set_up_dev) make_devices(plan);
  if (plan.process.terminal) {
    console = open_console(plan);
    bind_console(plan, console);
  }
  // 6. Names and kernel parameters of the new namespaces.
  set_names(plan);
  set_sysctls(plan);
  // 7. After all mounts, or one of them would lie on top.
  mask_paths(plan);
  make_paths_readonly(plan);
  // 8. Afterwards there is no path to the host. It takes its time, which the parent needs as well.
  if (!plan.hooks) leave_host(plan);
  // 9. The parent has meanwhile made the cgroup and set up the network.
  int fds[2 * kMaxCgroups];
  const Go go = wait_for_go(plan, Step::wait_for_go, fds);
  // 10. First in, then the namespace, whose root is the cgroup we are in.
  enter_cgroups(plan, fds, go.tasks_count);
  if (plan.new_cgroup_namespace && ::unshare(CLONE_NEWCGROUP) != 0) fail(plan, Step::cgroup_namespace, errno);
  mount_cgroups(plan, fds + go.tasks_count, go.mount_count);
  // 11. Hooks find the container complete, and the host's files at their places.
  if (plan.hooks) {
    report(plan, Step::mounted);
    wait_for_go(plan, Step::mounted, nullptr);
  }
  if (plan.visible_to_parent) become_undumpable(plan);
  if (plan.hooks) leave_host(plan);
  // 12. The last thing that may have to be created in the root; then it can become read-only.
  enter_working_directory(plan, true);
  make_rootfs_readonly(plan);
  // 13. User, capabilities, seccomp, execve.
  become_process(plan, console);
}

void run_launch_helper(const ChildPlan& plan) {
  using namespace child;
  // 1. The process that is forked below may be seen by those who are in the namespaces already, and is then still a
  // copy of the runtime: with its root directory, its descriptors, and the user ID of the host's root. (Who needs a
  // helper has privileges, so the maps can be written nevertheless.)
  become_undumpable(plan);
  join_namespaces(plan);
  // 2. Only children are put into a pid or time namespace.
  if (plan.time_offsets.text != nullptr) make_time_namespace(plan);
  fork_into_namespaces(plan, plan.new_namespaces);
  ChildPlan inside = plan;
  inside.join_count = 0;
  run_container_child(inside);
}

void run_exec_child(const ChildPlan& plan) {
  using namespace child;
  // 1. Before we can be seen from inside.
  set_oom_score(plan);
  become_undumpable(plan);
  // 2. What is forked below is born in the cgroup.
  int fds[2 * kMaxCgroups];
  const Go go = wait_for_go(plan, Step::wait_for_go, fds);
  enter_cgroups(plan, fds, go.tasks_count);
  // 3. All namespaces at once, or none.
  if (plan.join_flags != 0 && ::setns(plan.target, plan.join_flags) != 0) fail(plan, Step::join_namespaces, errno);
  // 4. A pid namespace takes effect for children only.
  fork_into_namespaces(plan, 0);
  if (plan.become_root) become_root(plan);
  // 5. As in the container's first process.
  start_session(plan);
  ::umask(0);
  ChildPlan inside = plan;
  inside.rootfs = ::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (inside.rootfs < 0) fail(plan, Step::join_namespaces, errno);
  int console = plan.process.terminal ? open_console(inside) : -1;
  enter_working_directory(inside, false);
  // 6. User, capabilities, seccomp, execve.
  become_process(inside, console);
}

}  // namespace dray::runtime
