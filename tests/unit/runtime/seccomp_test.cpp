// SPDX-License-Identifier: Apache-2.0
// Seccomp: the compiled filters are run in an interpreter here (any call, any architecture, nothing at risk), and one
// is loaded.

#include "catch.hpp"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include <dray/core/fd.hpp>
#include <dray/runtime/launch.hpp>
#include <dray/runtime/spec.hpp>

#include "seccomp_filter.hpp"

using namespace dray;
using namespace dray::runtime;

namespace {

using Program = std::vector<sock_filter>;

std::uint32_t run(const Program& program, std::uint32_t arch, std::uint32_t number,
                  std::initializer_list<std::uint64_t> args = {}) {
  seccomp_data data = {};
  data.nr = static_cast<int>(number);
  data.arch = arch;
  std::copy(args.begin(), args.end(), data.args);
  std::uint32_t a = 0;
  for (std::size_t at = 0; at < program.size(); ++at) {
    const sock_filter& i = program[at];
    switch (i.code) {
      case BPF_LD | BPF_W | BPF_ABS:
        std::memcpy(&a, reinterpret_cast<const char*>(&data) + i.k, 4);
        break;
      case BPF_ALU | BPF_AND | BPF_K:
        a &= i.k;
        break;
      case BPF_JMP | BPF_JA:
        at += i.k;
        break;
      case BPF_JMP | BPF_JEQ | BPF_K:
        at += a == i.k ? i.jt : i.jf;
        break;
      case BPF_JMP | BPF_JGT | BPF_K:
        at += a > i.k ? i.jt : i.jf;
        break;
      case BPF_JMP | BPF_JGE | BPF_K:
        at += a >= i.k ? i.jt : i.jf;
        break;
      case BPF_RET | BPF_K:
        return i.k;
      default:
        FAIL("instruction not known: " << i.code);
    }
  }
  FAIL("ran over the end");
  return 0;
}

constexpr std::uint32_t kAllow = SECCOMP_RET_ALLOW;
constexpr std::uint32_t kEperm = SECCOMP_RET_ERRNO | EPERM;
constexpr std::uint32_t kEnosys = SECCOMP_RET_ERRNO | ENOSYS;

Program compiled(const Seccomp& profile) {
  auto program = compile_seccomp_uncached(profile);
  REQUIRE_OK(program);
  return std::move(*program);
}

ErrorCode code_of(std::string_view json) {
  auto parsed = parse_seccomp(json, {});
  REQUIRE(!parsed);
  return parsed.error().code();
}

}  // namespace

