// SPDX-License-Identifier: Apache-2.0
// Loading has three phases. Stage: the archive's files are put aside (archive_stage.cpp). Plan: what images
// they make, from index.json (OCI layout, which newer `docker save` archives are too) or manifest.json;
// everything is checked here that can be checked without unpacking. Install: layers are unpacked and
// verified, blobs get their names, and only then are the images recorded. A failure before the records takes
// back what it brought.
#include <mutex>
#include <thread>

#include <dray/core/parallel.hpp>
#include <dray/core/process.hpp>
#include <dray/store/layer_writer.hpp>

#include "archive_json.hpp"
#include "archive_stage.hpp"
#include "content_paths.hpp"
#include "store_private.hpp"

namespace dray::store {
namespace {

constexpr int kMaxIndexDepth = 4;
constexpr std::size_t kMaxImages = 1000;
constexpr std::size_t kMaxLayers = 1024;

struct PlannedLayer {
  image::Descriptor blob;
  DiffId diff_id;
  const StagedFile* staged = nullptr;  ///< nullptr: in the content store already
};

struct PlannedName {
  Reference reference;
  std::optional<image::Descriptor> index;  ///< which the archive holds whole
};

struct PlannedImage {
  std::string manifest_bytes, config_bytes;
  Digest manifest;
  std::string media_type;
  Digest config;
  std::vector<PlannedLayer> layers;
  std::vector<PlannedName> names;
  std::vector<const StagedFile*> index_blobs;  ///< of other platforms
};

class Planner {
 public:
  Planner(Store& store, const ArchiveStage& stage, ProgressSink& progress)
      : store_(store), stage_(stage), progress_(progress) {}

  Result<std::vector<PlannedImage>> plan() {
    const bool has_index = stage_.find("index.json") != nullptr, has_saved = stage_.find("manifest.json") != nullptr;
    if (!has_index && !has_saved)
      return Failure(Error(ErrorCode::corrupt, "not an image archive: it has neither manifest.json nor index.json")
                         .with_hint("`dray load` reads what `docker save` and `skopeo copy … oci-archive:` write"));
    if (has_saved) {
      std::string bytes = TRY(stage_.read_document("manifest.json"));
      saved_ = TRY(parse_saved_images(bytes));
    }
    if (has_index) TRY(plan_layout());
    if (images_.empty() && has_saved) TRY(plan_saved());
    if (images_.empty()) return fail(ErrorCode::corrupt, "the archive holds no image");
    return std::move(images_);
  }

 private:
  /// Names that are no references (a directory, a bare word with capitals) are no reason to refuse the image.
  void add_name(PlannedImage& image, const std::string& text, const std::optional<image::Descriptor>& index = {}) {
    auto reference = Reference::parse(text);
    if (!reference || reference->digest()) {
      ProgressEvent event;
      event.text = "warning: \"" + text + "\" is not a usable image name; the image is loaded without it";
      progress_.report(event);
      return;
    }
    merge_name(image, {*reference, index});
  }

  static void merge_name(PlannedImage& image, PlannedName name) {
    const auto known = std::ranges::find(image.names, name.reference, &PlannedName::reference);
    if (known == image.names.end()) {
      image.names.push_back(std::move(name));
    } else if (!known->index) {
      known->index = std::move(name.index);
    }
  }

  Result<std::string> read_blob(const image::Descriptor& descriptor) {
    const StagedFile* staged = stage_.find_blob(descriptor.digest);
    std::string bytes;
    if (staged != nullptr) {
      bytes = TRY(stage_.read_document(image::blob_path(descriptor.digest)));
    } else if (store_.content().contains(descriptor.digest)) {
      bytes = TRY(store_.content().read_blob(descriptor.digest));
    } else {
      return fail(ErrorCode::not_found, "blob " + descriptor.digest.to_string() + " is missing from the archive");
    }
    if (descriptor.size != bytes.size())
      return fail(ErrorCode::corrupt, "blob " + descriptor.digest.to_string() + " has " + std::to_string(bytes.size()) +
                                          " bytes, its descriptor says " + std::to_string(descriptor.size));
    return bytes;
  }

