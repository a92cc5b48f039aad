// SPDX-License-Identifier: Apache-2.0
// From profile to BPF. libseccomp does the work for the calls it knows. Debian's does not know those of newer kernels,
// and a default of EPERM for them breaks programs whose fallback waits for ENOSYS; so a prologue of ours goes before
// its program: it applies the profile to the newer calls and answers ENOSYS to those newer than the profile itself (as
// runc does).

#include "seccomp_filter.hpp"

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <map>
#include <memory>
#include <span>

#include <dray/core/fd.hpp>

#include "seccomp_cache.hpp"

namespace dray::runtime {
namespace {

struct NamedValue {
  std::string_view name;
  std::uint32_t value;
};

constexpr NamedValue kActions[] = {
    {"SCMP_ACT_KILL", SCMP_ACT_KILL_THREAD},
    {"SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD},
    {"SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS},
    {"SCMP_ACT_TRAP", SCMP_ACT_TRAP},
    {"SCMP_ACT_ERRNO", SCMP_ACT_ERRNO(0)},
    {"SCMP_ACT_TRACE", SCMP_ACT_TRACE(0)},
    {"SCMP_ACT_ALLOW", SCMP_ACT_ALLOW},
    {"SCMP_ACT_LOG", SCMP_ACT_LOG},
    {"SCMP_ACT_NOTIFY", SCMP_ACT_NOTIFY},
};
constexpr NamedValue kOperators[] = {
    {"SCMP_CMP_NE", SCMP_CMP_NE},
    {"SCMP_CMP_LT", SCMP_CMP_LT},
    {"SCMP_CMP_LE", SCMP_CMP_LE},
    {"SCMP_CMP_EQ", SCMP_CMP_EQ},
    {"SCMP_CMP_GE", SCMP_CMP_GE},
    {"SCMP_CMP_GT", SCMP_CMP_GT},
    {"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ},
};
/// LOONGARCH64, M68K, SH, SHEB are words of the specification that this libseccomp cannot filter: 0.
constexpr NamedValue kArchitectures[] = {
    {"SCMP_ARCH_X86", SCMP_ARCH_X86},
    {"SCMP_ARCH_X86_64", SCMP_ARCH_X86_64},
    {"SCMP_ARCH_X32", SCMP_ARCH_X32},
    {"SCMP_ARCH_ARM", SCMP_ARCH_ARM},
    {"SCMP_ARCH_AARCH64", SCMP_ARCH_AARCH64},
    {"SCMP_ARCH_MIPS", SCMP_ARCH_MIPS},
    {"SCMP_ARCH_MIPS64", SCMP_ARCH_MIPS64},
    {"SCMP_ARCH_MIPS64N32", SCMP_ARCH_MIPS64N32},
    {"SCMP_ARCH_MIPSEL", SCMP_ARCH_MIPSEL},
    {"SCMP_ARCH_MIPSEL64", SCMP_ARCH_MIPSEL64},
    {"SCMP_ARCH_MIPSEL64N32", SCMP_ARCH_MIPSEL64N32},
    {"SCMP_ARCH_PPC", SCMP_ARCH_PPC},
    {"SCMP_ARCH_PPC64", SCMP_ARCH_PPC64},
    {"SCMP_ARCH_PPC64LE", SCMP_ARCH_PPC64LE},
    {"SCMP_ARCH_S390", SCMP_ARCH_S390},
    {"SCMP_ARCH_S390X", SCMP_ARCH_S390X},
    {"SCMP_ARCH_PARISC", SCMP_ARCH_PARISC},
    {"SCMP_ARCH_PARISC64", SCMP_ARCH_PARISC64},
    {"SCMP_ARCH_RISCV64", SCMP_ARCH_RISCV64},
    {"SCMP_ARCH_LOONGARCH64", 0},
    {"SCMP_ARCH_M68K", 0},
    {"SCMP_ARCH_SH", 0},
    {"SCMP_ARCH_SHEB", 0},
};
constexpr std::string_view kFlags[] = {"SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG",
                                       "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"};

/// Calls newer than libseccomp 2.5.4. Numbers from 424 on are the same on every architecture but alpha and MIPS.
/// uretprobe (335 on x86-64 alone) is not here: since Linux 6.14 the kernel never filters it.
constexpr NamedValue kNewCalls[] = {
    {"set_mempolicy_home_node", 450},
    {"cachestat", 451},
    {"fchmodat2", 452},
    {"map_shadow_stack", 453},
    {"futex_wake", 454},
    {"futex_wait", 455},
    {"futex_requeue", 456},
    {"statmount", 457},
    {"listmount", 458},
    {"lsm_get_self_attr", 459},
    {"lsm_set_self_attr", 460},
    {"lsm_list_modules", 461},
    {"mseal", 462},
    {"setxattrat", 463},
    {"getxattrat", 464},
    {"listxattrat", 465},
    {"removexattrat", 466},
    {"open_tree_attr", 467},
    {"file_getattr", 468},
    {"file_setattr", 469},
};
constexpr std::uint32_t kOldestStubbed = 450;
constexpr std::uint32_t kX32Bit = 0x40000000;

Result<std::uint32_t> find_value(std::span<const NamedValue> table, std::string_view name, const char* what) {
  for (const NamedValue& entry : table)
    if (entry.name == name) return entry.value;
  std::string message = "unknown seccomp ";
  message.append(what).append(" \"").append(name).append("\"");
  return fail(ErrorCode::invalid_argument, std::move(message));
}

Result<std::uint32_t> find_action(const std::string& name, std::optional<unsigned> errno_ret) {
  std::uint32_t action = TRY(find_value(kActions, name, "action"));
  bool takes_errno = action == SCMP_ACT_ERRNO(0) || action == SCMP_ACT_TRACE(0);
  if (!takes_errno) {
    if (errno_ret && *errno_ret != 0)
      return fail(ErrorCode::invalid_argument, "seccomp action \"" + name + "\" takes no errno");
    return action;
  }
  unsigned number = errno_ret.value_or(EPERM);
  bool fits = action == SCMP_ACT_ERRNO(0) ? number <= 4095 : number <= 0xffff;
  if (!fits) return fail(ErrorCode::invalid_argument, "seccomp errno " + std::to_string(number) + " is out of range");
  return action | number;
}

Result<std::uint32_t> find_architecture(const std::string& name) {
  return find_value(kArchitectures, name, "architecture");
}

struct ContextReleaser {
  void operator()(void* context) const { seccomp_release(context); }
};
using Context = std::unique_ptr<void, ContextReleaser>;

Error library_error(int result, const std::string& what) { return Error::from_errno(-result, "seccomp: " + what); }

const NamedValue* find_new_call(std::string_view name) {
  for (const NamedValue& call : kNewCalls)
    if (call.name == name) return &call;
  return nullptr;
}

struct NewRule {
  std::uint32_t number, action;
};

bool is_permissive(std::uint32_t action) { return action == SCMP_ACT_ALLOW || action == SCMP_ACT_LOG; }

/// One name of one rule. Rules on calls that libseccomp doesn't know go to `new_rules`, or nowhere if we don't know
/// them either.
Result<void> add_rule(void* context, const SeccompSyscall& rule, const std::string& name, std::uint32_t action,
                      std::vector<NewRule>& new_rules, std::uint32_t& newest) {
  int number = seccomp_syscall_resolve_name(name.c_str());
  if (number == __NR_SCMP_ERROR) {
    const NamedValue* call = find_new_call(name);
    if (call == nullptr) return {};
    if (!rule.args.empty()) {
      // Leaving out a permission is safe; leaving out a refusal is not.
      if (is_permissive(action)) return {};
      return fail(ErrorCode::unsupported, "seccomp rule on arguments of \"" + name + "\" needs a newer libseccomp");
    }
    for (const NewRule& known : new_rules)
      if (known.number == call->value) return {};
    new_rules.push_back(NewRule{call->value, action});
    newest = std::max(newest, call->value);
    return {};
  }
  if (number > 0 && static_cast<std::uint32_t>(number) < kX32Bit)
    newest = std::max(newest, static_cast<std::uint32_t>(number));

  std::vector<scmp_arg_cmp> comparisons;
  bool index_twice = false;
  unsigned seen = 0;
  for (const SeccompArg& arg : rule.args) {
    std::uint32_t op = TRY(find_value(kOperators, arg.op, "operator"));
    comparisons.push_back(scmp_arg_cmp{arg.index, static_cast<scmp_compare>(op), arg.value, arg.value_two});
    index_twice |= (seen & (1u << arg.index)) != 0;
    seen |= 1u << arg.index;
  }
  // EEXIST: an earlier rule covers it, or says something else; the first counts, as in runc and crun. EDOM: the call is on none of these architectures.
  auto add = [&](const scmp_arg_cmp* first, std::size_t count) -> Result<void> {
    int result = seccomp_rule_add_array(context, action, number, static_cast<unsigned>(count), first);
    if (result == 0 || result == -EEXIST || result == -EDOM) return {};
    return Failure(library_error(result, "rule for \"" + name + "\""));
  };
  // libseccomp takes one comparison an argument: as in runc, several of one argument are alternatives.
  if (!index_twice) return add(comparisons.data(), comparisons.size());
  for (const scmp_arg_cmp& comparison : comparisons) TRY(add(&comparison, 1));
  return {};
}

/// The prologue (see the top). `architectures` are AUDIT_ARCH_* values whose numbers from 424 on are the generic ones.
std::vector<sock_filter> make_prologue(const std::vector<std::uint32_t>& architectures, bool x32,
                                       const std::vector<NewRule>& new_rules, std::uint32_t newest, bool stub) {
  std::vector<sock_filter> out;
  if (architectures.empty() || (new_rules.empty() && !stub)) return out;
  constexpr std::uint8_t kEnd = 255;  // stands for "to libseccomp's program" until the length is known
  auto statement = [&](int code, std::uint32_t k) { out.push_back(sock_filter{static_cast<__u16>(code), 0, 0, k}); };
  auto jump = [&](int code, std::uint32_t k, std::uint8_t yes, std::uint8_t no) {
    out.push_back(sock_filter{static_cast<__u16>(BPF_JMP | code | BPF_K), yes, no, k});
  };
  std::uint32_t first = stub ? std::max(newest, kOldestStubbed) + 1 : 0xffffffff;
  for (const NewRule& rule : new_rules) first = std::min(first, rule.number);

  statement(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr));
  jump(BPF_JGE, first, 0, kEnd);
  statement(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch));
  for (std::size_t i = 0; i < architectures.size(); ++i) {
    bool last = i + 1 == architectures.size();
    jump(BPF_JEQ, architectures[i], static_cast<std::uint8_t>(architectures.size() - i - 1), last ? kEnd : 0);
  }
  statement(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr));
  if (x32) {
    statement(BPF_ALU | BPF_AND | BPF_K, ~kX32Bit);
    jump(BPF_JGE, first, 0, kEnd);
  }
  if (stub) {
    jump(BPF_JGT, std::max(newest, kOldestStubbed), 0, 1);
    statement(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS);
  }
  for (const NewRule& rule : new_rules) {
    jump(BPF_JEQ, rule.number, 0, 1);
    statement(BPF_RET | BPF_K, rule.action);
  }
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (BPF_CLASS(out[i].code) != BPF_JMP) continue;
    auto distance = static_cast<std::uint8_t>(out.size() - i - 1);  // under 60 instructions with the whole table
    if (out[i].jt == kEnd) out[i].jt = distance;
    if (out[i].jf == kEnd) out[i].jf = distance;
  }
  return out;
}

/// SCMP_ARCH_* is AUDIT_ARCH_*, except x32, which the kernel shows as x86-64. MIPS has its own numbers: left to
/// libseccomp.
void add_generic_architecture(std::uint32_t architecture, std::vector<std::uint32_t>& list) {
  if (architecture == SCMP_ARCH_X32) architecture = SCMP_ARCH_X86_64;
  constexpr std::uint32_t kMips[] = {SCMP_ARCH_MIPS,   SCMP_ARCH_MIPS64,   SCMP_ARCH_MIPS64N32,
                                     SCMP_ARCH_MIPSEL, SCMP_ARCH_MIPSEL64, SCMP_ARCH_MIPSEL64N32};
  if (std::find(std::begin(kMips), std::end(kMips), architecture) != std::end(kMips)) return;
  if (std::find(list.begin(), list.end(), architecture) == list.end()) list.push_back(architecture);
}

Result<std::vector<sock_filter>> export_program(void* context, std::vector<sock_filter> program) {
  FileDescriptor memory(memfd_create("seccomp", MFD_CLOEXEC));
  if (!memory.valid()) return fail_errno("creating a memory file for the seccomp filter");
  int result = seccomp_export_bpf(context, memory.get());
  if (result != 0) return Failure(library_error(result, "building the filter"));
  struct stat status = {};
  if (fstat(memory.get(), &status) != 0) return fail_errno("reading the seccomp filter");
  auto size = static_cast<std::size_t>(status.st_size);
  std::size_t head = program.size();
  program.resize(head + size / sizeof(sock_filter));
  if (pread(memory.get(), program.data() + head, size, 0) != static_cast<ssize_t>(size))
    return fail_errno("reading the seccomp filter");
  if (program.size() > BPF_MAXINSNS)
    return fail(ErrorCode::invalid_argument, "seccomp profile is too large: " + std::to_string(program.size()) +
                                                 " instructions, the kernel takes " + std::to_string(BPF_MAXINSNS));
  return program;
}

}  // namespace

