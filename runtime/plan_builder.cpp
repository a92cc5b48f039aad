// SPDX-License-Identifier: Apache-2.0
// From the spec to the child's plan: everything that can be looked up, checked, opened or compiled before the clone is.
// plan_container.cpp has the half about the file tree.
#include "plan_builder.hpp"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include <dray/core/process.hpp>
#include <dray/core/rooted_path.hpp>
#include <dray/runtime/user_namespace.hpp>

#include "capability_number.hpp"
#include "seccomp_filter.hpp"
#include "spec/words.hpp"

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV  // Linux 5.19
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

namespace dray::runtime {
namespace {

int last_capability() {
  int last = CAP_LAST_CAP;  // of the headers; the kernel may be newer or older
  while (::prctl(PR_CAPBSET_READ, last + 1, 0, 0, 0) >= 0) ++last;
  while (last > 0 && ::prctl(PR_CAPBSET_READ, last, 0, 0, 0) < 0) --last;
  return last;
}

// Root in a container or VM that withholds some cannot give them; asking for all (--privileged) then means all there
// are, as in runc.
Result<std::uint64_t> own_capabilities() {
  struct __user_cap_header_struct header{};
  header.version = _LINUX_CAPABILITY_VERSION_3;
  struct __user_cap_data_struct data[2] = {};
  if (::syscall(SYS_capget, &header, data) != 0) return fail_errno("reading our capabilities");
  return std::uint64_t{data[1].permitted} << 32 | data[0].permitted;
}

Result<std::uint64_t> capability_bits(const std::vector<std::string>& names, int last) {
  std::uint64_t bits = 0;
  for (const auto& name : names) {
    const std::optional<int> number = capability_number(name);
    if (!number) return fail(ErrorCode::invalid_argument, "unknown capability \"" + name + "\"");
    if (*number <= last) bits |= std::uint64_t{1} << *number;  // an older kernel cannot give it, nor miss it
  }
  return bits;
}

// For who may not make a mount: a copy in memory that nobody can change any more. With the name that runc's has, which
// its users know as harmless.
Result<FileDescriptor> seal_copy(const std::string& path) {
  constexpr unsigned kExecutable = 0x10;  // MFD_EXEC, Linux 6.3
  const std::string bytes = TRY(read_file(path, 1u << 20));
  FileDescriptor copy;
  for (unsigned more : {kExecutable, 0u}) {
    copy = FileDescriptor(::memfd_create("runc_cloned:/proc/self/exe", MFD_CLOEXEC | MFD_ALLOW_SEALING | more));
    if (copy.valid() || errno != EINVAL) break;
  }
  if (!copy.valid()) return fail_errno("making a file in memory");
  TRY(write_all(copy, bytes));
  if (::fcntl(copy.get(), F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0)
    return fail_errno("sealing a file in memory");
  return copy;
}

Result<FileDescriptor> open_dray_init() {
  std::string path = TRY(executable_directory());
  path += "/dray-init";
  if (!may_mount()) return TRY_CTX(seal_copy(path), "finding dray-init beside the program");
  // On a read-only mount of its own: a container that gets hold of /proc/self/exe cannot write to it.
  FileDescriptor init = TRY_CTX(clone_mount(path), "finding dray-init beside the program");
  TRY(change_mount(init, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID, MOUNT_ATTR_NOEXEC, MS_PRIVATE, 0));
  return init;
}

// Procfs for sure: values of kernel parameters are not to be written to anything else.
Result<FileDescriptor> open_proc() {
  FileDescriptor directory = TRY(open_file("/proc", O_PATH | O_DIRECTORY));
  struct statfs filesystem;
  if (::fstatfs(directory.get(), &filesystem) != 0 || filesystem.f_type != PROC_SUPER_MAGIC)
    return fail(ErrorCode::unavailable, "\"/proc\" is not procfs");
  return directory;
}

// Of rules on one call the first counts (seccomp_filter.cpp).
bool allows_execveat(const Seccomp& profile) {
  for (const SeccompSyscall& rule : profile.syscalls) {
    if (std::find(rule.names.begin(), rule.names.end(), "execveat") != rule.names.end())
      return rule.action == "SCMP_ACT_ALLOW" && rule.args.empty();
  }
  return profile.default_action == "SCMP_ACT_ALLOW";
}

// Profiles are written for runtimes that end in execve(); ours ends in an execveat() of dray-init. That one call is let
// through, known by the address of its arguments, which the container can neither know nor read from the filter.
void allow_our_execveat(const void* argv, std::vector<sock_filter>& filter) {
  const auto address = static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(argv));
  constexpr unsigned kArgv = offsetof(seccomp_data, args) + 2 * sizeof(std::uint64_t);
#if defined(__x86_64__)
  constexpr std::uint32_t kNative = AUDIT_ARCH_X86_64;
#else
  constexpr std::uint32_t kNative = AUDIT_ARCH_AARCH64;
#endif
  const sock_filter prologue[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kNative, 0, 7),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_execveat, 0, 5),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kArgv),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(address), 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kArgv + 4),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(address >> 32), 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  filter.insert(filter.begin(), std::begin(prologue), std::end(prologue));
}

