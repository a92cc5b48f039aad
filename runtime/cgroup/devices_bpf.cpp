// SPDX-License-Identifier: Apache-2.0
// Device rules. v1 takes them one by one; v2 wants an eBPF program that judges each access. To behave alike, the rules
// are first folded into the state that v1's controller would have (a default and a list of exceptions), then that is
// compiled.

#include "hierarchy.hpp"

#include <linux/bpf.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace dray::runtime::cgroup {
namespace {

bpf_insn instruction(int code, int destination, int source, int offset, std::int32_t immediate) {
  bpf_insn out = {};
  out.code = static_cast<__u8>(code);
  out.dst_reg = static_cast<__u8>(destination) & 0xf;
  out.src_reg = static_cast<__u8>(source) & 0xf;
  out.off = static_cast<__s16>(offset);
  out.imm = immediate;
  return out;
}
bpf_insn load(int destination, int context_offset) {
  return instruction(BPF_LDX | BPF_W | BPF_MEM, destination, BPF_REG_1, context_offset, 0);
}
bpf_insn return_value(std::int32_t value) { return instruction(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, value); }
bpf_insn leave() { return instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0); }

std::vector<bpf_insn> compile(const DevicePolicy& policy) {
  // r2 = type, r3 = access, r4 = major, r5 = minor
  std::vector<bpf_insn> program = {
      load(BPF_REG_2, 0),
      instruction(BPF_ALU | BPF_MOV | BPF_X, BPF_REG_3, BPF_REG_2, 0, 0),
      instruction(BPF_ALU | BPF_AND | BPF_K, BPF_REG_2, 0, 0, 0xffff),
      instruction(BPF_ALU | BPF_RSH | BPF_K, BPF_REG_3, 0, 0, 16),
      load(BPF_REG_4, 4),
      load(BPF_REG_5, 8),
  };
  for (const DeviceException& exception : policy.exceptions) {
    std::vector<bpf_insn> block;
    // Each test jumps over the rest of the block; the distance is filled in below.
    auto unless_equal = [&](int reg, std::int32_t value) {
      block.push_back(instruction(BPF_JMP | BPF_JNE | BPF_K, reg, 0, 0, value));
    };
    unless_equal(BPF_REG_2, exception.type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
    if (exception.major >= 0) unless_equal(BPF_REG_4, static_cast<std::int32_t>(exception.major));
    if (exception.minor >= 0) unless_equal(BPF_REG_5, static_cast<std::int32_t>(exception.minor));
    block.push_back(instruction(BPF_ALU | BPF_MOV | BPF_X, BPF_REG_1, BPF_REG_3, 0, 0));
    if (policy.allow_by_default) {  // refused: any of the access bits
      block.push_back(instruction(BPF_ALU | BPF_AND | BPF_K, BPF_REG_1, 0, 0, static_cast<int>(exception.access)));
      block.push_back(instruction(BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_1, 0, 0, 0));
    } else {  // allowed: all bits asked for are among the exception's
      block.push_back(instruction(BPF_ALU | BPF_AND | BPF_K, BPF_REG_1, 0, 0, static_cast<int>(~exception.access & 7)));
      block.push_back(instruction(BPF_JMP | BPF_JNE | BPF_K, BPF_REG_1, 0, 0, 0));
    }
    block.push_back(return_value(policy.allow_by_default ? 0 : 1));
    block.push_back(leave());
    for (std::size_t i = 0; i < block.size(); ++i) {
      bool jumps = (block[i].code & 7) == BPF_JMP && (block[i].code & 0xf0) != BPF_EXIT;
      if (jumps) block[i].off = static_cast<__s16>(block.size() - i - 1);
    }
    program.insert(program.end(), block.begin(), block.end());
  }
  program.push_back(return_value(policy.allow_by_default ? 1 : 0));
  program.push_back(leave());
  return program;
}

int bpf(int command, bpf_attr& attributes) {
  return static_cast<int>(syscall(SYS_bpf, command, &attributes, sizeof(attributes)));
}

/// Before Linux 5.11 programs count against RLIMIT_MEMLOCK: raise it for the one call.
int load_program(bpf_attr& attributes) {
  int fd = bpf(BPF_PROG_LOAD, attributes);
  if (fd >= 0 || errno != EPERM) return fd;
  rlimit before = {};
  if (getrlimit(RLIMIT_MEMLOCK, &before) != 0) return -1;
  rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
  if (setrlimit(RLIMIT_MEMLOCK, &unlimited) != 0) {
    errno = EPERM;
    return -1;
  }
  fd = bpf(BPF_PROG_LOAD, attributes);
  int saved = errno;
  setrlimit(RLIMIT_MEMLOCK, &before);
  errno = saved;
  return fd;
}

}  // namespace