std::vector<std::string_view> seccomp_words(SeccompWord kind) {
  std::vector<std::string_view> out;
  auto add = [&](std::span<const NamedValue> table) {
    for (const NamedValue& entry : table) out.push_back(entry.name);
  };
  if (kind == SeccompWord::action) add(kActions);
  if (kind == SeccompWord::op) add(kOperators);
  if (kind == SeccompWord::flag) out.assign(std::begin(kFlags), std::end(kFlags));
  if (kind == SeccompWord::architecture)
    for (const NamedValue& entry : kArchitectures)
      if (entry.value != 0) out.push_back(entry.name);
  std::sort(out.begin(), out.end());
  return out;
}

Result<void> check_seccomp(const Seccomp& profile) {
  TRY(find_action(profile.default_action, profile.default_errno_ret));
  if (profile.default_action == "SCMP_ACT_NOTIFY")
    return fail(ErrorCode::invalid_argument, "SCMP_ACT_NOTIFY cannot be used as default action");
  for (const std::string& name : profile.architectures) TRY(find_architecture(name));
  for (const std::string& flag : profile.flags)
    if (std::find(std::begin(kFlags), std::end(kFlags), flag) == std::end(kFlags))
      return fail(ErrorCode::invalid_argument, "unknown seccomp flag \"" + flag + "\"");
  for (const SeccompSyscall& rule : profile.syscalls) {
    if (rule.names.empty()) return fail(ErrorCode::invalid_argument, "a seccomp rule has no system call names");
    TRY(find_action(rule.action, rule.errno_ret));
    // Between the filter and its execve the process has to write to us.
    if (rule.action == "SCMP_ACT_NOTIFY" &&
        std::find(rule.names.begin(), rule.names.end(), "write") != rule.names.end())
      return fail(ErrorCode::invalid_argument, "SCMP_ACT_NOTIFY cannot be used for the write syscall");
    for (const std::string& name : rule.names)
      if (name.empty() || name.find('\0') != std::string::npos)
        return fail(ErrorCode::invalid_argument, "a seccomp rule has an empty system call name");
    for (const SeccompArg& arg : rule.args) {
      TRY(find_value(kOperators, arg.op, "operator"));
      if (arg.index > 5)
        return fail(ErrorCode::invalid_argument,
                    "seccomp argument index " + std::to_string(arg.index) + " is not 0 to 5");
    }
  }
  return {};
}