bool has_nul(const std::string& text) { return text.find('\0') != std::string::npos; }

}  // namespace

PlanBuilder::PlanBuilder() {
  plan_.proc = plan_.target = plan_.rootfs = plan_.null_device = -1;
  plan_.process.init = -1;
  plan_.process.personality = plan_.process.io_priority = -1;
  plan_.process.gate = {-1, -1};
  plan_.process.memory_policy.mode = -1;
}

const char* PlanBuilder::keep(std::string text) { return texts_.emplace_back(std::move(text)).c_str(); }

Result<void> PlanBuilder::occupy_standard_descriptors() {
  for (;;) {
    FileDescriptor null = TRY(open_file("/dev/null", O_RDWR));
    if (null.get() > 2) return {};
    descriptors_.push_back(std::move(null));
  }
}

Result<int> PlanBuilder::keep_stdio(FdRef fd, int number) {
  if (!fd.valid()) {
    FileDescriptor null = TRY(open_file("/dev/null", number == 0 ? O_RDONLY : O_WRONLY));
    return descriptors_.emplace_back(std::move(null)).get();
  }
  if (fd.get() > 2 || fd.get() == number) return fd.get();
  // In the way of another stream: {0, 2, 1} must not become {0, 2, 2}.
  int copy = ::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3);
  if (copy < 0) return fail_errno("duplicating a file descriptor");
  return descriptors_.emplace_back(FileDescriptor(copy)).get();
}

Result<void> PlanBuilder::set_process(const Process& process, const std::optional<Seccomp>& seccomp, const Stdio& stdio,
                                      bool use_init) {
  PlanProcess& plan = plan_.process;
  if (process.args.empty() || process.args.front().empty())
    return fail(ErrorCode::invalid_argument, "no command specified");
  FileDescriptor proc = TRY(open_proc());
  plan_.proc = descriptors_.emplace_back(std::move(proc)).get();
  plan.command = keep(process.args.front());
  // What dray-init needs to know: where the status pipe is, and whether the program has another name.
  std::string name = "dray-exec";
  if (plan.preserved != 0 || !program_.empty()) name += ":" + std::to_string(3 + plan.preserved);
  if (!program_.empty()) name += ":program";
  argv_.push_back(use_init ? "/sbin/docker-init" : keep(std::move(name)));
  if (use_init) argv_.push_back("--");
  if (!program_.empty()) argv_.push_back(keep(program_));
  for (const auto& argument : process.args) {
    if (has_nul(argument)) return fail(ErrorCode::invalid_argument, "an argument contains a NUL byte");
    argv_.push_back(keep(argument));
  }
  for (const auto& entry : process.env) {
    if (has_nul(entry)) return fail(ErrorCode::invalid_argument, "an environment variable contains a NUL byte");
    if (entry.find('=') == std::string::npos || entry.front() == '=')
      continue;  // images hold such entries; Docker drops them too
    envp_.push_back(keep(entry));
  }
  argv_.push_back(nullptr);
  envp_.push_back(nullptr);
  plan.argv = argv_.data();
  plan.envp = envp_.data();
  if (process.cwd.empty() || process.cwd.front() != '/' || has_nul(process.cwd) || process.cwd.size() >= PATH_MAX)
    return fail(ErrorCode::invalid_argument, "working directory \"" + process.cwd + "\" is not an absolute path");
  plan.cwd = keep(clean_path(process.cwd));
  FileDescriptor init = TRY(open_dray_init());
  plan.init = descriptors_.emplace_back(std::move(init)).get();
  plan.terminal = process.terminal;
  plan.rows = process.console_rows;
  plan.columns = process.console_columns;
  for (int& fd : plan.stdio) fd = -1;
  if (!process.terminal) {
    plan.stdio[0] = TRY(keep_stdio(stdio.in, 0));
    plan.stdio[1] = TRY(keep_stdio(stdio.out, 1));
    plan.stdio[2] = TRY(keep_stdio(stdio.err, 2));
  }
  TRY(set_user(process));
  TRY(set_capabilities(process.capabilities));
  TRY(set_rlimits(process.rlimits));
  plan.no_new_privileges = process.no_new_privileges;
  TRY(set_labels(process));
  TRY(set_scheduling(process));
  if (seccomp) TRY_CTX(set_seccomp(*seccomp), "compiling the seccomp profile");
  return {};
}

