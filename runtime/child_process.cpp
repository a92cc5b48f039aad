// SPDX-License-Identifier: Apache-2.0
// From a process in the right namespaces to the command: terminal, streams, limits, user, capabilities, seccomp,
// execve. child.cpp says what this code may do.
//
// The last step is not execve() of the command but of dray-init (runtime/init), from a read-only mount. A command that
// is a script "#!/proc/self/exe" would otherwise run the very program that launches containers, with the container's
// libraries, and could then write to it: CVE-2019-5736. dray-init is 10 KB without a library, does the search in PATH
// and is gone.
#include <asm/termbits.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/keyctl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <iterator>

#include "child_steps.hpp"

namespace dray::runtime::child {

void become_undumpable(const ChildPlan& plan) {
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) fail(plan, Step::not_dumpable, errno);
}

void start_session(const ChildPlan& plan) {
  if (::setsid() < 0 && errno != EPERM) fail(plan, Step::new_session, errno);
  // Without one of its own the container would hold the keys of the caller's session.
  if (plan.new_keyring && ::syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, plan.keyring) < 0 && errno != ENOSYS &&
      errno != EPERM)
    fail(plan, Step::session_keyring, errno);
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
  if (process.plain_newlines) {
    struct termios settings;  // the kernel's, which glibc's is not
    if (::ioctl(slave, TCGETS, &settings) != 0) fail(plan, Step::console_open, errno);
    settings.c_oflag &= ~static_cast<tcflag_t>(ONLCR);
    if (::ioctl(slave, TCSETS, &settings) != 0) fail(plan, Step::console_open, errno);
  }
  if (::fchown(slave, process.uid, static_cast<gid_t>(-1)) != 0) fail(plan, Step::console_open, errno);
  if (::ioctl(slave, TIOCSCTTY, 0) != 0) fail(plan, Step::console_control, errno);
  char mark = 'c';
  if (!send_with_fd(plan.socket, &mark, 1, master)) fail(plan, Step::console_send, errno);
  ::close(master);
  return slave;
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

namespace {

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

// The first process of a pid namespace is safe from signals that it does not handle; one that waits for its start shall
// end by those that end others.
void end_by_signal(int number) { ::syscall(SYS_exit_group, 128 + number); }

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
  if (plan.process.gate.start >= 0) {
    standard.handler = reinterpret_cast<void*>(end_by_signal);
#if defined(__x86_64__)
    standard.flags = 0x04000000;  // SA_RESTORER, which the kernel insists on; it is never called
    standard.restorer = standard.handler;
#endif
    for (int number : {SIGHUP, SIGINT, SIGQUIT, SIGTERM})
      ::syscall(SYS_rt_sigaction, number, &standard, nullptr, sizeof(std::uint64_t));
  }
  std::uint64_t none = 0;
  if (::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, nullptr, sizeof none) != 0) fail(plan, Step::signals, errno);
}

void load_seccomp(const ChildPlan& plan) {
  const PlanProcess& process = plan.process;
  if (process.seccomp == nullptr) return;
  struct sock_fprog program{};
  program.len = process.seccomp_length;
  program.filter = const_cast<sock_filter*>(process.seccomp);
  long outcome = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, process.seccomp_flags, &program);
  if (outcome < 0) fail(plan, Step::seccomp, errno);
  if (!process.seccomp_listener) return;
  // The parent fetches the descriptor with pidfd_getfd(): of us the filter must allow write() and recvmsg() only; and
  // sendmsg() where the parent is an ordinary user.
  report(plan, Step::seccomp_listener, static_cast<int>(outcome));
  const std::int32_t number = static_cast<std::int32_t>(outcome);
  if (process.send_listener && !send_with_fd(plan.socket, &number, sizeof number, number))
    fail(plan, Step::seccomp_listener, errno);
  wait_for_go(plan, Step::seccomp_listener, nullptr);
  ::close(static_cast<int>(outcome));
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
  // A user namespace that was mapped without privilege has no say over groups: fine if there are none to set.
  if (::syscall(SYS_setgroups, process.group_count, process.groups) != 0 &&
      !(plan.become_root && process.group_count == 0 && errno == EPERM))
    fail(plan, Step::groups, errno);
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