Result<std::vector<sock_filter>> compile_seccomp_uncached(const Seccomp& profile) {
  TRY(check_seccomp(profile));
  std::uint32_t default_action = TRY(find_action(profile.default_action, profile.default_errno_ret));
  Context context(seccomp_init(default_action));
  if (!context) return fail(ErrorCode::internal, "seccomp: setting up a filter failed");
  seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);  // binary tree; older libraries keep their list

  std::vector<std::uint32_t> generic;
  bool x32 = false;
  add_generic_architecture(seccomp_arch_native(), generic);
  for (const std::string& name : profile.architectures) {
    std::uint32_t architecture = TRY(find_architecture(name));
    if (architecture == 0)
      return fail(ErrorCode::unsupported, "seccomp architecture \"" + name + "\" is not supported by this libseccomp");
    int result = seccomp_arch_add(context.get(), architecture);
    if (result != 0 && result != -EEXIST) return Failure(library_error(result, "architecture \"" + name + "\""));
    add_generic_architecture(architecture, generic);
    x32 |= architecture == SCMP_ARCH_X32;
  }

  std::vector<NewRule> new_rules;
  std::uint32_t newest = 0;
  for (const SeccompSyscall& rule : profile.syscalls) {
    std::uint32_t action = TRY(find_action(rule.action, rule.errno_ret));
    if (action == default_action) {
      // libseccomp refuses rules that say what the default says; the calls still count as known to the profile.
      for (const std::string& name : rule.names)
        if (const NamedValue* call = find_new_call(name)) newest = std::max(newest, call->value);
      continue;
    }
    for (const std::string& name : rule.names) {
      TRY(add_rule(context.get(), rule, name, action, new_rules, newest));
    }
  }
  std::vector<sock_filter> prologue = make_prologue(generic, x32, new_rules, newest, !is_permissive(default_action));
  return export_program(context.get(), std::move(prologue));
}

Result<std::vector<sock_filter>> compile_seccomp(const Seccomp& profile) {
  const std::string key = seccomp_cache_key(profile);
  if (auto cached = read_seccomp_cache(key)) return std::move(*cached);
  std::vector<sock_filter> program = TRY(compile_seccomp_uncached(profile));
  write_seccomp_cache(key, program);
  return program;
}

}  // namespace dray::runtime
