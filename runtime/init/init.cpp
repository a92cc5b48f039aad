// SPDX-License-Identifier: Apache-2.0
// dray-init: the program between the runtime and a container's command, in two roles chosen by argv[0].
//   "dray-exec" COMMAND ARG…            executes the command and is gone: see runtime/child.cpp for why it exists.
//   "/sbin/docker-init" -- COMMAND ARG… is PID 1 (--init): starts the command, forwards signals, reaps orphans and ends
//                                       with the command's exit code.
// "dray-exec:3:program" PROGRAM ARG0 ARG… executes a program whose name for itself is another.
// Descriptor 3 ("dray-exec:5": 5) is the runtime's status pipe: closed by a successful execve, else a ChildFailure is
// written to it.
// It starts in every container, so it is static and without a C library: a few pages, no relocation, no initialisation.
#include <linux/stat.h>
#include <linux/wait.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>

#include <asm/ioctls.h>
#include <asm/unistd.h>
#include <linux/fcntl.h>

#include "../child_plan.hpp"

using dray::runtime::ChildFailure;
using dray::runtime::Step;

namespace {

int status_pipe = 3;
constexpr long kPathMax = 4096;

#if defined(__x86_64__)
long call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0) {
  long result;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
               : "rcx", "r11", "memory");
  return result;
}
asm(".globl _start\n_start:\n xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call start\n");
#elif defined(__aarch64__)
long call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0) {
  register long x8 asm("x8") = number;
  register long x0 asm("x0") = a;
  register long x1 asm("x1") = b;
  register long x2 asm("x2") = c;
  register long x3 asm("x3") = d;
  register long x4 asm("x4") = e;
  asm volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
  return x0;
}
asm(".globl _start\n_start:\n mov x29, #0\n mov x0, sp\n bl start\n");
#else
#error "dray-init knows x86-64 and aarch64"
#endif

long address(const void* pointer) { return reinterpret_cast<long>(pointer); }

[[noreturn]] void leave(int code) {
  for (;;) call(__NR_exit_group, code);
}

[[noreturn]] void fail(Step step, long error) {
  ChildFailure failure{step, static_cast<std::int32_t>(-error), 0};
  call(__NR_write, status_pipe, address(&failure), sizeof failure);
  leave(step == Step::command_not_in_path || step == Step::command_stat ? 127 : 126);
}

long length(const char* text) {
  long count = 0;
  while (text[count] != '\0') ++count;
  return count;
}

bool has_slash(const char* text) {
  for (; *text != '\0'; ++text) {
    if (*text == '/') return true;
  }
  return false;
}

const char* find_path(char** envp) {
  for (; *envp != nullptr; ++envp) {
    const char* entry = *envp;
    if (entry[0] == 'P' && entry[1] == 'A' && entry[2] == 'T' && entry[3] == 'H' && entry[4] == '=') return entry + 5;
  }
  return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

// 0 if something is there; says whether it is a directory.
long look(const char* path, bool& is_directory) {
  struct statx status;
  long outcome = call(__NR_statx, AT_FDCWD, address(path), 0, STATX_TYPE, address(&status));
  is_directory = outcome == 0 && (status.stx_mode & 0170000) == 0040000;
  return outcome;
}

[[noreturn]] void execute(const char* command, char** argv, char** envp) {
  call(__NR_fcntl, status_pipe, F_SETFD, FD_CLOEXEC);
  if (has_slash(command)) {
    long error = call(__NR_execve, address(command), address(argv), address(envp));
    bool is_directory = false;
    if (long missing = look(command, is_directory); missing == -ENOENT || missing == -ENOTDIR)
      fail(Step::command_stat, missing);
    if (is_directory) fail(Step::command_is_directory, -EISDIR);
    fail(Step::command_execute, error);
  }
  static char candidate[kPathMax];
  long size = length(command);
  const char* next = find_path(envp);
  while (size > 0 && *next != '\0') {
    const char* directory = next;
    while (*next != '\0' && *next != ':') ++next;
    long count = next - directory;
    if (*next == ':') ++next;
    // The current directory is never searched, whatever PATH says.
    if (count == 0 || directory[0] != '/' || count + size + 2 > kPathMax) continue;
    for (long i = 0; i < count; ++i) candidate[i] = directory[i];
    candidate[count] = '/';
    for (long i = 0; i <= size; ++i) candidate[count + 1 + i] = command[i];
    long error = call(__NR_execve, address(candidate), address(argv), address(envp));
    if (error == -ENOENT) {
      // A script is here, but its interpreter is not: that is no reason to search on.
      bool is_directory = false;
      if (look(candidate, is_directory) == 0) fail(Step::command_execute, error);
    } else if (error != -EACCES && error != -ENOTDIR) {
      fail(Step::command_execute, error);
    }
  }
  fail(Step::command_not_in_path, -ENOENT);
}

constexpr std::uint64_t kAllSignals = ~std::uint64_t{0};

// The command gets its own process group, in the foreground of the terminal if there is one.
[[noreturn]] void start_command(char** argv, char** envp) {
  call(__NR_setpgid, 0, 0);
  std::int32_t group = static_cast<std::int32_t>(call(__NR_getpid));
  call(__NR_ioctl, 0, TIOCSPGRP, address(&group));  // SIGTTOU is still blocked
  std::uint64_t none = 0;
  call(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, address(&none), 0, sizeof none);
  execute(argv[0], argv, envp);
}

int exit_code(int status) { return (status & 0x7f) == 0 ? status >> 8 & 0xff : 128 + (status & 0x7f); }

[[noreturn]] void be_init(char** argv, char** envp) {
  std::uint64_t all = kAllSignals;
  call(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, address(&all), 0, sizeof all);
  long child = call(__NR_clone, 17 /* SIGCHLD */);
  if (child < 0) fail(Step::command_execute, child);
  if (child == 0) start_command(argv, envp);
  call(__NR_close, status_pipe);
  int code = -1;
  for (;;) {
    long number = call(__NR_rt_sigtimedwait, address(&all), 0, 0, sizeof all);
    if (number > 0 && number != 17) {
      call(__NR_kill, child, number);
      continue;
    }
    int status = 0;
    long pid;
    while ((pid = call(__NR_wait4, -1, address(&status), WNOHANG, 0)) > 0) {
      if (pid == child) code = exit_code(status);
    }
    if (code >= 0) leave(code);  // the kernel kills what is left in the namespace
  }
}

}  // namespace

extern "C" [[noreturn]] void start(long* stack) {
  long argc = stack[0];
  char** argv = reinterpret_cast<char**>(stack + 1);
  char** envp = argv + argc + 1;
  if (argc >= 3 && argv[0][0] == '/') be_init(argv + 2, envp);
  if (argc >= 2 && argv[0][0] != '/') {
    const char* at = argv[0];
    while (*at != '\0' && *at != ':') ++at;
    if (*at == ':') {
      status_pipe = 0;
      for (++at; *at >= '0' && *at <= '9'; ++at) status_pipe = status_pipe * 10 + (*at - '0');
    }
    const bool has_program = *at == ':' && argc >= 3;
    execute(argv[1], argv + (has_program ? 2 : 1), envp);
  }
  leave(125);
}
