// SPDX-License-Identifier: Apache-2.0
// What happens between clone3() and execve(), in the child. The parent may have had threads; one of them may have held
// malloc's lock at the clone. So this file and child_mounts.cpp only make system calls on what the plan holds: no
// allocation, no std::string, no stdio, no locale, no exceptions; compiled -fno-exceptions -fno-rtti, and a test
// compares the symbols used with a list (cmake/check_child_symbols.cmake).
//
// The last step is not execve() of the command but of dray-init (runtime/init), from a read-only mount. A command that
// is a script "#!/proc/self/exe" would otherwise run the very program that launches containers, with the container's
// libraries, and could then write to it: CVE-2019-5736. dray-init is 10 KB without a library, does the search in PATH
// and is gone.
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/keyctl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
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

namespace {

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

void become_undumpable(const ChildPlan& plan) {
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) fail(plan, Step::not_dumpable, errno);
}

void start_session(const ChildPlan& plan) {
  if (::setsid() < 0 && errno != EPERM) fail(plan, Step::new_session, errno);
  // Without one of its own the container would hold the keys of the caller's session.
  if (::syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr) < 0 && errno != ENOSYS && errno != EPERM)
    fail(plan, Step::session_keyring, errno);
}

void join_network(const ChildPlan& plan) {
  if (plan.network >= 0 && ::setns(plan.network, CLONE_NEWNET) != 0) fail(plan, Step::join_network, errno);
}

// A pty of the container's own devpts; the master goes to the parent. Returns the slave.
int open_console(const ChildPlan& plan) {
  int master = open_in(plan.rootfs, "/dev/pts/ptmx", O_RDWR | O_NOCTTY);
  if (master < 0) fail(plan, Step::console_open, errno);
  struct statfs filesystem;
  struct stat status;
  if (::fstatfs(master, &filesystem) != 0 || ::fstat(master, &status) != 0) fail(plan, Step::console_open, errno);
  if (filesystem.f_type != DEVPTS_SUPER_MAGIC || !S_ISCHR(status.st_mode) || status.st_rdev != makedev(5, 2))
    fail(plan, Step::console_open, ENOTTY);
  int unlock = 0;
  if (::ioctl(master, TIOCSPTLCK, &unlock) != 0) fail(plan, Step::console_open, errno);
  int slave = ::ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (slave < 0) fail(plan, Step::console_open, errno);
  const PlanProcess& process = plan.process;
  if (process.rows != 0 || process.columns != 0) {
    struct winsize size{};
    size.ws_row = process.rows;
    size.ws_col = process.columns;
    if (::ioctl(master, TIOCSWINSZ, &size) != 0) fail(plan, Step::console_open, errno);
  }
  if (::fchown(slave, process.uid, static_cast<gid_t>(-1)) != 0) fail(plan, Step::console_open, errno);
  if (::ioctl(slave, TIOCSCTTY, 0) != 0) fail(plan, Step::console_control, errno);
  char mark = 'c';
  if (!send_with_fd(plan.socket, &mark, 1, master)) fail(plan, Step::console_send, errno);
  ::close(master);
  return slave;
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
    // Below the host's own /proc/sys, which the container cannot have replaced by anything.
    struct open_how how{};
    how.flags = O_WRONLY | O_CLOEXEC;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS;
    int fd = static_cast<int>(::syscall(SYS_openat2, plan.proc_sys, sysctl.path, &how, sizeof how));
    if (fd < 0) fail(plan, Step::sysctl, errno, i);
    if (::write(fd, sysctl.value, sysctl.length) != static_cast<ssize_t>(sysctl.length))
      fail(plan, Step::sysctl, errno, i);
    ::close(fd);
  }
}

// `fds`: room for 2 * kMaxCgroups.
Go wait_for_go(const ChildPlan& plan, int* fds) {
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
  if (count < 0) fail(plan, Step::wait_for_go, errno);
  if (count == 0) ::_exit(126);  // the parent gave up and knows why
  struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  std::size_t size = header == nullptr ? 0 : header->cmsg_len - CMSG_LEN(0);
  if (size != (go.tasks_count + go.mount_count) * sizeof(int)) fail(plan, Step::wait_for_go, EMFILE);
  if (size > 0) std::memcpy(fds, CMSG_DATA(header), size);
  return go;
}

// cgroup v1. By moving itself a process avoids what makes moving it from outside slow (CgroupEntrance); it is alone
// yet, so moving the thread moves all. On v2 the clone made us where we belong.
void enter_cgroups(const ChildPlan& plan, const int* tasks, std::uint32_t count) {
  for (std::uint32_t i = 0; i < count; ++i) {
    if (::write(tasks[i], "0", 1) != 1) fail(plan, Step::enter_cgroup, errno, i);
    ::close(tasks[i]);
  }
}