Result<DevicePolicy> device_policy(const std::vector<DeviceRule>& rules) {
  DevicePolicy policy;
  for (const DeviceRule& rule : rules) {
    unsigned access = 0;
    for (char letter : rule.access) {
      if (letter == 'm')
        access |= BPF_DEVCG_ACC_MKNOD;
      else if (letter == 'r')
        access |= BPF_DEVCG_ACC_READ;
      else if (letter == 'w')
        access |= BPF_DEVCG_ACC_WRITE;
      else
        return fail(ErrorCode::invalid_argument, "invalid device access \"" + rule.access + "\": letters of \"rwm\"");
    }
    if (rule.access.empty()) access = 7;
    if (rule.type == 'a') {
      policy.allow_by_default = rule.allow;
      policy.exceptions.clear();
      continue;
    }
    if (rule.type != 'b' && rule.type != 'c' && rule.type != 'u')
      return fail(ErrorCode::invalid_argument, std::string("invalid device type \"") + rule.type + "\"");
    if (rule.major.value_or(0) < -1 || rule.major.value_or(0) > 0xfff || rule.minor.value_or(0) < -1 ||
        rule.minor.value_or(0) > 0xfffff)
      return fail(ErrorCode::invalid_argument, "device number " + std::to_string(rule.major.value_or(-1)) + ":" +
                                                   std::to_string(rule.minor.value_or(-1)) + " is out of range");
    DeviceException wanted{rule.type == 'b' ? 'b' : 'c', rule.major.value_or(-1), rule.minor.value_or(-1), access};
    auto same = std::find_if(policy.exceptions.begin(), policy.exceptions.end(), [&](const DeviceException& other) {
      return other.type == wanted.type && other.major == wanted.major && other.minor == wanted.minor;
    });
    if (rule.allow != policy.allow_by_default) {
      if (same != policy.exceptions.end())
        same->access |= access;
      else
        policy.exceptions.push_back(wanted);
    } else if (same != policy.exceptions.end()) {
      // Back to the default: v1 takes back the very same exception only.
      same->access &= ~access;
      if (same->access == 0) policy.exceptions.erase(same);
    }
  }
  return policy;
}

Result<void> attach_device_program(FdRef cgroup, const DevicePolicy& policy) {
  if (policy.allow_by_default && policy.exceptions.empty()) return {};
  std::vector<bpf_insn> program = compile(policy);
  bpf_attr attributes = {};
  attributes.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  attributes.insns = reinterpret_cast<std::uintptr_t>(program.data());
  attributes.insn_cnt = static_cast<__u32>(program.size());
  attributes.license = reinterpret_cast<std::uintptr_t>("Apache-2.0");
  FileDescriptor loaded(load_program(attributes));
  if (!loaded.valid()) return fail_errno("loading the cgroup's device program");
  bpf_attr attachment = {};
  attachment.target_fd = static_cast<__u32>(cgroup.get());
  attachment.attach_bpf_fd = static_cast<__u32>(loaded.get());
  attachment.attach_type = BPF_CGROUP_DEVICE;
  attachment.attach_flags = BPF_F_ALLOW_MULTI;
  if (bpf(BPF_PROG_ATTACH, attachment) != 0) return fail_errno("attaching the cgroup's device program");
  return {};
}

}  // namespace dray::runtime::cgroup