#if defined(__x86_64__)
TEST_CASE("Docker's default profile answers as Docker does") {
  constexpr std::uint32_t native = AUDIT_ARCH_X86_64, i386 = AUDIT_ARCH_I386, x32 = 0x40000000;
  Program program = compiled(default_seccomp(default_capabilities()));
  REQUIRE(program.size() < 4096);
  for (int number : {SYS_read, SYS_execve, SYS_ptrace, SYS_chroot, SYS_arch_prctl, SYS_openat2, SYS_futex_waitv})
    REQUIRE(run(program, native, static_cast<std::uint32_t>(number)) == kAllow);
  for (int number : {SYS_add_key,     SYS_keyctl,         SYS_request_key,     SYS_bpf,
                     SYS_userfaultfd, SYS_io_uring_setup, SYS_perf_event_open, SYS_open_by_handle_at,
                     SYS_kexec_load,  SYS_init_module,    SYS_mount,           SYS_pivot_root,
                     SYS_quotactl,    SYS_swapon,         SYS_reboot,          SYS_unshare,
                     SYS_setns,       SYS_fsopen,         SYS_settimeofday,    SYS_mbind,
                     SYS_nfsservctl,  SYS_uselib}) {
    INFO(number);
    REQUIRE(run(program, native, static_cast<std::uint32_t>(number)) == kEperm);
  }
  REQUIRE(run(program, native, SYS_clone3) == kEnosys);
  REQUIRE(run(program, native, SYS_clone, {17}) == kAllow);
  for (std::uint64_t flag : {0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000})
    REQUIRE(run(program, native, SYS_clone, {flag | 17}) == kEperm);
  for (std::uint64_t family : {0, 1, 2, 10, 16, 17, 37, 39, 41, 45})
    REQUIRE(run(program, native, SYS_socket, {family}) == kAllow);
  for (std::uint64_t family : {38, 40}) REQUIRE(run(program, native, SYS_socket, {family}) == kEperm);
  for (std::uint64_t persona : {0ull, 8ull, 0x20000ull, 0x20008ull, 0xffffffffull})
    REQUIRE(run(program, native, SYS_personality, {persona}) == kAllow);
  REQUIRE(run(program, native, SYS_personality, {0x0400000}) == kEperm);  // ADDR_NO_RANDOMIZE and others
  // Calls newer than libseccomp: those of the profile work, those newer than it are "not implemented".
  for (std::uint32_t number : {451u, 452u, 462u, 466u}) REQUIRE(run(program, native, number) == kAllow);
  REQUIRE(run(program, native, 459) == kEperm);  // lsm_get_self_attr: CAP_SYS_ADMIN's
  for (std::uint32_t number : {467u, 500u, 5000u, 0x3fffffffu}) REQUIRE(run(program, native, number) == kEnosys);
  // The other ABIs of the machine cannot be used to get around it.
  REQUIRE(run(program, native, x32 | SYS_read) == kAllow);
  for (std::uint32_t number : {static_cast<std::uint32_t>(SYS_add_key), static_cast<std::uint32_t>(SYS_mount)})
    REQUIRE(run(program, native, x32 | number) == kEperm);
  REQUIRE(run(program, native, x32 | 452) == kAllow);
  REQUIRE(run(program, native, x32 | 459) == kEperm);
  REQUIRE(run(program, i386, 3) == kAllow);     // read
  REQUIRE(run(program, i386, 286) == kEperm);   // add_key
  REQUIRE(run(program, i386, 21) == kEperm);    // mount
  REQUIRE(run(program, i386, 435) == kEnosys);  // clone3
  REQUIRE(run(program, i386, 452) == kAllow);
  for (std::uint32_t arch : {static_cast<std::uint32_t>(AUDIT_ARCH_AARCH64), 0u, 0xffffffffu})
    for (std::uint32_t number : {0u, 452u, 9999u}) REQUIRE(run(program, arch, number) == SECCOMP_RET_KILL_THREAD);
}

TEST_CASE("capabilities open their calls in the default profile") {
  constexpr std::uint32_t native = AUDIT_ARCH_X86_64;
  Program program = compiled(default_seccomp({"CAP_SYS_ADMIN", "CAP_SYSLOG", "CAP_BPF", "CAP_SYS_NICE"}));
  for (int number : {SYS_mount, SYS_clone3, SYS_bpf, SYS_unshare, SYS_mbind, SYS_syslog, 459})
    REQUIRE(run(program, native, static_cast<std::uint32_t>(number)) == kAllow);
  REQUIRE(run(program, native, SYS_clone, {0x10000000}) == kAllow);
  REQUIRE(run(program, native, SYS_chroot) == kEperm);
  REQUIRE(run(program, native, SYS_reboot) == kEperm);
}

TEST_CASE("several conditions on one argument are alternatives, a refusal of a newer call is kept") {
  auto profile = parse_seccomp(R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
    {"names":["socket"],"action":"SCMP_ACT_ERRNO","errnoRet":22,
     "args":[{"index":0,"value":2,"op":"SCMP_CMP_EQ"},{"index":0,"value":10,"op":"SCMP_CMP_EQ"}]},
    {"names":["fchmodat2","no_such_call_yet"],"action":"SCMP_ACT_ERRNO","errnoRet":1}]})",
                               {});
  REQUIRE_OK(profile);
  Program program = compiled(*profile);
  for (std::uint64_t family : {2, 10})
    REQUIRE(run(program, AUDIT_ARCH_X86_64, SYS_socket, {family}) == (SECCOMP_RET_ERRNO | 22));
  REQUIRE(run(program, AUDIT_ARCH_X86_64, SYS_socket, {1}) == kAllow);
  REQUIRE(run(program, AUDIT_ARCH_X86_64, 452) == kEperm);
  REQUIRE(run(program, AUDIT_ARCH_X86_64, 5000) == kAllow);  // a permissive default is no reason for ENOSYS
}
#endif