void write_label(const ChildPlan& plan) {
  const PlanText& label = plan.process.label;
  if (label.text == nullptr) return;
  struct open_how how{};
  how.flags = O_WRONLY | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS;
  int file = static_cast<int>(::syscall(SYS_openat2, plan.proc, plan.process.label_file, &how, sizeof how));
  if (file < 0 || ::write(file, label.text, label.length) != static_cast<ssize_t>(label.length))
    fail(plan, Step::label, errno);
  ::close(file);
}

void set_scheduling(const ChildPlan& plan) {
  const PlanProcess& process = plan.process;
  if (process.scheduler != nullptr && ::syscall(SYS_sched_setattr, 0, process.scheduler, 0u) != 0)
    fail(plan, Step::scheduler, errno);
  if (process.io_priority >= 0 && ::syscall(SYS_ioprio_set, 1 /* IOPRIO_WHO_PROCESS */, 0, process.io_priority) != 0)
    fail(plan, Step::io_priority, errno);
  if (process.affinity.size > 0 &&
      ::syscall(SYS_sched_setaffinity, 0, process.affinity.size, process.affinity.mask) != 0)
    fail(plan, Step::cpu_affinity, errno);
  const PlanMemoryPolicy& memory = process.memory_policy;
  if (memory.mode >= 0 &&
      ::syscall(SYS_set_mempolicy, memory.mode, memory.max_node > 0 ? memory.nodes : nullptr, memory.max_node) != 0)
    fail(plan, Step::memory_policy, errno);
  if (process.personality >= 0 && ::syscall(SYS_personality, process.personality) < 0)
    fail(plan, Step::personality, errno);
}

// What dray-init reports to becomes descriptor 3, or the first after those that the command shall inherit, where it
// expects it: the gate's FIFO, else the status pipe. Behind it what is needed until execve, and nothing else: a
// container that is created and not yet started shall not hold a door to the host.
void keep_only_status(ChildPlan& plan) {
  PlanProcess& process = plan.process;
  const int first = 3 + static_cast<int>(process.preserved);
  int* const kept[] = {&process.gate.status, &plan.status, &process.init, &process.gate.start, &plan.socket};
  int next = first;
  // Out of the way first, then to their places.
  for (int* fd : kept) {
    if (*fd < 0) continue;
    *fd = ::fcntl(*fd, F_DUPFD_CLOEXEC, first + static_cast<int>(std::size(kept)));
    if (*fd < 0) fail(plan, Step::close_descriptors, errno);
  }
  for (int* fd : kept) {
    if (*fd < 0) continue;
    if (::dup3(*fd, next, O_CLOEXEC) < 0) fail(plan, Step::close_descriptors, errno);
    *fd = next++;
  }
  if (::syscall(SYS_close_range, static_cast<unsigned>(next), ~0u, 0) != 0) fail(plan, Step::close_descriptors, errno);
  for (int fd = 3; fd <= first; ++fd) {
    if (::fcntl(fd, F_SETFD, 0) != 0 && errno != EBADF) fail(plan, Step::close_descriptors, errno);
  }
}

