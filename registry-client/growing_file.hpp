// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>

#include <dray/core/stream.hpp>

#include "http.hpp"

namespace dray::registry {

/// A file that is read while others write it. The reader sees its end only after finish(), which the writer calls once
/// the blob is verified; so no layer is named before its blob is.
class GrowingFile : public ByteSource {
 public:
  GrowingFile(FdRef file, const Stop& stop) : file_(file), stop_(stop) {}

  // Writer's side.
  void grow_to(std::uint64_t size);  ///< all bytes before `size` are there
  void finish();
  void fail(Error error);  ///< the reader gets it at its next read

  // Reader's side.
  Result<std::size_t> read(std::span<std::byte> buffer) override;

 private:
  FdRef file_;
  const Stop& stop_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t size_ = 0, position_ = 0;
  bool finished_ = false;
  std::optional<Error> error_;
};

}  // namespace dray::registry
