// SPDX-License-Identifier: Apache-2.0
// Bytes from the network to the unpacker, by way of the blob's file: the page cache is the queue. Waiting is in steps
// of 50 ms because a stop is polled, not signalled.
#include "growing_file.hpp"

#include <unistd.h>

namespace dray::registry {

void GrowingFile::grow_to(std::uint64_t size) {
  const std::lock_guard lock(mutex_);
  size_ = size;
  changed_.notify_all();
}

void GrowingFile::finish() {
  const std::lock_guard lock(mutex_);
  finished_ = true;
  changed_.notify_all();
}

void GrowingFile::fail(Error error) {
  const std::lock_guard lock(mutex_);
  if (!error_) error_ = std::move(error);
  changed_.notify_all();
}

Result<std::size_t> GrowingFile::read(std::span<std::byte> buffer) {
  std::size_t wanted = 0;
  {
    std::unique_lock lock(mutex_);
    for (;;) {
      if (error_) return Failure(*error_);
      if (stop_.requested()) return Failure(Stop::error());
      if (position_ < size_ || finished_) break;
      changed_.wait_for(lock, std::chrono::milliseconds(50));
    }
    wanted = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), size_ - position_));
  }
  if (wanted == 0) return std::size_t{0};
  const ssize_t got = pread(file_.get(), buffer.data(), wanted, static_cast<off_t>(position_));
  if (got < 0) return fail_errno("reading a blob");
  if (got == 0) return dray::fail(ErrorCode::corrupt, "a blob became shorter while it was read");
  position_ += static_cast<std::uint64_t>(got);
  return static_cast<std::size_t>(got);
}

}  // namespace dray::registry
