// SPDX-License-Identifier: Apache-2.0
// Bytes from the network to the unpacker. Waiting is in steps of 50 ms because a stop is polled, not
// signalled.
#include "blob_pipe.hpp"

namespace dray::registry {
namespace {
constexpr std::size_t kMaxQueued = 8u << 20;
constexpr auto kStep = std::chrono::milliseconds(50);
}  // namespace

Result<void> BlobPipe::write(std::span<const std::byte> bytes) {
  std::unique_lock lock(mutex_);
  while (queued_ >= kMaxQueued && !left_) {
    if (stop_.requested()) return Failure(Stop::error());
    changed_.wait_for(lock, kStep);
  }
  if (left_ || bytes.empty()) return {};
  chunks_.emplace_back(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  queued_ += bytes.size();
  changed_.notify_all();
  return {};
}

void BlobPipe::finish() {
  const std::lock_guard lock(mutex_);
  finished_ = true;
  changed_.notify_all();
}

void BlobPipe::fail(Error error) {
  const std::lock_guard lock(mutex_);
  if (!error_) error_ = std::move(error);
  changed_.notify_all();
}

Result<std::size_t> BlobPipe::read(std::span<std::byte> buffer) {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (error_) return Failure(*error_);
    if (stop_.requested()) return Failure(Stop::error());
    if (!chunks_.empty() || finished_) break;
    changed_.wait_for(lock, kStep);
  }
  std::size_t done = 0;
  while (done < buffer.size() && !chunks_.empty()) {
    const std::string& chunk = chunks_.front();
    const std::size_t size = std::min(buffer.size() - done, chunk.size() - front_offset_);
    std::memcpy(buffer.data() + done, chunk.data() + front_offset_, size);
    done += size;
    front_offset_ += size;
    if (front_offset_ == chunk.size()) {
      chunks_.pop_front();
      front_offset_ = 0;
    }
  }
  queued_ -= done;
  changed_.notify_all();
  return done;
}

void BlobPipe::leave() {
  const std::lock_guard lock(mutex_);
  left_ = true;
  chunks_.clear();
  queued_ = 0;
  changed_.notify_all();
}

}  // namespace dray::registry
