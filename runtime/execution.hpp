// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <utility>

#include <dray/core/fd.hpp>
#include <dray/core/result.hpp>

#include "child_plan.hpp"

namespace dray::runtime {

using Deadline = std::optional<std::chrono::steady_clock::time_point>;

/// Which file: what /proc/PID/exe leads to is compared by it.
struct FileIdentity {
  dev_t device = 0;
  ino_t number = 0;
  bool operator==(const FileIdentity&) const = default;
};
/// nullopt if there is none, or none that we may see.
std::optional<FileIdentity> identify_file(const std::string& path);
std::optional<FileIdentity> identify_file(FdRef file);

/// nullopt at the end of the pipe.
Result<std::optional<ChildFailure>> read_failure(FdRef pipe);

/// A process on its way to its command. It says over a pipe what fails, and the pipe closes with execve. But from
/// dray-init on others in the container may look into it, and hold that pipe open as long as they like: so the process
/// itself is looked at, too.
class Execution {
 public:
  /// `before`: the program that the process is a copy of; `init`: dray-init.
  Execution(pid_t pid, FdRef pidfd, std::optional<FileIdentity> before, std::optional<FileIdentity> init)
      : pid_(pid), pidfd_(pidfd), before_(before), init_(init) {}

  /// Waits for what it has to say; nullopt once it has executed the command or has ended. One that was killed says
  /// nothing: the caller sees it end at once, as with execve. unavailable after the deadline.
  Result<std::optional<ChildFailure>> read_report(FdRef pipe, const Deadline& deadline = {}) const;

 private:
  bool has_executed() const;

  pid_t pid_;
  FdRef pidfd_;
  std::optional<FileIdentity> before_, init_;
};

}  // namespace dray::runtime