TEST_CASE("profiles that are not understood are refused") {
  for (
      const char* bad :
      {"",
       "[]",
       "null",
       "{",
       "{}",
       R"({"defaultAction":""})",
       R"({"defaultAction":"SCMP_ACT_PERMIT"})",
       R"({"defaultAction":7})",
       R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":{}})",
       R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[1]})",
       R"({"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_Z80"]})",
       R"({"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86"}]})",
       R"({"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_X"]})",
       R"({"defaultAction":"SCMP_ACT_ALLOW","defaultErrnoRet":5})",
       R"({"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":-1})",
       R"({"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":70000})",
       R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_MAYBE"}]})",
       R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"]}]})",
       R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"action":"SCMP_ACT_ERRNO"}]})",
       R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read\u0000"],"action":"SCMP_ACT_ERRNO"}]})",
       R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"read","names":["write"],"action":"SCMP_ACT_ERRNO"}]})",
       R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":6,"op":"SCMP_CMP_EQ"}]}]})",
       R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"op":"SCMP_CMP_NEAR"}]}]})",
       R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":-1,"op":"SCMP_CMP_EQ"}]}]})",
       R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","includes":{"minKernel":"new"}}]})"}) {
    INFO(bad);
    REQUIRE(code_of(bad) == ErrorCode::invalid_argument);
  }
  REQUIRE(code_of(R"({"defaultAction":"SCMP_ACT_NOTIFY"})") == ErrorCode::invalid_argument);
  REQUIRE(
      code_of(R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["write"],"action":"SCMP_ACT_NOTIFY"}]})") ==
      ErrorCode::invalid_argument);
  REQUIRE(code_of(std::string(2u << 20, ' ')) == ErrorCode::invalid_argument);
  REQUIRE(code_of(std::string(500'000, '[')) == ErrorCode::invalid_argument);
  auto contradiction = parse_seccomp(R"({"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
    {"names":["read"],"action":"SCMP_ACT_ALLOW"},{"names":["read"],"action":"SCMP_ACT_TRAP"}]})",
                                     {});
  // Profiles of Podman's have it; the first counts.
  REQUIRE_OK(contradiction);
  auto both = compile_seccomp_uncached(*contradiction);
  contradiction->syscalls.pop_back();
  auto first = compile_seccomp_uncached(*contradiction);
  REQUIRE_OK(both);
  REQUIRE_OK(first);
  REQUIRE(std::equal(both->begin(), both->end(), first->begin(), first->end(), [](const auto& a, const auto& b) {
    return a.code == b.code && a.jt == b.jt && a.jf == b.jf && a.k == b.k;
  }));
}

