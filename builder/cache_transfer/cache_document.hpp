// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <dray/image/image.hpp>

namespace dray::builder {

inline constexpr std::string_view kCacheConfig = "application/vnd.buildkit.cacheconfig.v0";

/// What a build cache is on the wire: BuildKit's cache config. A record is one of our cache keys and the layer that its
/// step made; keys name everything a step depends on, so records need no inputs.
struct CacheDocument {
  struct Layer {
    image::Descriptor blob;
    DiffId diff_id;
    std::string created_at;
  };
  std::vector<Layer> layers;
  std::map<std::string, std::size_t> records;  ///< key (hex) to layer

  /// Adds a layer once and its keys.
  void add(const Layer& layer, const std::vector<std::string>& keys);

 private:
  std::map<Digest, std::size_t> added_;  ///< blob to layer
};

std::string serialize(const CacheDocument& document);
/// Hostile input: limited in size, depth and number; a record that points nowhere, or a layer without a valid digest,
/// diffID, size or known media type makes the whole document corrupt.
Result<CacheDocument> parse_cache_document(std::string_view bytes);
/// The cache inside an image's config; nullopt where there is none.
Result<std::optional<CacheDocument>> parse_inline_cache(std::string_view image_config);
/// index.json's or an index's entry that is the cache: of the tag (org.opencontainers.image.ref.name).
Result<image::Descriptor> find_in_layout(std::string_view index_json, const std::string& tag);

}  // namespace dray::builder
