// SPDX-License-Identifier: Apache-2.0
// v2's device controller is an eBPF program that judges each access: the policy (devices.cpp), compiled.

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

/// Those attached to this very cgroup.
Result<std::vector<FileDescriptor>> attached_programs(FdRef cgroup) {
  std::vector<__u32> ids(64);
  bpf_attr query = {};
  query.query.target_fd = static_cast<__u32>(cgroup.get());
  query.query.attach_type = BPF_CGROUP_DEVICE;
  query.query.prog_ids = reinterpret_cast<std::uintptr_t>(ids.data());
  query.query.prog_cnt = static_cast<__u32>(ids.size());
  if (bpf(BPF_PROG_QUERY, query) != 0) return fail_errno("looking for the cgroup's device programs");
  ids.resize(std::min<std::size_t>(query.query.prog_cnt, ids.size()));
  std::vector<FileDescriptor> programs;
  for (__u32 id : ids) {
    bpf_attr by_id = {};
    by_id.prog_id = id;
    FileDescriptor program(bpf(BPF_PROG_GET_FD_BY_ID, by_id));
    if (!program.valid()) return fail_errno("opening the cgroup's device program");
    programs.push_back(std::move(program));
  }
  return programs;
}

Result<FileDescriptor> load(const DevicePolicy& policy) {
  std::vector<bpf_insn> program = compile(policy);
  bpf_attr attributes = {};
  attributes.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  attributes.insns = reinterpret_cast<std::uintptr_t>(program.data());
  attributes.insn_cnt = static_cast<__u32>(program.size());
  attributes.license = reinterpret_cast<std::uintptr_t>("Apache-2.0");
  FileDescriptor loaded(load_program(attributes));
  if (!loaded.valid()) return fail_errno("loading the cgroup's device program");
  return loaded;
}

int attach(FdRef cgroup, FdRef program, FdRef replaced) {
  bpf_attr attachment = {};
  attachment.target_fd = static_cast<__u32>(cgroup.get());
  attachment.attach_bpf_fd = static_cast<__u32>(program.get());
  attachment.attach_type = BPF_CGROUP_DEVICE;
  attachment.attach_flags = BPF_F_ALLOW_MULTI;
  if (replaced.valid()) {
    attachment.attach_flags |= BPF_F_REPLACE;
    attachment.replace_bpf_fd = static_cast<__u32>(replaced.get());
  }
  return bpf(BPF_PROG_ATTACH, attachment);
}

Result<void> detach(FdRef cgroup, FdRef program) {
  bpf_attr attachment = {};
  attachment.target_fd = static_cast<__u32>(cgroup.get());
  attachment.attach_bpf_fd = static_cast<__u32>(program.get());
  attachment.attach_type = BPF_CGROUP_DEVICE;
  if (bpf(BPF_PROG_DETACH, attachment) != 0) return fail_errno("detaching the cgroup's old device program");
  return {};
}

}  // namespace

Result<void> set_device_program(FdRef cgroup, const DevicePolicy& policy) {
  std::vector<FileDescriptor> old = TRY(attached_programs(cgroup));
  if (!policy.allow_by_default || !policy.exceptions.empty()) {
    FileDescriptor program = TRY(load(policy));
    // In one step where there is one (since Linux 5.6); else both judge for a moment, and what both allow is allowed.
    if (old.size() == 1 && attach(cgroup, program, old.front()) == 0) return {};
    if (attach(cgroup, program, {}) != 0) return fail_errno("attaching the cgroup's device program");
  }
  for (const FileDescriptor& program : old) TRY(detach(cgroup, program));
  return {};
}

}  // namespace dray::runtime::cgroup
