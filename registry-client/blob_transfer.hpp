// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>

#include <dray/image/image.hpp>

#include "session.hpp"

namespace dray::registry {

/// Receives a blob, or the part of it from `begin` to an end, over as many connections as it takes.
class BlobTransfer {
 public:
  /// Gets each byte once, in order.
  using Take = std::function<Result<void>(std::span<const std::byte>)>;
  BlobTransfer(Session& session, HttpClient& client, const image::Descriptor& blob, std::uint64_t begin, Take take)
      : session_(session), client_(client), blob_(blob), take_(std::move(take)), received_(begin) {}

  /// Until `end`, which another thread (or `take`) may lower while it runs.
  Result<void> run(const std::atomic<std::uint64_t>& end);
  Result<void> run();  ///< to the blob's end

  /// The last answer showed that the registry gives out parts of a blob.
  bool serves_ranges() const { return serves_ranges_; }
  /// For a part among several: a registry that sends the whole instead is not read to the part's begin.
  void insist_on_range() { insist_ = true; }
  bool range_was_refused() const { return refused_; }

 private:
  std::string name() const { return "blob " + blob_.digest.to_string(); }
  Result<Response> send(std::uint64_t end_now, const std::atomic<std::uint64_t>& end);

  Session& session_;
  HttpClient& client_;
  const image::Descriptor& blob_;
  Take take_;
  std::uint64_t received_ = 0;
  bool use_range_ = true, serves_ranges_ = false, insist_ = false, refused_ = false;
};

}  // namespace dray::registry
