// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dray/store/partial_blob.hpp>

#include "fetch.hpp"
#include "growing_file.hpp"

namespace dray::registry {

/// One blob from the registry into its partial file: what an earlier try left is hashed and kept, the rest fetched,
/// over several connections where that helps.
class LayerDownload {
 public:
  /// `readable` learns of the bytes in order.
  LayerDownload(Session& session, HttpClient& client, const image::Descriptor& blob, store::PartialBlob& partial,
                GrowingFile& readable, SpareConnections& spare, StepProgress& progress);
  /// Asked now and then; an Error ends the download.
  std::function<Result<void>()> check = [] { return Result<void>(); };
  /// Commits the partial blob. corrupt if the bytes are not those of the digest.
  Result<void> run();

 private:
  Result<void> take_hashed(std::span<const std::byte> bytes);
  Result<void> hash_until(std::uint64_t end);
  bool should_split(const class BlobTransfer& transfer);
  Result<void> fetch_parts();

  Session& session_;
  HttpClient& client_;
  const image::Descriptor& blob_;
  store::PartialBlob& partial_;
  GrowingFile& readable_;
  SpareConnections& spare_;
  StepProgress& progress_;
  Hasher hasher_;
  WriteBehind write_behind_;
  std::uint64_t hashed_ = 0;  ///< bytes from the start that are in the file and hashed
  std::uint64_t kept_ = 0;
  std::chrono::steady_clock::time_point started_;
  bool may_split_ = true;
};

}  // namespace dray::registry
