// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include <dray/core/stream.hpp>
#include <dray/image/image.hpp>
#include <dray/store/content_store.hpp>

namespace dray::store {

/// A layer whose blob is in the content store.
struct PackedLayer {
  DiffId diff_id;
  image::Descriptor blob;
};

/// The OCI media type of a layer's blob that is gzip, zstd or neither.
std::string_view layer_media_type(Compression compression);

/// Takes a layer's tar in one pass: hashes it in the caller's thread; compresses, hashes and stores it in another one.
/// Destroyed without commit = discarded.
class LayerWriter : public ByteSink {
 public:
  /// gzip, zstd or none; without a level the fast one of each.
  static Result<LayerWriter> begin(const ContentStore& content, Compression compression = Compression::gzip,
                                   std::optional<int> level = std::nullopt);
  LayerWriter(LayerWriter&&) noexcept;
  ~LayerWriter() override;
  Result<void> write(std::span<const std::byte> tar) override;
  std::uint64_t tar_size() const;
  /// After the whole tar.
  Result<PackedLayer> commit();

 private:
  struct State;
  explicit LayerWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace dray::store
