// SPDX-License-Identifier: Apache-2.0
// Layers come when a step asks for them, each once. What a cache says is only used after its digests held.
#include <fcntl.h>

#include <algorithm>

#include <dray/core/process.hpp>
#include <dray/image/layout.hpp>

#include "cache_transfer/cache_transfer.hpp"

namespace dray::builder {

Result<void> CacheImport::load(const std::vector<CacheEnd>& ends, StepNumbers& numbers) {
  for (const CacheEnd& end : ends) {
    auto read_it =
        as_step(progress_, numbers.reserve(), "importing cache manifest from " + end.name(), [&] { return read(end); });
    if (read_it) {
      sources_.push_back({end, *std::move(read_it), end.reference});
      continue;
    }
    if (read_it.error().code() == ErrorCode::cancelled) return Failure(std::move(read_it).error());
    progress_.report({.kind = ProgressEvent::Kind::message,
                      .text = "WARN: the cache " + end.name() + " is not used: " + read_it.error().message()});
  }
  return {};
}

Result<std::string> CacheImport::read_blob(const CacheEnd& end, const image::Descriptor& blob) {
  if (end.type == CacheEnd::Type::registry) return store_.content().read_blob(blob.digest);
  std::string bytes = TRY(read_file(image::blob_path(end.directory, blob.digest), image::kMaxManifestSize));
  if (blob.digest.algorithm() != "sha256" || Digest::of(bytes) != blob.digest)
    return fail(ErrorCode::corrupt, "blob " + blob.digest.to_string() + " has another digest");
  return bytes;
}

Result<CacheDocument> CacheImport::read(const CacheEnd& end) {
  image::Descriptor top;
  if (end.type == CacheEnd::Type::registry) {
    if (registry_ == nullptr) return fail(ErrorCode::unsupported, "registries cannot be reached here");
    top = TRY(registry_->fetch_document(*end.reference, {end.insecure}, progress_, cancel_));
  } else if (end.digest) {
    top.digest = *end.digest;
  } else {
    top = TRY(find_in_layout(TRY(read_file(end.directory + "/index.json", image::kMaxManifestSize)), end.tag));
  }
  const std::string bytes = TRY(read_blob(end, top));
  std::vector<image::Descriptor> configs;
  if (image::is_index(bytes, top.media_type)) {
    for (const image::Descriptor& entry : TRY(image::parse_index(bytes)).manifests) {
      if (entry.media_type == kCacheConfig) configs = {entry};
      if (entry.media_type != image::kOciManifest && entry.media_type != image::kDockerManifest) continue;
      if (entry.platform && entry.platform->os == "unknown") continue;
      const std::string manifest = TRY(read_blob(end, entry));
      configs.push_back(TRY(image::parse_manifest(manifest)).config);
    }
  } else {
    configs = {TRY(image::parse_manifest(bytes)).config};
  }
  CacheDocument document;
  for (const image::Descriptor& config : configs) {
    const std::string text = TRY(read_blob(end, config));
    if (config.media_type == kCacheConfig) return parse_cache_document(text);
    const auto part = TRY(parse_inline_cache(text));
    if (!part) continue;
    for (const auto& [key, layer] : part->records) document.add(part->layers[layer], {key});
  }
  if (document.records.empty()) return fail(ErrorCode::not_found, "it holds no build cache");
  return document;
}

Result<void> CacheImport::fetch(const Source& source, const CacheDocument::Layer& layer) {
  if (store_.snapshots().contains(layer.diff_id) && store_.content().contains(layer.blob.digest)) {
    // Both are here, but that they belong together is only the cache's word.
    auto blob = make_fd_source(TRY(store_.content().open_blob(layer.blob.digest)));
    TRY(store_.snapshots().unpack(*blob, layer.diff_id));
    return {};
  }
  if (source.fetched_from)
    return registry_->fetch_layer(layer.blob, layer.diff_id, *source.fetched_from, {source.end.insecure}, progress_,
                                  cancel_);
  if (!store_.content().contains(layer.blob.digest)) {
    auto file = make_fd_source(
        TRY(open_file(image::blob_path(source.end.directory, layer.blob.digest), O_RDONLY | O_NOFOLLOW)));
    store::BlobWriter writer = TRY(store_.content().begin_write(layer.blob.digest.algorithm()));
    TRY(copy(*file, writer));
    TRY(writer.commit(layer.blob.digest, layer.blob.size));
  }
  auto blob = make_fd_source(TRY(store_.content().open_blob(layer.blob.digest)));
  TRY(store_.snapshots().unpack(*blob, layer.diff_id));
  return {};
}

Result<std::optional<store::BuildCacheRecord>> CacheImport::find(const std::string& key) {
  for (const Source& source : sources_) {
    const auto found = source.document.records.find(key);
    if (found == source.document.records.end()) continue;
    const CacheDocument::Layer& layer = source.document.layers[found->second];
    std::mutex* one = nullptr;
    {
      const std::scoped_lock lock(mutex_);
      auto& known = fetching_[layer.diff_id];
      if (!known) known = std::make_unique<std::mutex>();
      one = known.get();
    }
    const std::scoped_lock lock(*one);
    if (auto fetched = fetch(source, layer); !fetched) {
      TRY(cancel_.check());
      progress_.report({.kind = ProgressEvent::Kind::message,
                        .text = "WARN: layer " + layer.blob.digest.short_hex() + " of the cache " + source.end.name() +
                                " is not used: " + fetched.error().message()});
      continue;
    }
    store::BuildCacheRecord record;
    record.key = key;
    record.layer = layer.diff_id;
    record.blob = layer.blob;
    record.created_at = layer.created_at;
    return std::optional<store::BuildCacheRecord>(std::move(record));
  }
  return std::optional<store::BuildCacheRecord>();
}

}  // namespace dray::builder
