// SPDX-License-Identifier: Apache-2.0
#include <dray/store/layer_writer.hpp>

namespace dray::store {
namespace {

std::unique_ptr<ByteSink> make_packer(ByteSink& blob, Compression compression, std::optional<int> level) {
  if (compression == Compression::zstd) return make_zstd_sink(blob, std::max(1, level.value_or(3)));
  if (compression == Compression::gzip) return level ? make_gzip_sink(blob, *level) : make_gzip_sink(blob);
  return nullptr;
}

}  // namespace

std::string_view layer_media_type(Compression compression) {
  return compression == Compression::gzip   ? image::kOciLayerGzip
         : compression == Compression::zstd ? image::kOciLayerZstd
                                            : image::kOciLayer;
}

struct LayerWriter::State {
  State(BlobWriter writer, Compression kind, std::optional<int> level)
      : compression(kind), blob(std::move(writer)), packer(make_packer(blob, kind, level)) {}

  Compression compression;
  BlobWriter blob;
  std::unique_ptr<ByteSink> packer;
  PipelinedSink packing{packer ? *packer : blob};
  HashingSink tar{packing};
};

LayerWriter::LayerWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
LayerWriter::LayerWriter(LayerWriter&&) noexcept = default;
LayerWriter::~LayerWriter() = default;

Result<LayerWriter> LayerWriter::begin(const ContentStore& content, Compression compression, std::optional<int> level) {
  if (compression == Compression::bzip2 || compression == Compression::xz)
    return fail(ErrorCode::unsupported, "layers are compressed by gzip or zstd");
  return LayerWriter(std::make_unique<State>(TRY(content.begin_write()), compression, level));
}

Result<void> LayerWriter::write(std::span<const std::byte> tar) { return state_->tar.write(tar); }
std::uint64_t LayerWriter::tar_size() const { return state_->tar.size(); }

Result<PackedLayer> LayerWriter::commit() {
  TRY(state_->tar.finish());
  PackedLayer layer;
  layer.diff_id = DiffId{state_->tar.digest()};
  layer.blob.media_type = layer_media_type(state_->compression);
  layer.blob.size = state_->blob.size();
  layer.blob.digest = TRY(state_->blob.commit());
  return layer;
}

}  // namespace dray::store