// Docker starts a container of user X in a directory that only root may enter: so before the user changes. A cwd below
// a descriptor that leaked from the host (CVE-2024-21626) would show as unreachable.
void enter_working_directory(const ChildPlan& plan, bool create) {
  const char* path = plan.process.cwd;
  int directory = create ? open_target(plan.rootfs, path, true) : open_in(plan.rootfs, path, O_PATH | O_DIRECTORY);
  if (directory < 0) fail(plan, create ? Step::make_working_directory : Step::working_directory, errno);
  if (::fchdir(directory) != 0) fail(plan, Step::working_directory, errno);
  ::close(directory);
  char name[PATH_MAX];
  long length = ::syscall(SYS_getcwd, name, sizeof name);
  // Longer than PATH_MAX (ERANGE) is odd, but inside.
  if (length < 0 && errno != ERANGE) fail(plan, Step::working_directory, errno);
  if (length > 0 && name[0] != '/') fail(plan, Step::working_directory, ENOENT);
}

void set_standard_streams(const ChildPlan& plan, int console) {
  const PlanProcess& process = plan.process;
  for (int i = 0; i < 3; ++i) {
    int source = console >= 0 ? console : process.stdio[i];
    // dup2 onto itself would leave close-on-exec as it is.
    if (source == i ? ::fcntl(i, F_SETFD, 0) != 0 : ::dup2(source, i) < 0) fail(plan, Step::standard_streams, errno);
    struct stat status;
    // So that the user may open /dev/stdout, which goes through the pipe's permissions.
    if (console < 0 && ::fstat(i, &status) == 0 && (S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode)) &&
        status.st_uid != process.uid)
      (void)!::fchown(i, process.uid, static_cast<gid_t>(-1));
  }
}

void set_resource_limits(const ChildPlan& plan) {
  for (std::uint32_t i = 0; i < plan.process.rlimit_count; ++i) {
    const PlanRlimit& limit = plan.process.rlimits[i];
    if (::syscall(SYS_prlimit64, 0, limit.resource, &limit.limit, nullptr) != 0)
      fail(plan, Step::resource_limit, errno, i);
  }
}

void reset_signals(const ChildPlan& plan) {
  // The kernel's own struct: glibc's wrapper keeps signals 32 and 33 to itself.
  struct {
    void* handler;
    unsigned long flags;
    void* restorer;
    std::uint64_t mask;
  } standard{};
  for (int number = 1; number <= 64; ++number) {
    if (number != SIGKILL && number != SIGSTOP)
      ::syscall(SYS_rt_sigaction, number, &standard, nullptr, sizeof(std::uint64_t));
  }
  std::uint64_t none = 0;
  if (::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, nullptr, sizeof none) != 0) fail(plan, Step::signals, errno);
}

void load_seccomp(const ChildPlan& plan) {
  if (plan.process.seccomp == nullptr) return;
  struct sock_fprog program{};
  program.len = plan.process.seccomp_length;
  program.filter = const_cast<sock_filter*>(plan.process.seccomp);
  if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, plan.process.seccomp_flags, &program) != 0)
    fail(plan, Step::seccomp, errno);
}

void drop_bounding_set(const ChildPlan& plan) {
  for (int capability = 0; capability <= plan.process.last_capability; ++capability) {
    if ((plan.process.bounding >> capability & 1) != 0) continue;
    if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) fail(plan, Step::bounding_set, errno);
  }
}

// Raw system calls: glibc's would try to tell threads that are not here.
void change_user(const ChildPlan& plan) {
  const PlanProcess& process = plan.process;
  if (::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) fail(plan, Step::user_id, errno);
  if (::syscall(SYS_setgroups, process.group_count, process.groups) != 0) fail(plan, Step::groups, errno);
  if (::syscall(SYS_setresgid, process.gid, process.gid, process.gid) != 0) fail(plan, Step::group_id, errno);
  if (::syscall(SYS_setresuid, process.uid, process.uid, process.uid) != 0) fail(plan, Step::user_id, errno);
  if (::prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) != 0) fail(plan, Step::user_id, errno);
}

void set_capabilities(const ChildPlan& plan) {
  const PlanProcess& process = plan.process;
  struct __user_cap_header_struct header{};
  header.version = _LINUX_CAPABILITY_VERSION_3;
  struct __user_cap_data_struct data[2] = {};
  for (int half = 0; half < 2; ++half) {
    data[half].effective = static_cast<std::uint32_t>(process.effective >> (32 * half));
    data[half].permitted = static_cast<std::uint32_t>(process.permitted >> (32 * half));
    data[half].inheritable = static_cast<std::uint32_t>(process.inheritable >> (32 * half));
  }
  if (::syscall(SYS_capset, &header, data) != 0) fail(plan, Step::capabilities, errno);
  if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) fail(plan, Step::ambient_set, errno);
  for (int capability = 0; capability <= process.last_capability; ++capability) {
    if ((process.ambient >> capability & 1) == 0) continue;
    if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) != 0) fail(plan, Step::ambient_set, errno);
  }
}

