// SPDX-License-Identifier: Apache-2.0
// Loading has three phases. Stage: the archive's files are put aside (archive_stage.cpp). Plan: what images
// they make (archive_plan.cpp). Install: layers are unpacked and
// verified, blobs get their names, and only then are the images recorded. A failure before the records takes
// back what it brought.
#include <fcntl.h>

#include <cerrno>
#include <mutex>
#include <thread>

#include <dray/core/parallel.hpp>
#include <dray/core/process.hpp>

#include "archive_plan.hpp"
#include "content_paths.hpp"
#include "store_private.hpp"

namespace dray::store {
namespace {

class Installer {
 public:
  Installer(Store& store, ProgressSink& progress, const CancelToken& cancel)
      : store_(store), progress_(progress), cancel_(cancel) {}

  Result<void> install(const PlannedImage& image) {
    TRY(unpack_all(image.layers));
    for (const PlannedLayer& layer : image.layers)
      if (layer.staged != nullptr) TRY(adopt(*layer.staged, layer.blob.digest));
    for (const StagedFile* file : image.index_blobs) TRY(adopt(*file, file->digest));
    TRY(write(image.config_bytes, image.config));
    for (const std::string& index : image.made_indexes) TRY(write(index, Digest::of(index)));
    return write(image.manifest_bytes, image.manifest);
  }

  std::vector<Digest> blobs;   ///< new in the store
  std::vector<DiffId> layers;  ///< new in the store

 private:
  Result<void> adopt(const StagedFile& staged, const Digest& digest) {
    if (store_.content().contains(digest)) return {};
    blobs.push_back(digest);
    return adopt_blob(store_.content().directory(), staged.file, digest);
  }

  Result<void> write(const std::string& bytes, const Digest& digest) {
    if (store_.content().contains(digest)) return {};
    blobs.push_back(digest);
    return store_.content().write_blob(bytes, digest);
  }

  void report(ProgressEvent::Kind kind, int step, const PlannedLayer& layer, std::string text) {
    ProgressEvent event;
    event.kind = kind;
    event.id = step;
    event.name = layer.blob.digest.short_hex();
    event.text = std::move(text);
    event.total = layer.blob.size;
    progress_.report(event);
  }

  /// Layers side by side, one a processor. The first error stops the rest and is returned.
  Result<void> unpack_all(const std::vector<PlannedLayer>& all) {
    std::vector<const PlannedLayer*> wanted;
    for (const PlannedLayer& layer : all)
      if (verified_.emplace(layer.blob.digest, layer.diff_id).second) wanted.push_back(&layer);
    const auto unpack_one = [&](std::size_t, std::size_t i) {
      return unpack(*wanted[i], steps_ + static_cast<int>(i) + 1);
    };
    auto unpacked = run_parallel(wanted.size(), std::thread::hardware_concurrency(), unpack_one);
    steps_ += static_cast<int>(wanted.size());
    return unpacked;
  }

  Result<void> unpack(const PlannedLayer& layer, int step) {
    TRY(cancel_.check());
    report(ProgressEvent::Kind::started, step, layer, "");
    auto unpacked = unpack_blob(layer);
    if (unpacked) {
      report(ProgressEvent::Kind::completed, step, layer, "");
      return {};
    }
    report(ProgressEvent::Kind::failed, step, layer, unpacked.error().message());
    return Failure(std::move(unpacked).error().with_context("layer " + layer.blob.digest.short_hex()));
  }

  Result<void> unpack_blob(const PlannedLayer& layer) {
    const bool known = store_.snapshots().contains(layer.diff_id);
    const bool verified = layer.staged != nullptr && layer.staged->diff_id == layer.diff_id;
    if (known && verified) return {};
    if (verified && layer.staged->extracted && *layer.staged->extracted) {
      ExtractedLayer extracted = *std::exchange(*layer.staged->extracted, std::nullopt);
      if (TRY(SnapshotterAccess::publish(store_.snapshots(), std::move(extracted), layer.diff_id)))
        remember(layer.diff_id);
      return {};
    }
    const auto source = make_fd_source(TRY(open_blob(layer)));
    TRY(store_.snapshots().unpack(*source, layer.diff_id));  // a layer that is here already is compared
    if (!known) remember(layer.diff_id);
    return {};
  }

  /// The archive's, which was just verified, unless it was adopted for an earlier image: what the store has under that
  /// digest may be damaged.
  Result<FileDescriptor> open_blob(const PlannedLayer& layer) {
    if (layer.staged != nullptr) {
      auto staged = open_file(layer.staged->file, O_RDONLY);
      if (staged || staged.error().error_number() != ENOENT) return staged;
    }
    return store_.content().open_blob(layer.blob.digest);
  }

  void remember(const DiffId& layer) {
    const std::lock_guard lock(mutex_);
    layers.push_back(layer);
  }

  Store& store_;
  ProgressSink& progress_;
  const CancelToken& cancel_;
  std::set<std::pair<Digest, DiffId>> verified_;
  int steps_ = 0;
  std::mutex mutex_;  ///< of `layers`
};

Result<std::vector<std::string>> record_images(Store& store, const std::vector<PlannedImage>& images) {
  std::vector<std::string> lines;
  for (const PlannedImage& image : images) {
    ImageRecord record;
    record.manifest = image.manifest;
    record.media_type = image.media_type;
    record.image_id = image.config;
    record.created_at = format_time_now();
    for (const auto& [name, index] : image.names) {
      record.reference = name.canonical();
      TRY(store.put_image(record));
      TRY(index ? store.put_image_index(record.reference, *index) : store.forget_image_index(record.reference));
      lines.push_back("Loaded image: " + name.familiar());
    }
    if (!image.names.empty()) continue;
    TRY(store.put_image(record));
    lines.push_back("Loaded image ID: " + image.config.to_string());
  }
  return lines;
}

}  // namespace

Result<std::vector<std::string>> load_archive(Store& store, ByteSource& source,
                                              const std::vector<image::Platform>& platforms, ProgressSink& progress,
                                              const CancelToken& cancel) {
  std::optional<Store::Lease> lease = TRY(store.lease());
  ArchiveStage stage = TRY(ArchiveStage::create(ingest_path(store.content().directory()), store.snapshots()));
  TRY(stage.read(source, cancel));
  std::vector<PlannedImage> images = TRY(plan_images(store, stage, platforms, progress));
  Installer installer(store, progress, cancel);
  Result<void> installed;
  for (const PlannedImage& image : images) {
    installed = installer.install(image);
    if (!installed) break;
  }
  Result<std::vector<std::string>> lines;
  if (installed) {
    lines = record_images(store, images);
    if (lines) return lines;
    installed = Failure(lines.error());
  }
  lease.reset();
  take_back(store, installer.blobs, installer.layers);
  return Failure(std::move(installed).error());
}

}  // namespace dray::store