TEST_CASE("Docker's conditions are resolved") {
  const char* text = R"({"defaultAction":"SCMP_ACT_ERRNO","archMap":[
      {"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]},{"architecture":"SCMP_ARCH_RISCV64","subArchitectures":null}],
    "syscalls":[{"name":"chmod","action":"SCMP_ACT_ALLOW","args":null,"comment":"","includes":{},"excludes":{}},
    {"names":["syslog"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYSLOG"]}},
    {"names":["ptrace"],"action":"SCMP_ACT_ALLOW","excludes":{"caps":["CAP_SYS_ADMIN"]}},
    {"names":["future"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"99.0"}},
    {"names":["past"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4.8"}},
    {"names":["other"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["pdp11"]}}]})";
  auto names = [&](const std::vector<std::string>& capabilities) {
    auto profile = parse_seccomp(text, capabilities);
    REQUIRE_OK(profile);
    std::string out;
    for (const auto& rule : profile->syscalls) out += rule.names.at(0) + " ";
    return out;
  };
  REQUIRE(names({}) == "chmod ptrace past ");
  REQUIRE(names({"CAP_SYSLOG", "CAP_SYS_ADMIN"}) == "chmod syslog past ");
}

TEST_CASE("the cache gives the same program and only trusts what is ours alone") {
  auto directory = TempDir::create("/tmp", "dray-seccomp-");
  REQUIRE_OK(directory);
  Seccomp profile = default_seccomp(default_capabilities());
  Program fresh = compiled(profile);
  set_seccomp_cache_directory(directory->path());
  auto first = compile_seccomp(profile), second = compile_seccomp(profile);
  Seccomp other = profile;
  other.syscalls.pop_back();
  auto third = compile_seccomp(other);
  REQUIRE_OK(first);
  REQUIRE_OK(second);
  REQUIRE_OK(third);
  auto same = [](const Program& a, const Program& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(sock_filter)) == 0;
  };
  REQUIRE(same(*first, fresh));
  REQUIRE(same(*second, fresh));
  REQUIRE(!same(*third, fresh));

  // A file that others could write, or that is damaged, is not used but replaced.
  std::string path;
  auto find = [&] {
    FILE* list = popen(("grep -l clone3 " + directory->path() + "/*").c_str(), "r");
    char line[4096] = "";
    REQUIRE(fgets(line, sizeof(line), list) != nullptr);
    pclose(list);
    path = std::string(line, std::strlen(line) - 1);
  };
  find();
  struct stat status = {};
  REQUIRE(stat(path.c_str(), &status) == 0);
  REQUIRE((status.st_mode & 07777) == 0600);
  auto content = read_file(path);
  REQUIRE_OK(content);
  std::string allow_all = *content;
  const sock_filter permissive = {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};
  std::memcpy(allow_all.data() + allow_all.size() - fresh.size() * sizeof(sock_filter), &permissive,
              sizeof(permissive));
  REQUIRE_OK(write_file_atomically(path, allow_all, 0666, Durability::none));
  REQUIRE(chmod(path.c_str(), 0666) == 0);
  auto hardened = compile_seccomp(profile);
  REQUIRE_OK(hardened);
  REQUIRE(same(*hardened, fresh));
  REQUIRE_OK(write_file_atomically(path, content->substr(0, content->size() - 3), 0600, Durability::none));
  auto repaired = compile_seccomp(profile);
  REQUIRE_OK(repaired);
  REQUIRE(same(*repaired, fresh));

  // As many profiles as one likes: the newest are kept.
  Seccomp small;
  small.default_action = "SCMP_ACT_ALLOW";
  for (unsigned code = 1; code <= 100; ++code) {
    small.syscalls = {{.names = {"getpid"}, .action = "SCMP_ACT_ERRNO", .errno_ret = code, .args = {}}};
    REQUIRE_OK(compile_seccomp(small));
  }
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory->path())) files += entry.is_regular_file();
  CHECK(files == 64);
  const auto before = std::filesystem::last_write_time(directory->path());
  REQUIRE_OK(compile_seccomp(small));
  CHECK(std::filesystem::last_write_time(directory->path()) == before);
  set_seccomp_cache_directory("");
}

TEST_CASE("the kernel takes the default filter") {
  Program program = compiled(default_seccomp(default_capabilities()));
  pid_t child = fork();
  if (child == 0) {
    sock_fprog filter = {static_cast<unsigned short>(program.size()), program.data()};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) != 0)
      _exit(1);
    if (syscall(SYS_add_key, "user", "x", "y", 1, -3) != -1 || errno != EPERM) _exit(2);
    if (syscall(SYS_clone3, nullptr, 0) != -1 || errno != ENOSYS) _exit(3);
    if (syscall(SYS_getpid) <= 0) _exit(4);
    _exit(0);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(status == 0);
}
