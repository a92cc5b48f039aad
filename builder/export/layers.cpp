// SPDX-License-Identifier: Apache-2.0
#include "export/layers.hpp"

#include <dray/core/process.hpp>
#include <dray/core/tar.hpp>

#include "ops/ops.hpp"
#include "solve/active_snapshot.hpp"

namespace dray::builder {
namespace {

constexpr std::string_view kDockerLayer = "application/vnd.docker.image.rootfs.diff.tar";
constexpr std::string_view kDockerLayerZstd = "application/vnd.docker.image.rootfs.diff.tar.zstd";

LayerCompression compression_of(const std::string& type) {
  if (type.ends_with("gzip")) return LayerCompression::gzip;
  if (type.ends_with("zstd")) return LayerCompression::zstd;
  return LayerCompression::none;
}

const char* name_of(LayerCompression kind) {
  return kind == LayerCompression::gzip ? "gzip" : kind == LayerCompression::zstd ? "zstd" : "uncompressed";
}

std::string_view type_of(LayerCompression kind) {
  return kind == LayerCompression::gzip   ? image::kOciLayerGzip
         : kind == LayerCompression::zstd ? image::kOciLayerZstd
                                          : image::kOciLayer;
}

/// A blob that is being written with a compression; keeps the tar's digest too.
class LayerBlob {
 public:
  static Result<std::unique_ptr<LayerBlob>> create(store::Store& store, const CompressionOptions& compression) {
    auto blob = std::unique_ptr<LayerBlob>(new LayerBlob(TRY(store.content().begin_write()), compression));
    return blob;
  }
  ByteSink& tar() { return *tar_; }
  Result<ImageLayer> finish() {
    TRY(tar_->finish());
    ImageLayer layer;
    layer.diff_id = DiffId{tar_->digest()};
    layer.blob.media_type = std::string(type_of(kind_));
    layer.blob.size = writer_.size();
    layer.blob.digest = TRY(writer_.commit());
    return layer;
  }

 private:
  LayerBlob(store::BlobWriter writer, const CompressionOptions& compression)
      : writer_(std::move(writer)), kind_(compression.kind) {
    if (kind_ == LayerCompression::gzip) {
      packed_ = compression.level ? make_gzip_sink(writer_, *compression.level) : make_gzip_sink(writer_);
    } else if (kind_ == LayerCompression::zstd) {
      packed_ = make_zstd_sink(writer_, std::max(1, compression.level.value_or(3)));
    }
    packing_ = std::make_unique<PipelinedSink>(packed_ ? *packed_ : static_cast<ByteSink&>(writer_));
    tar_ = std::make_unique<HashingSink>(*packing_);
  }

  store::BlobWriter writer_;
  LayerCompression kind_;
  std::unique_ptr<ByteSink> packed_;
  std::unique_ptr<PipelinedSink> packing_;
  std::unique_ptr<HashingSink> tar_;
};

class StoppableSource : public ByteSource {
 public:
  StoppableSource(ByteSource& inner, const CancelToken& cancel) : inner_(inner), cancel_(cancel) {}
  Result<std::size_t> read(std::span<std::byte> buffer) override {
    if (cancel_.cancelled()) return fail(ErrorCode::cancelled, "build cancelled");
    return inner_.read(buffer);
  }

 private:
  ByteSource& inner_;
  const CancelToken& cancel_;
};

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
  const LayerCompression kind = compression_of(type);
  if (oci) return std::string(type_of(kind));
  if (kind == LayerCompression::gzip) return std::string(image::kDockerLayerGzip);
  return std::string(kind == LayerCompression::zstd ? kDockerLayerZstd : kDockerLayer);
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
  StoppableSource stoppable(*packed, cancel);
  auto tar = make_decompressing_source(stoppable);
  auto blob = TRY(LayerBlob::create(store, wanted));
  TRY(copy(*tar, blob->tar()));
  ImageLayer result = TRY(blob->finish());
  if (result.diff_id != layer.diff_id)
    return fail(ErrorCode::corrupt, "blob " + layer.blob.digest.to_string() + " is not the layer " +
                                        layer.diff_id.digest.to_string() + " it is said to be");
  result.created_at = layer.created_at;
  if (store.snapshots().contains(layer.diff_id)) TRY(keep(store, key, result, "compressed layer"));
  return result;
}

Result<ImageLayer> clamp_layer_times(store::Store& store, const ImageLayer& layer, std::int64_t epoch,
                                     const CancelToken& cancel) {
  const std::string key =
      Digest::of("dray layer clamped 1\n" + layer.diff_id.digest.to_string() + "\n" + std::to_string(epoch)).hex();
  if (auto known = TRY(recall(store, key, layer))) return *std::move(known);
  auto packed = make_fd_source(TRY(store.content().open_blob(layer.blob.digest)));
  StoppableSource stoppable(*packed, cancel);
  auto plain = make_decompressing_source(stoppable);
  tar::Reader reader(*plain);
  auto blob = TRY(LayerBlob::create(store, {}));
  tar::Writer writer(blob->tar());
  class Content : public ByteSource {
   public:
    explicit Content(tar::Reader& reader) : reader_(reader) {}
    Result<std::size_t> read(std::span<std::byte> buffer) override { return reader_.read(buffer); }

   private:
    tar::Reader& reader_;
  } content(reader);
  for (;;) {
    std::optional<tar::Entry> entry = TRY(reader.next());
    if (!entry) break;
    if (entry->mtime_seconds >= epoch) {
      entry->mtime_seconds = epoch;
      entry->mtime_nanoseconds = 0;
    }
    TRY(writer.add(*entry, entry->size > 0 ? &content : nullptr));
  }
  TRY(writer.finish());
  ImageLayer result = TRY(blob->finish());
  result.created_at = layer.created_at;
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
  ActiveSnapshot snapshot(store.snapshots(), TRY(store.snapshots().prepare(base)));
  {
    const store::MountRecipe recipe = TRY(store.snapshots().mount_recipe(snapshot.id(), true));
    const FileDescriptor root = TRY(store::open_mount(recipe));
    for (const ImageLayer& layer : own) {
      auto packed = make_fd_source(TRY(store.content().open_blob(layer.blob.digest)));
      TRY_CTX(extract_archive(root, "/", *packed, {.owner = {}, .is_layer = true}, cancel),
              "squashing layer " + layer.diff_id.digest.short_hex());
    }
  }
  auto blob = TRY(LayerBlob::create(store, {}));
  TRY(store.snapshots().write_diff(snapshot.id(), blob->tar(), cancel));
  ImageLayer result = TRY(blob->finish());
  result.created_at = from.created_at;
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
