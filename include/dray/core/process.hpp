// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <dray/core/fd.hpp>

namespace dray {

/// How a process ended. exit_code() is the shell's view: 128 + signal if killed.
struct ExitStatus {
  int code = 0;
  int signal = 0;  ///< 0 = exited normally
  int exit_code() const { return signal != 0 ? 128 + signal : code; }
};

/// What waitpid() said of a process that has ended.
ExitStatus exit_status(int wait_status);

/// A helper program of the host (mmdebstrap, credential helper, dray-registry). Never for anything from a container.
struct SpawnRequest {
  std::vector<std::string> argv;                ///< argv[0] is looked up in PATH unless it has a slash
  std::optional<std::vector<std::string>> env;  ///< "K=V"; nullopt = ours
  FdRef stdin_fd, stdout_fd, stderr_fd;         ///< invalid = /dev/null for stdin, inherited for the others
};

/// As argv or envp of execve(); valid as long as the strings are.
std::vector<char*> string_pointers(const std::vector<std::string>& strings);

/// Owns a child: the destructor kills and reaps one that was not waited for.
class ChildProcess {
 public:
  static Result<ChildProcess> spawn(const SpawnRequest& request);
  ChildProcess(ChildProcess&&) noexcept;
  ChildProcess& operator=(ChildProcess&&) noexcept;
  ~ChildProcess();
  pid_t pid() const { return pid_; }
  FdRef pidfd() const { return pidfd_; }
  Result<ExitStatus> wait();
  void signal(int number);

 private:
  ChildProcess() = default;
  pid_t pid_ = -1;
  FileDescriptor pidfd_;
};

/// Directory of our own executable (/proc/self/exe): the sibling programs dray-monitor, dray-init and dray-registry are
/// there.
Result<std::string> executable_directory();
/// Environment variable with that directory for a program that runs from a mount of its own
/// (runtime/sealed_program.hpp); ignored where /proc/self/exe shows a directory.
inline constexpr const char* kExecutableDirectory = "DRAY_EXECUTABLE_DIRECTORY";

/// Of /proc/PID/stat. A number and its start together name a process for good.
struct ProcessStat {
  char state = 'X';               ///< 'Z' = zombie
  std::uint64_t start_ticks = 0;  ///< clock ticks since boot
};
/// nullopt if there is no such process.
std::optional<ProcessStat> read_process_stat(pid_t pid);

/// The kernel's, of this boot: what was written down before another one speaks of other processes. "" if unknown.
std::string read_boot_id();

/// "SIGTERM", "TERM", "15", "RTMIN+3" to the number.
Result<int> parse_signal(std::string_view text);

/// "2026-11-20T23:49:16.123456789Z" (RFC 3339 with nanoseconds), now or of the given time.
std::string format_time_now();
std::string format_time(std::int64_t seconds_since_epoch, std::uint32_t nanoseconds = 0);
/// Inverse; nullopt for other text.
std::optional<std::int64_t> parse_time(std::string_view text);

}  // namespace dray