  // -- OCI image layout
  // ---------------------------------------------------------------------------------------------

  /// Entries of one name, or without one, that differ in platform are one image for several platforms.
  Result<void> plan_layout() {
    std::string bytes = TRY(stage_.read_document("index.json"));
    image::Index index = TRY(image::parse_index(bytes));
    std::map<std::string, std::vector<image::Descriptor>> groups;
    std::vector<std::string> order;
    std::size_t anonymous = 0;
    for (auto& descriptor : index.manifests) {
      if (descriptor.platform && descriptor.platform->os == "unknown") continue;  // an attestation
      std::string name = name_of(descriptor);
      std::string key = !name.empty() ? name : descriptor.platform ? "\n" : "\n" + std::to_string(++anonymous);
      if (!groups.contains(key)) order.push_back(key);
      groups[key].push_back(std::move(descriptor));
    }
    for (const auto& key : order) TRY(plan_group(std::move(groups[key]), key));
    return {};
  }

  static std::string name_of(const image::Descriptor& descriptor) {
    for (const char* key : {"io.containerd.image.name", "org.opencontainers.image.ref.name"})
      if (auto found = descriptor.annotations.find(key);
          found != descriptor.annotations.end() && !found->second.empty())
        return found->second;
    return "";
  }

  Result<void> plan_group(std::vector<image::Descriptor> group, const std::string& name) {
    std::vector<image::Descriptor> chosen;
    bool same =
        std::all_of(group.begin(), group.end(), [&](const auto& d) { return d.digest == group.front().digest; });
    if (same) {
      chosen = {group.front()};
    } else {
      image::Index choices;
      choices.manifests = group;
      auto selected = image::select_platform(choices, image::Platform::host());
      if (!selected && name.starts_with('\n')) return Failure(std::move(selected).error());
      chosen = {selected ? *selected : group.back()};  // one name given twice: the last one has it
    }
    for (const auto& descriptor : chosen) {
      auto manifest = TRY(find_manifest(descriptor, 0));
      PlannedImage image;
      std::optional<image::Descriptor> index;
      std::set<Digest> seen;
      if (manifest.digest != descriptor.digest) {
        // Whatever is wrong with another platform's image is no reason to refuse this host's.
        const auto whole = is_whole(descriptor, 0, seen, image.index_blobs);
        if (whole && *whole)
          index = descriptor;
        else
          image.index_blobs.clear();
      }
      TRY(plan_manifest(std::move(image), manifest, name.starts_with('\n') ? "" : name, index));
    }
    return {};
  }

  /// Whether all that an index names is there; what is staged of it goes to `staged`.
  Result<bool> is_whole(const image::Descriptor& document, int depth, std::set<Digest>& seen,
                        std::vector<const StagedFile*>& staged) {
    if (depth > kMaxIndexDepth) return fail(ErrorCode::corrupt, "indexes are nested too deeply");
    const auto has = [&](const image::Descriptor& blob) -> Result<bool> {
      if (!seen.insert(blob.digest).second) return true;
      const StagedFile* file = stage_.find_blob(blob.digest);
      if (file == nullptr) return store_.content().contains(blob.digest);
      if (file->size != blob.size)
        return fail(ErrorCode::corrupt, "blob " + blob.digest.to_string() + " has " + std::to_string(file->size) +
                                            " bytes, its descriptor says " + std::to_string(blob.size));
      staged.push_back(file);
      return true;
    };
    if (seen.contains(document.digest)) return true;
    if (!TRY(has(document))) return false;
    const std::string bytes = TRY(read_blob(document));
    if (image::is_index(bytes, document.media_type)) {
      const image::Index index = TRY(image::parse_index(bytes));
      for (const image::Descriptor& entry : index.manifests)
        if (!TRY(is_whole(entry, depth + 1, seen, staged))) return false;
      return true;
    }
    const image::Manifest manifest = TRY(image::parse_manifest(bytes));
    bool whole = TRY(has(manifest.config));
    for (const image::Descriptor& layer : manifest.layers) whole = whole && TRY(has(layer));
    return whole;
  }

