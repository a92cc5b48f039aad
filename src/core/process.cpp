// SPDX-License-Identifier: Apache-2.0
// Helper programs of the host, through posix_spawn: no code of ours runs between fork and exec.
#include <dray/core/process.hpp>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>

namespace dray {
ExitStatus exit_status(int wait_status) {
  ExitStatus result;
  if (WIFSIGNALED(wait_status)) {
    result.signal = WTERMSIG(wait_status);
  } else {
    result.code = WEXITSTATUS(wait_status);
  }
  return result;
}

std::vector<char*> string_pointers(const std::vector<std::string>& strings) {
  std::vector<char*> result;
  for (const auto& text : strings) result.push_back(const_cast<char*>(text.c_str()));
  result.push_back(nullptr);
  return result;
}

Result<ChildProcess> ChildProcess::spawn(const SpawnRequest& request) {
  if (request.argv.empty()) return fail(ErrorCode::invalid_argument, "no program to run");
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  if (request.stdin_fd.valid()) {
    posix_spawn_file_actions_adddup2(&actions, request.stdin_fd.get(), 0);
  } else {
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  }
  if (request.stdout_fd.valid()) posix_spawn_file_actions_adddup2(&actions, request.stdout_fd.get(), 1);
  if (request.stderr_fd.valid()) posix_spawn_file_actions_adddup2(&actions, request.stderr_fd.get(), 2);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);

  auto argv = string_pointers(request.argv);
  std::vector<char*> env;
  if (request.env) env = string_pointers(*request.env);
  ChildProcess child;
  int error =
      ::posix_spawnp(&child.pid_, argv[0], &actions, &attributes, argv.data(), request.env ? env.data() : environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) {
    child.pid_ = -1;
    return Failure(Error::from_errno(error, "running \"" + request.argv[0] + "\""));
  }
  child.pidfd_ = FileDescriptor(static_cast<int>(::syscall(SYS_pidfd_open, child.pid_, 0)));
  return child;
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), pidfd_(std::move(other.pidfd_)) {}

ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(pidfd_, other.pidfd_);
  return *this;
}

ChildProcess::~ChildProcess() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

Result<ExitStatus> ChildProcess::wait() {
  int status = 0;
  pid_t outcome;
  do {
    outcome = ::waitpid(pid_, &status, 0);
  } while (outcome < 0 && errno == EINTR);
  if (outcome < 0) return fail_errno("waiting for a process");
  pid_ = -1;
  return exit_status(status);
}

void ChildProcess::signal(int number) {
  if (pid_ > 0) ::kill(pid_, number);
}

Result<std::string> executable_directory() {
  char buffer[PATH_MAX];
  ssize_t length = ::readlink("/proc/self/exe", buffer, sizeof buffer);
  if (length <= 0) return fail_errno("reading /proc/self/exe");
  std::string path(buffer, static_cast<std::size_t>(length));
  const std::size_t slash = path.rfind('/');
  // At the top of a mount of its own.
  if (const char* told = ::getenv(kExecutableDirectory); slash == 0 && told != nullptr) return std::string(told);
  return path.substr(0, slash);
}

}  // namespace dray
