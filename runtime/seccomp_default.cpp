// SPDX-License-Identifier: Apache-2.0
// Docker's default seccomp profile (moby/profiles, seccomp/default.json) as a table of ours. Its conditions are
// resolved here: on the capabilities given, on the architecture at compile time; its minKernel 4.8 is below what Dray
// needs anyway.

#include <algorithm>

#include <dray/runtime/spec.hpp>

namespace dray::runtime {
namespace {

constexpr std::string_view kAlways =
    "accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32 "
    "clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 "
    "clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3 "
    "epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait "
    "epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 "
    "fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl "
    "fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 "
    "fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait "
    "futex_waitv futex_wake futimesat getcpu getcwd getdents getdents64 getegid getegid32 geteuid "
    "geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid "
    "getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit get_robust_list "
    "getrusage getsid getsockname getsockopt get_thread_area gettid gettimeofday getuid getuid32 getxattr "
    "getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel ioctl io_destroy "
    "io_getevents io_pgetevents io_pgetevents_time64 ioprio_get ioprio_set io_setup io_submit ipc kill "
    "landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link "
    "linkat listen listmount listxattr listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat "
    "lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod "
    "mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive "
    "mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv "
    "msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat _newselect open openat "
    "openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll "
    "ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6 pselect6_time64 "
    "pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg "
    "recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2 "
    "restart_syscall riscv_hwprobe rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo "
    "rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo "
    "sched_getaffinity sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min "
    "sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity "
    "sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop "
    "semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto setfsgid setfsgid32 "
    "setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid "
    "setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit set_robust_list "
    "setsid setsockopt set_thread_area set_tid_address setuid setuid32 setxattr setxattrat shmat shmctl "
    "shmdt shmget shutdown sigaltstack signalfd signalfd4 sigprocmask sigreturn socketcall socketpair "
    "splice stat stat64 statfs statfs64 statmount statx symlink symlinkat sync sync_file_range syncfs "
    "sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 "
    "timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime "
    "timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat uretprobe "
    "utime utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write writev ";

/// Calls that come with a capability. "" = always.
struct Group {
  const char* capability;
  std::string_view names;
};
constexpr Group kGroups[] = {
    {"", "process_vm_readv process_vm_writev ptrace"},
#if defined(__powerpc64__)
    {"", "sync_file_range2 swapcontext"},
#endif
#if defined(__arm__) || defined(__aarch64__)
    {"", "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls"},
#endif
#if defined(__x86_64__)
    {"", "arch_prctl modify_ldt"},
#endif
#if defined(__i386__)
    {"", "modify_ldt"},
#endif
#if defined(__s390__)
    {"", "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr"},
#endif
#if defined(__riscv)
    {"", "riscv_flush_icache"},
#endif
    {"CAP_DAC_READ_SEARCH", "open_by_handle_at"},
    {"CAP_SYS_ADMIN",
     "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules "
     "lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname "
     "sethostname setns syslog umount umount2 unshare"},
    {"CAP_SYS_BOOT", "reboot"},
    {"CAP_SYS_CHROOT", "chroot"},
    {"CAP_SYS_MODULE", "delete_module init_module finit_module"},
    {"CAP_SYS_PACCT", "acct"},
    {"CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"},
    {"CAP_SYS_RAWIO", "iopl ioperm"},
    {"CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"},
    {"CAP_SYS_TTY_CONFIG", "vhangup"},
    {"CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"},
    {"CAP_SYSLOG", "syslog"},
    {"CAP_BPF", "bpf"},
    {"CAP_PERFMON", "perf_event_open"},
};

/// CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}: clone() without any of them is allowed to all.
constexpr std::uint64_t kCloneNamespaces = 0x7e020000;
#if defined(__s390__)
constexpr unsigned kCloneFlagsIndex = 1;
#else
constexpr unsigned kCloneFlagsIndex = 0;
#endif

std::vector<std::string> split(std::string_view names) {
  std::vector<std::string> out;
  while (!names.empty()) {
    std::size_t end = names.find(' ');
    if (end != 0) out.emplace_back(names.substr(0, end));
    names.remove_prefix(end == std::string_view::npos ? names.size() : end + 1);
  }
  return out;
}

SeccompSyscall allow(std::vector<std::string> names) {
  SeccompSyscall rule;
  rule.names = std::move(names);
  rule.action = "SCMP_ACT_ALLOW";
  return rule;
}

SeccompSyscall allow_if(const char* name, unsigned index, std::uint64_t value, const char* op,
                        std::uint64_t value_two = 0) {
  SeccompSyscall rule = allow({name});
  rule.args.push_back(SeccompArg{index, value, value_two, op});
  return rule;
}

std::vector<std::string> architectures() {
#if defined(__x86_64__)
  return {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"};
#elif defined(__aarch64__)
  return {"SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"};
#elif defined(__s390x__)
  return {"SCMP_ARCH_S390X", "SCMP_ARCH_S390"};
#else
  return {};  // the native one
#endif
}

}  // namespace

Seccomp default_seccomp(const std::vector<std::string>& capabilities) {
  auto has = [&](std::string_view name) {
    return std::find(capabilities.begin(), capabilities.end(), name) != capabilities.end();
  };
  Seccomp profile;
  profile.default_action = "SCMP_ACT_ERRNO";
  profile.default_errno_ret = 1;  // EPERM
  profile.architectures = architectures();
  profile.syscalls.push_back(allow(split(kAlways)));
  // Any family but AF_ALG (38) and AF_VSOCK (40).
  profile.syscalls.push_back(allow_if("socket", 0, 38, "SCMP_CMP_LT"));
  profile.syscalls.push_back(allow_if("socket", 0, 39, "SCMP_CMP_EQ"));
  profile.syscalls.push_back(allow_if("socket", 0, 40, "SCMP_CMP_GT"));
  // Linux, Linux32, uname26 of both, query.
  for (std::uint64_t persona : {0x0ull, 0x8ull, 0x20000ull, 0x20008ull, 0xffffffffull})
    profile.syscalls.push_back(allow_if("personality", 0, persona, "SCMP_CMP_EQ"));
  for (const Group& group : kGroups)
    if (*group.capability == '\0' || has(group.capability)) profile.syscalls.push_back(allow(split(group.names)));
  if (!has("CAP_SYS_ADMIN")) {
    profile.syscalls.push_back(allow_if("clone", kCloneFlagsIndex, kCloneNamespaces, "SCMP_CMP_MASKED_EQ", 0));
    // Its flags are in memory, where no filter can see them: "not implemented" makes libc fall back to clone().
    SeccompSyscall clone3;
    clone3.names = {"clone3"};
    clone3.action = "SCMP_ACT_ERRNO";
    clone3.errno_ret = 38;  // ENOSYS
    profile.syscalls.push_back(std::move(clone3));
  }
  return profile;
}

}  // namespace dray::runtime