  Result<image::Descriptor> find_manifest(const image::Descriptor& descriptor, int depth) {
    if (depth > kMaxIndexDepth) return fail(ErrorCode::corrupt, "indexes are nested too deeply");
    std::string bytes = TRY(read_blob(descriptor));
    if (!image::is_index(bytes, descriptor.media_type)) return descriptor;
    image::Index index = TRY_CTX(image::parse_index(bytes), "index " + descriptor.digest.to_string());
    auto selected = image::select_platform(index, image::Platform::host());
    if (selected) return find_manifest(*selected, depth + 1);
    // No entry is for our platform; one without a platform may be an index that has it.
    for (const auto& entry : index.manifests) {
      if (entry.platform) continue;
      auto found = find_manifest(entry, depth + 1);
      if (found || found.error().code() != ErrorCode::not_found) return found;
    }
    return Failure(std::move(selected).error());
  }

  Result<void> plan_manifest(PlannedImage image, const image::Descriptor& descriptor, const std::string& name,
                             const std::optional<image::Descriptor>& index) {
    image.manifest_bytes = TRY(read_blob(descriptor));
    image.manifest = descriptor.digest;
    const std::string what = "manifest " + descriptor.digest.to_string();
    image::Manifest manifest = TRY_CTX(image::parse_manifest(image.manifest_bytes), what);
    image.media_type = manifest.media_type;
    if (manifest.config.media_type != image::kOciConfig && manifest.config.media_type != image::kDockerConfig)
      return fail(ErrorCode::unsupported,
                  what + ": not a container image: its config is of type \"" + manifest.config.media_type + "\"");
    image.config = manifest.config.digest;
    image.config_bytes = TRY_CTX(read_blob(manifest.config), what);
    image::ImageConfig config = TRY_CTX(image::parse_config(image.config_bytes), what);
    TRY_CTX(check_counts(manifest.layers.size(), config), what);
    for (std::size_t i = 0; i < manifest.layers.size(); ++i) {
      PlannedLayer layer;
      layer.blob = manifest.layers[i];
      layer.diff_id = config.diff_ids[i];
      layer.staged = stage_.find_blob(layer.blob.digest);
      std::uint64_t size = 0;
      if (layer.staged != nullptr) {
        size = layer.staged->size;
      } else if (store_.content().contains(layer.blob.digest)) {
        size = TRY(store_.content().size(layer.blob.digest));
      } else {
        return fail(ErrorCode::not_found,
                    what + ": layer blob " + layer.blob.digest.to_string() + " is missing from the archive" +
                        (layer.blob.urls.empty() ? "" : " (it is to be had elsewhere; pull the image instead)"));
      }
      if (size != layer.blob.size)
        return fail(ErrorCode::corrupt, what + ": layer blob " + layer.blob.digest.to_string() + " has " +
                                            std::to_string(size) + " bytes, its descriptor says " +
                                            std::to_string(layer.blob.size));
      image.layers.push_back(std::move(layer));
    }
    if (!name.empty()) add_name(image, name, index);
    for (const SavedImage& saved : saved_) {
      const StagedFile* staged = stage_.find(saved.config);
      if (staged == nullptr || staged->digest != image.config) continue;
      for (const auto& tag : saved.repo_tags) add_name(image, tag);
    }
    return add(std::move(image));
  }

  Result<void> check_counts(std::size_t layers, const image::ImageConfig& config) {
    if (layers != config.diff_ids.size())
      return fail(ErrorCode::corrupt, "the image config names " + std::to_string(config.diff_ids.size()) +
                                          " layers, the manifest " + std::to_string(layers));
    if (layers > kMaxLayers) return fail(ErrorCode::unsupported, "more than " + std::to_string(kMaxLayers) + " layers");
    if (!config.platform.os.empty() && config.platform.os != "linux")
      return fail(ErrorCode::unsupported,
                  "image operating system \"" + config.platform.os + "\" cannot be used on this platform");
    return {};
  }