// What can be said of the command before it is executed: for `create`, whose caller wants to hear of a wrong name now
// and not at `start`. Anything else than a clear answer (a seccomp filter may forbid to ask) is left to execve.
void look_for_command(const ChildPlan& plan) {
  const char* command = plan.process.command;
  bool has_slash = false;
  for (const char* at = command; *at != '\0'; ++at) has_slash = has_slash || *at == '/';
  auto is_directory = [](const char* path) {
    struct stat status;
    return ::fstatat(AT_FDCWD, path, &status, 0) == 0 && S_ISDIR(status.st_mode);
  };
  auto ask = [](const char* path) {
    return ::syscall(SYS_faccessat2, AT_FDCWD, path, X_OK, AT_EACCESS) == 0 ? 0 : errno;
  };
  if (has_slash) {
    int error = ask(command);
    if (error == ENOENT || error == ENOTDIR) fail(plan, Step::command_stat, error);
    if (error == EACCES) fail(plan, Step::command_execute, error);
    if (error == 0 && is_directory(command)) fail(plan, Step::command_is_directory, EISDIR);
    return;
  }
  const char* next = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  for (const char* const* entry = plan.process.envp; *entry != nullptr; ++entry) {
    const char* text = *entry;
    if (text[0] == 'P' && text[1] == 'A' && text[2] == 'T' && text[3] == 'H' && text[4] == '=') {
      next = text + 5;
      break;
    }
  }
  char candidate[PATH_MAX];
  const std::size_t size = std::strlen(command);
  while (*next != '\0') {
    const char* directory = next;
    while (*next != '\0' && *next != ':') ++next;
    const std::size_t count = static_cast<std::size_t>(next - directory);
    if (*next == ':') ++next;
    if (count == 0 || directory[0] != '/' || count + size + 2 > sizeof candidate) continue;
    std::memcpy(candidate, directory, count);
    candidate[count] = '/';
    std::memcpy(candidate + count + 1, command, size + 1);
    int error = ask(candidate);
    if (error == 0 && !is_directory(candidate)) return;
    if (error != 0 && error != ENOENT && error != ENOTDIR && error != EACCES) return;
  }
  fail(plan, Step::command_not_in_path, ENOENT);
}

// From now on whoever holds the other ends of the FIFOs is the parent. Only read() and write() are called: the filter
// is loaded.
void wait_at_gate(ChildPlan& plan) {
  report(plan, Step::ready);
  plan.status = plan.process.gate.status;
  char word;
  ssize_t count;
  do {
    count = ::read(plan.process.gate.start, &word, 1);
  } while (count < 0 && errno == EINTR);
  if (count < 0) fail(plan, Step::wait_for_start, errno);
}

}  // namespace

void become_process(ChildPlan plan, int console) {
  const PlanProcess& process = plan.process;
  // 1. Streams while we may still change the owner of pipes.
  set_standard_streams(plan, console);
  ::umask(process.umask);
  // 2. Signals of the caller's are none of the container's business.
  reset_signals(plan);
  // 3. The label that execve gives; scheduling while there is CAP_SYS_NICE.
  write_label(plan);
  set_scheduling(plan);
  // 4. From here nothing opens a file any more, so nothing can leak.
  keep_only_status(plan);
  // 5. Limits while CAP_SYS_RESOURCE may raise them.
  set_resource_limits(plan);
  // 6. The bounding set while there is CAP_SETPCAP.
  drop_bounding_set(plan);
  // 7. Without no_new_privs a filter needs CAP_SYS_ADMIN, so it comes before the capabilities go; it has to allow the
  // rest.
  if (!process.no_new_privileges) load_seccomp(plan);
  // 8. The user, keeping capabilities for 9.
  change_user(plan);
  // 9. Exactly the capabilities wanted.
  set_capabilities(plan);
  if (process.gate.start >= 0) look_for_command(plan);
  // 10. With no_new_privs the filter comes last, and need allow little more than execve.
  if (process.no_new_privileges) {
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) fail(plan, Step::no_new_privileges, errno);
    load_seccomp(plan);
  }
  // 11. Between `create` and `start`.
  if (process.gate.start >= 0) wait_at_gate(plan);
  // 12. dray-init, which executes the command.
  ::syscall(SYS_execveat, process.init, "", process.argv, process.envp, AT_EMPTY_PATH);
  fail(plan, Step::start_init, errno);
}

}  // namespace dray::runtime::child