Result<void> PlanBuilder::set_user(const Process& process) {
  PlanProcess& plan = plan_.process;
  // (uid_t)-1 would mean "leave as it is" to setresuid: root.
  if (process.user.uid == UINT32_MAX || process.user.gid == UINT32_MAX)
    return fail(ErrorCode::invalid_argument, "user or group ID is out of range");
  plan.uid = process.user.uid;
  plan.gid = process.user.gid;
  groups_.assign(process.user.additional_gids.begin(), process.user.additional_gids.end());
  plan.groups = groups_.data();
  plan.group_count = static_cast<std::uint32_t>(groups_.size());
  plan.umask = process.user.umask.value_or(022) & 0777;
  return {};
}

Result<void> PlanBuilder::set_capabilities(const Capabilities& capabilities) {
  PlanProcess& plan = plan_.process;
  plan.last_capability = last_capability();
  plan.bounding = TRY(capability_bits(capabilities.bounding, plan.last_capability));
  plan.effective = TRY(capability_bits(capabilities.effective, plan.last_capability));
  plan.permitted = TRY(capability_bits(capabilities.permitted, plan.last_capability));
  plan.inheritable = TRY(capability_bits(capabilities.inheritable, plan.last_capability));
  plan.ambient = TRY(capability_bits(capabilities.ambient, plan.last_capability));
  // The kernel raises no others; as in runc, that is no reason not to start.
  plan.ambient &= plan.inheritable & plan.permitted;
  // In a user namespace of its own the container's root has them all.
  if (enters_user_namespace_) return {};
  std::uint64_t available = TRY(own_capabilities());
  for (std::uint64_t* set : {&plan.effective, &plan.permitted, &plan.inheritable, &plan.ambient}) *set &= available;
  return {};
}

Result<void> PlanBuilder::set_rlimits(const std::vector<Rlimit>& limits) {
  for (const auto& limit : limits) {
    const auto resource = find_word(resource_limits(), limit.type);
    if (!resource) return fail(ErrorCode::invalid_argument, "unknown resource limit \"" + limit.type + "\"");
    PlanRlimit plan{};
    plan.resource = static_cast<int>(*resource);
    plan.limit.rlim_cur = limit.soft;
    plan.limit.rlim_max = limit.hard;
    rlimits_.push_back(plan);
  }
  plan_.process.rlimits = rlimits_.data();
  plan_.process.rlimit_count = static_cast<std::uint32_t>(rlimits_.size());
  return {};
}

Result<void> PlanBuilder::set_seccomp(const Seccomp& profile) {
  filter_ = TRY(compile_seccomp(profile));
  if (filter_.empty()) return fail(ErrorCode::invalid_argument, "the profile is empty");
  for (const auto& flag : profile.flags) {
    if (flag == "SECCOMP_FILTER_FLAG_LOG") {
      plan_.process.seccomp_flags |= SECCOMP_FILTER_FLAG_LOG;
    } else if (flag == "SECCOMP_FILTER_FLAG_SPEC_ALLOW") {
      plan_.process.seccomp_flags |= SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    } else if (flag == "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV") {
      plan_.process.seccomp_flags |= SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    } else if (flag != "SECCOMP_FILTER_FLAG_TSYNC") {  // one thread: nothing to synchronise
      return fail(ErrorCode::invalid_argument, "unknown flag \"" + flag + "\"");
    }
  }
  if (!allows_execveat(profile)) allow_our_execveat(argv_.data(), filter_);
  if (filter_.size() > BPF_MAXINSNS) return fail(ErrorCode::invalid_argument, "the profile is too large");
  plan_.process.seccomp_listener = std::any_of(profile.syscalls.begin(), profile.syscalls.end(),
                                               [](const auto& rule) { return rule.action == "SCMP_ACT_NOTIFY"; });
  const auto asks_about = [&](std::string_view call) {
    return std::any_of(profile.syscalls.begin(), profile.syscalls.end(), [&](const auto& rule) {
      return rule.action == "SCMP_ACT_NOTIFY" &&
             std::find(rule.names.begin(), rule.names.end(), call) != rule.names.end();
    });
  };
  plan_.process.send_listener = plan_.process.seccomp_listener && is_rootless();
  if (plan_.process.seccomp_listener) plan_.process.seccomp_flags |= SECCOMP_FILTER_FLAG_NEW_LISTENER;
  // Nobody could answer yet.
  if (plan_.process.send_listener && asks_about("sendmsg"))
    return fail(ErrorCode::unsupported,
                "SCMP_ACT_NOTIFY for sendmsg, with which an ordinary user's listener is handed over");
  plan_.process.seccomp = filter_.data();
  plan_.process.seccomp_length = static_cast<std::uint16_t>(filter_.size());
  return {};
}

}  // namespace dray::runtime
