// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <string>

#include <dray/core/stream.hpp>

#include "http.hpp"

namespace dray::registry {

/// Bounded queue of bytes between the thread that downloads a layer and the one that unpacks it. The reader
/// sees the end only after finish(), which the writer calls once the blob is verified; so no layer is named
/// before its blob is.
class BlobPipe : public ByteSource {
 public:
  explicit BlobPipe(const Stop& stop) : stop_(stop) {}

  // Writer's side.
  /// Waits while the queue is full. Bytes for a reader that has left are dropped.
  Result<void> write(std::span<const std::byte> bytes);
  void finish();
  void fail(Error error);  ///< the reader gets it at its next read

  // Reader's side.
  Result<std::size_t> read(std::span<std::byte> buffer) override;
  void leave();  ///< nothing more will be read

 private:
  const Stop& stop_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::string> chunks_;
  std::size_t front_offset_ = 0, queued_ = 0;
  bool finished_ = false, left_ = false;
  std::optional<Error> error_;
};

}  // namespace dray::registry
