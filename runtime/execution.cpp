// SPDX-License-Identifier: Apache-2.0
#include "execution.hpp"

#include <poll.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

namespace dray::runtime {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kLook = std::chrono::milliseconds(200);  // far longer than dray-init lives

bool has_something(FdRef pipe) {
  struct pollfd now{pipe.get(), POLLIN, 0};
  return ::poll(&now, 1, 0) == 1;
}

}  // namespace

Result<std::optional<ChildFailure>> read_failure(FdRef pipe) {
  ChildFailure report;
  std::size_t count = TRY(read_some(pipe, std::as_writable_bytes(std::span(&report, 1))));
  if (count != sizeof report) return std::optional<ChildFailure>();
  return std::optional<ChildFailure>(report);
}

std::optional<FileIdentity> identify_file(const std::string& path) {
  struct stat status;
  if (::stat(path.c_str(), &status) != 0) return std::nullopt;
  return FileIdentity{status.st_dev, status.st_ino};
}

std::optional<FileIdentity> identify_file(FdRef file) {
  struct stat status;
  if (::fstat(file.get(), &status) != 0) return std::nullopt;
  return FileIdentity{status.st_dev, status.st_ino};
}

bool Execution::has_executed() const {
  const auto program = identify_file("/proc/" + std::to_string(pid_) + "/exe");
  return program && before_ && program != before_ && program != init_;
}

Result<std::optional<ChildFailure>> Execution::read_report(FdRef pipe, const Deadline& deadline) const {
  for (;;) {
    auto patience = kLook;
    if (deadline) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline - Clock::now());
      if (left.count() <= 0) return fail(ErrorCode::unavailable, "the command did not start in time");
      patience = std::min(patience, left);
    }
    struct pollfd waiting[2] = {{pipe.get(), POLLIN, 0}, {pidfd_.get(), POLLIN, 0}};
    const int count = ::poll(waiting, 2, static_cast<int>(patience.count()));
    if (count < 0 && errno != EINTR) return fail_errno("waiting for the container's process");
    if (count < 0) continue;
    if (waiting[0].revents != 0) return read_failure(pipe);
    const bool ended = waiting[1].revents != 0;
    if (!ended && !has_executed()) continue;
    // What it said before lies in the pipe by now.
    if (has_something(pipe)) return read_failure(pipe);
    return std::optional<ChildFailure>();
  }
}

}  // namespace dray::runtime