  Result<void> add(PlannedImage image) {
    for (auto& known : images_) {
      if (known.manifest != image.manifest) continue;
      for (auto& name : image.names) merge_name(known, std::move(name));
      known.index_blobs.insert(known.index_blobs.end(), image.index_blobs.begin(), image.index_blobs.end());
      return {};
    }
    if (images_.size() >= kMaxImages) return fail(ErrorCode::corrupt, "the archive holds too many images");
    images_.push_back(std::move(image));
    return {};
  }

  // -- docker save of Docker before 25, podman, skopeo
  // --------------------------------------------------------------

  Result<void> plan_saved() {
    for (const SavedImage& saved : saved_) {
      PlannedImage image;
      image.config_bytes = TRY(stage_.read_document(saved.config));
      image.config = Digest::of(image.config_bytes);
      if (auto named = Digest::parse("sha256:" + saved.config.substr(0, 64));
          named && saved.config == named->hex() + ".json" && *named != image.config)
        return fail(ErrorCode::corrupt,
                    "\"" + saved.config + "\" of the archive: content has digest " + image.config.to_string());
      image::ImageConfig config =
          TRY_CTX(image::parse_config(image.config_bytes), "\"" + saved.config + "\" of the archive");
      TRY_CTX(check_counts(saved.layers.size(), config), "\"" + saved.config + "\" of the archive");
      // The archive has no manifest; this one is a function of its content.
      image::Manifest manifest;
      manifest.media_type = image::kOciManifest;
      manifest.config.media_type = image::kOciConfig;
      manifest.config.digest = image.config;
      manifest.config.size = image.config_bytes.size();
      for (std::size_t i = 0; i < saved.layers.size(); ++i) {
        PlannedLayer layer;
        layer.staged = stage_.find(saved.layers[i]);
        if (layer.staged == nullptr)
          return fail(ErrorCode::not_found, "layer \"" + saved.layers[i] + "\" is missing from the archive");
        layer.diff_id = config.diff_ids[i];
        layer.blob.digest = layer.staged->digest;
        layer.blob.size = layer.staged->size;
        layer.blob.media_type = layer_media_type(layer.staged->compression);
        manifest.layers.push_back(layer.blob);
        image.layers.push_back(std::move(layer));
      }
      image.manifest_bytes = image::serialize(manifest);
      image.manifest = Digest::of(image.manifest_bytes);
      image.media_type = manifest.media_type;
      for (const auto& tag : saved.repo_tags) add_name(image, tag);
      TRY(add(std::move(image)));
    }
    return {};
  }

  Store& store_;
  const ArchiveStage& stage_;
  ProgressSink& progress_;
  std::vector<SavedImage> saved_;
  std::vector<PlannedImage> images_;
};

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
    if (cancel_.cancelled()) return fail(ErrorCode::cancelled, "cancelled");
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
    // Adopted for an earlier image of this archive, it is not in the staging directory any more.
    const bool in_store = layer.staged == nullptr || store_.content().contains(layer.blob.digest);
    std::unique_ptr<ByteSource> source;
    if (in_store) {
      source = make_fd_source(TRY(store_.content().open_blob(layer.blob.digest)));
    } else {
      source = make_fd_source(TRY(open_file(layer.staged->file, 0)));
    }
    TRY(store_.snapshots().unpack(*source, layer.diff_id));  // a layer that is here already is compared
    if (!known) {
      const std::lock_guard lock(mutex_);
      layers.push_back(layer.diff_id);
    }
    return {};
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

Result<std::vector<std::string>> load_archive(Store& store, ByteSource& source, ProgressSink& progress,
                                              const CancelToken& cancel) {
  std::optional<Store::Lease> lease = TRY(store.lease());
  ArchiveStage stage = TRY(ArchiveStage::create(ingest_path(store.content().directory())));
  TRY(stage.read(source, cancel));
  std::vector<PlannedImage> images = TRY(Planner(store, stage, progress).plan());
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
