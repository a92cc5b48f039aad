// SPDX-License-Identifier: Apache-2.0
#include "export/layers.hpp"

#include <dray/core/process.hpp>
#include <dray/core/tar.hpp>
#include <dray/store/layer_writer.hpp>

#include "ops/ops.hpp"
#include "solve/active_snapshot.hpp"

namespace dray::builder {
namespace {

constexpr std::string_view kDockerLayer = "application/vnd.docker.image.rootfs.diff.tar";
constexpr std::string_view kDockerLayerZstd = "application/vnd.docker.image.rootfs.diff.tar.zstd";

Compression compression_of(const std::string& type) {
  if (type.ends_with("gzip")) return Compression::gzip;
  if (type.ends_with("zstd")) return Compression::zstd;
  return Compression::none;
}

const char* name_of(Compression kind) {
  return kind == Compression::gzip ? "gzip" : kind == Compression::zstd ? "zstd" : "uncompressed";
}

ImageLayer image_layer(store::PackedLayer packed, const std::string& created_at) {
  return {packed.diff_id, std::move(packed.blob), created_at};
}

/// A layer that was derived before, if its blob is still there.
Result<std::optional<ImageLayer>> recall(store::Store& store, const std::string& key, const ImageLayer& from) {
  const std::optional<store::BuildCacheRecord> record = TRY(store.find_build_cache(key));
  if (!record || !record->layer || !record->blob) return std::optional<ImageLayer>();
  return std::optional<ImageLayer>(ImageLayer{*record->layer, *record->blob, from.created_at});
}

Result<void> keep(store::Store& store, const std::string& key, const ImageLayer& layer, const std::string& what) {
  store::BuildCacheRecord record;
  record.key = key;
  record.layer = layer.diff_id;
  record.blob = layer.blob;
  record.description = what;
  record.created_at = record.last_used_at = format_time_now();
  return store.put_build_cache(record);
}

}  // namespace

std::string layer_media_type(const std::string& type, bool oci) {
  const Compression kind = compression_of(type);
  if (oci) return std::string(store::layer_media_type(kind));
  if (kind == Compression::gzip) return std::string(image::kDockerLayerGzip);
  return std::string(kind == Compression::zstd ? kDockerLayerZstd : kDockerLayer);
}

Result<ImageLayer> convert_layer(store::Store& store, const ImageLayer& layer, const CompressionOptions& wanted,
                                 const CancelToken& cancel) {
  if (compression_of(layer.blob.media_type) == wanted.kind && !wanted.level) return layer;
  const std::string key =
      Digest::of("dray layer compressed 1\n" + layer.diff_id.digest.to_string() + "\n" + name_of(wanted.kind) + "\n" +
                 (wanted.level ? std::to_string(*wanted.level) : "default"))
          .hex();
  if (auto known = TRY(recall(store, key, layer))) return *std::move(known);
  auto packed = make_fd_source(TRY(store.content().open_blob(layer.blob.digest)));
  CancellableSource stoppable(*packed, cancel);
  auto tar = make_decompressing_source(stoppable);
  store::LayerWriter writer = TRY(store::LayerWriter::begin(store.content(), wanted.kind, wanted.level));
  TRY(copy(*tar, writer));
  ImageLayer result = image_layer(TRY(writer.commit()), layer.created_at);
  if (result.diff_id != layer.diff_id)
    return fail(ErrorCode::corrupt, "blob " + layer.blob.digest.to_string() + " is not the layer " +
                                        layer.diff_id.digest.to_string() + " it is said to be");
  if (store.snapshots().contains(layer.diff_id)) TRY(keep(store, key, result, "compressed layer"));
  return result;
}

Result<ImageLayer> clamp_layer_times(store::Store& store, const ImageLayer& layer, std::int64_t epoch,
                                     const CancelToken& cancel) {
  const std::string key =
      Digest::of("dray layer clamped 1\n" + layer.diff_id.digest.to_string() + "\n" + std::to_string(epoch)).hex();
  if (auto known = TRY(recall(store, key, layer))) return *std::move(known);
  auto packed = make_fd_source(TRY(store.content().open_blob(layer.blob.digest)));
  CancellableSource stoppable(*packed, cancel);
  auto plain = make_decompressing_source(stoppable);
  tar::Reader reader(*plain);
  store::LayerWriter packer = TRY(store::LayerWriter::begin(store.content()));
  tar::Writer writer(packer);
  for (;;) {
    std::optional<tar::Entry> entry = TRY(reader.next());
    if (!entry) break;
    if (entry->mtime_seconds >= epoch) {
      entry->mtime_seconds = epoch;
      entry->mtime_nanoseconds = 0;
    }
    TRY(writer.add(*entry, entry->size > 0 ? &reader : nullptr));
  }
  TRY(writer.finish());
  ImageLayer result = image_layer(TRY(packer.commit()), layer.created_at);
  TRY(ensure_unpacked(store, result));
  TRY(keep(store, key, result, "layer with clamped times"));
  return result;
}

Result<ImageLayer> squash_layers(store::Store& store, const std::vector<DiffId>& base,
                                 const std::vector<ImageLayer>& own, const CancelToken& cancel) {
  ImageLayer from = own.back();
  std::string text = "dray layers squashed 1\n";
  for (const DiffId& layer : base) text += layer.digest.to_string() + "\n";
  for (const ImageLayer& layer : own) {
    text += "+" + layer.diff_id.digest.to_string() + "\n";
    from.created_at = std::max(from.created_at, layer.created_at);
  }
  const std::string key = Digest::of(text).hex();
  if (auto known = TRY(recall(store, key, from))) return *std::move(known);
  // The layers' changes are made on the base as if they were one step's: overlay then says what differs from it.
  ActiveSnapshot snapshot(store.snapshots(), TRY(store.snapshots().prepare(base, Durability::none, cancel)));
  {
    const store::MountRecipe recipe = TRY(store.snapshots().mount_recipe(snapshot.id(), true));
    const FileDescriptor root = TRY(store::open_mount(recipe));
    for (const ImageLayer& layer : own) {
      auto packed = make_fd_source(TRY(store.content().open_blob(layer.blob.digest)));
      TRY_CTX(extract_archive(root, "/", *packed, {.owner = {}, .is_layer = true}, cancel),
              "squashing layer " + layer.diff_id.digest.short_hex());
    }
  }
  store::LayerWriter writer = TRY(store::LayerWriter::begin(store.content()));
  TRY(store.snapshots().write_diff(snapshot.id(), writer, cancel));
  ImageLayer result = image_layer(TRY(writer.commit()), from.created_at);
  TRY(store.snapshots().commit(snapshot.id(), result.diff_id));
  snapshot.keep();
  TRY(keep(store, key, result, "squashed layers"));
  return result;
}

Result<void> ensure_unpacked(store::Store& store, const ImageLayer& layer) {
  if (store.snapshots().contains(layer.diff_id)) return {};
  auto blob = make_fd_source(TRY(store.content().open_blob(layer.blob.digest)));
  TRY(store.snapshots().unpack(*blob, layer.diff_id));
  return {};
}

}  // namespace dray::builder