// The status pipe becomes descriptor 3, where dray-init expects it; all others end at execve. Returns where dray-init
// is now.
int keep_only_status(ChildPlan& plan) {
  int init = plan.process.init;
  if (init == 3) init = ::fcntl(init, F_DUPFD_CLOEXEC, 4);
  if (init < 0) fail(plan, Step::close_descriptors, errno);
  if (plan.status != 3 && ::dup3(plan.status, 3, O_CLOEXEC) < 0) fail(plan, Step::close_descriptors, errno);
  plan.status = 3;
  if (::syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC) != 0) fail(plan, Step::close_descriptors, errno);
  if (::fcntl(3, F_SETFD, 0) != 0) fail(plan, Step::close_descriptors, errno);
  return init;
}

// The steps that every process of a container takes last.
[[noreturn]] void become_process(ChildPlan plan, int console) {
  const PlanProcess& process = plan.process;
  // 1. Streams while we may still change the owner of pipes.
  set_standard_streams(plan, console);
  ::umask(process.umask);
  // 2. Signals of the caller's are none of the container's business.
  reset_signals(plan);
  // 3. From here nothing opens a file any more, so nothing can leak.
  int init = keep_only_status(plan);
  // 4. Limits while CAP_SYS_RESOURCE may raise them.
  set_resource_limits(plan);
  // 5. The bounding set while there is CAP_SETPCAP.
  drop_bounding_set(plan);
  // 6. Without no_new_privs a filter needs CAP_SYS_ADMIN, so it comes before the capabilities go; it has to allow the
  // rest.
  if (!process.no_new_privileges) load_seccomp(plan);
  // 7. The user, keeping capabilities for 8.
  change_user(plan);
  // 8. Exactly the capabilities wanted.
  set_capabilities(plan);
  // 9. With no_new_privs the filter comes last, and need allow execve only.
  if (process.no_new_privileges) {
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) fail(plan, Step::no_new_privileges, errno);
    load_seccomp(plan);
  }
  // 10. dray-init, which executes the command.
  ::syscall(SYS_execveat, init, "", process.argv, process.envp, AT_EMPTY_PATH);
  fail(plan, Step::start_init, errno);
}

}  // namespace
}  // namespace dray::runtime::child

namespace dray::runtime {

void run_container_child(const ChildPlan& plan) {
  using namespace child;
  // 1. Nobody in the container shall look into this copy of the engine (/proc/1/mem, /proc/1/exe).
  become_undumpable(plan);
  // 2. A session of its own, so that a terminal can be its controlling one; and a session keyring.
  start_session(plan);
  // 3. Before sysfs is mounted, which shows the network namespace of its mounter.
  join_network(plan);
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
  leave_host(plan);
  // 9. The parent has meanwhile made the cgroup and set up the network.
  int fds[2 * kMaxCgroups];
  const Go go = wait_for_go(plan, fds);
  // 10. First in, then the namespace, whose root is the cgroup we are in.
  enter_cgroups(plan, fds, go.tasks_count);
  if (plan.new_cgroup_namespace && ::unshare(CLONE_NEWCGROUP) != 0) fail(plan, Step::cgroup_namespace, errno);
  mount_cgroups(plan, fds + go.tasks_count, go.mount_count);
  // 11. The last thing that may have to be created in the root; then it can become read-only.
  enter_working_directory(plan, true);
  make_rootfs_readonly(plan);
  // 12. User, capabilities, seccomp, execve.
  become_process(plan, console);
}

void run_exec_child(const ChildPlan& plan) {
  using namespace child;
  // 1. Before we can be seen from inside.
  become_undumpable(plan);
  // 2. What is forked below is born in the cgroup.
  int fds[2 * kMaxCgroups];
  const Go go = wait_for_go(plan, fds);
  enter_cgroups(plan, fds, go.tasks_count);
  // 3. All namespaces at once, or none.
  if (plan.join_flags != 0 && ::setns(plan.target, plan.join_flags) != 0) fail(plan, Step::join_namespaces, errno);
  // 4. A pid namespace takes effect for children only. CLONE_PARENT: the caller is the parent, not this intermediate
  // process.
  int pidfd = -1;
  struct clone_args arguments{};
  arguments.flags = CLONE_PARENT | CLONE_PIDFD;
  arguments.pidfd = reinterpret_cast<std::uint64_t>(&pidfd);
  long pid = ::syscall(SYS_clone3, &arguments, sizeof arguments);
  if (pid < 0) fail(plan, Step::fork_into_namespaces, errno);
  if (pid > 0) {
    std::int32_t number = static_cast<std::int32_t>(pid);
    if (!send_with_fd(plan.socket, &number, sizeof number, pidfd)) fail(plan, Step::fork_into_namespaces, errno);
    ::_exit(0);
  }
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
