// SPDX-License-Identifier: Apache-2.0
// Does the store keep its promises? Rows are read after the lease was taken, so what they name cannot be collected
// while we look. A container is asked for again before it is called damaged: it may have been removed meanwhile.
#include <fcntl.h>
#include <sys/stat.h>

#include <map>

#include "check_private.hpp"
#include "content_paths.hpp"
#include "store_private.hpp"

namespace dray::store {
namespace {

using Kind = Problem::Kind;

bool is_directory(const std::string& path) {
  struct stat status;
  return ::lstat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

std::string name_of(const ImageRecord& record) {
  const auto reference = Reference::parse(record.reference);
  return reference ? reference->familiar() : record.image_id.short_hex();
}

std::string again(const ImageRecord& record) {
  return record.reference.empty() ? "build or load it again" : "pull, load or build " + name_of(record) + " again";
}

class Examination {
 public:
  Examination(Store& store, const CheckOptions& options, const std::set<Digest>* hash_only, const CancelToken& cancel)
      : store_(store), options_(options), hash_only_(hash_only), cancel_(cancel) {}

  Result<CheckReport> run() {
    TRY(look_at_database());
    TRY(read_records());
    TRY(look_at_blobs());
    TRY(look_at_layers());
    TRY(look_at_images());
    TRY(look_at_cache());
    TRY(look_at_containers());
    TRY(count_orphans());
    return std::move(report_);
  }

 private:
  Problem& add(Kind kind, std::string subject, std::string what, std::string meaning, std::string advice) {
    Problem problem{.kind = kind};
    problem.subject = std::move(subject);
    problem.what = std::move(what);
    problem.meaning = std::move(meaning);
    problem.advice = std::move(advice);
    return report_.problems.emplace_back(std::move(problem));
  }

  Result<void> look_at_database() {
    for (const Row& row : TRY(store_.database()->query("PRAGMA integrity_check(10)"))) {
      if (row.text(0) == "ok") continue;
      add(Kind::database, "database", row.text(0), "images, containers and volumes may be missing from lists",
          "save what is needed, then remove the store's directory and pull or build again");
    }
    return {};
  }

  /// Before what they name is looked at: a build that runs meanwhile adds the thing first, then its record.
  Result<void> read_records() {
    images_ = TRY(store_.list_images());
    for (const ImageRecord& record : images_) {
      if (record.reference.empty()) continue;
      if (auto index = TRY(store_.find_image_index(record.reference))) indexes_[record.reference] = *std::move(index);
    }
    cache_ = TRY(store_.list_build_cache());
    return {};
  }

  Result<void> look_at_blobs() {
    for (const Digest& blob : TRY(store_.content().list())) {
      TRY(cancel_.check());
      const auto file = store_.content().open_blob(blob);
      if (!file && file.error().code() == ErrorCode::not_found) continue;
      ++report_.blobs;
      auto actual = file ? hash(blob, *file) : Result<Digest>(Failure(file.error()));
      if (!actual && actual.error().code() == ErrorCode::cancelled) return Failure(std::move(actual).error());
      if (actual && *actual == blob) {
        good_.insert(blob);
        continue;
      }
      Problem& problem =
          actual
              ? add(Kind::damaged_blob, "blob " + blob.to_string(), "its bytes have digest " + actual->to_string(),
                    "no image that needs it can be used or pushed", "run with --repair, then pull again what needs it")
              : add(Kind::unreadable_blob, "blob " + blob.to_string(), actual.error().message(),
                    "no image that needs it can be used or pushed", "check the disk and the kernel's log");
      problem.key = blob.to_string();
    }
    return {};
  }

  Result<Digest> hash(const Digest& blob, FdRef file) {
    if (hash_only_ != nullptr && !hash_only_->contains(blob)) return blob;
    Hasher hasher(blob.algorithm());
    buffer_.resize(1u << 20);
    for (;;) {
      TRY(cancel_.check());
      const std::size_t size = TRY(read_some(file, buffer_));
      if (size == 0) return hasher.finish();
      hasher.update(std::span<const std::byte>(buffer_).first(size));
      report_.bytes += size;
    }
  }

  Result<void> look_at_layers() {
    const auto rows =
        TRY(store_.database()->query("SELECT id, diff_id FROM snapshots WHERE diff_id IS NOT NULL AND boot IN ('', ?)",
                                     {store_.snapshots().boot_id()}));
    for (const Row& row : rows) {
      const DiffId layer{TRY(Digest::parse(row.text(1)))};
      ++report_.layers;
      if (is_directory(snapshot_path(std::to_string(row.integer(0))) + "/fs")) {
        layers_.insert(layer);
        continue;
      }
      add(Kind::lost_layer, "layer " + layer.digest.to_string(),
          "its directory snapshots/" + std::to_string(row.integer(0)) + "/fs is gone",
          "images that stand on it do not start", "run with --repair: it is unpacked again where its blob is there")
          .key = layer.digest.to_string();
    }
    // Written before the last power failure and never synced: such a layer counts as absent by design.
    for (const Row& row :
         TRY(store_.database()->query("SELECT diff_id FROM snapshots WHERE diff_id IS NOT NULL AND boot NOT IN ('', ?)",
                                      {store_.snapshots().boot_id()})))
      lost_with_power_.insert(row.text(0));
    return {};
  }

  Result<void> look_at_images() {
    for (const ImageRecord& record : images_) {
      ++report_.images;
      const std::string subject = "image " + name_of(record);
      auto unusable = [&](const std::string& what) {
        add(Kind::unusable_image, subject, what, "it can be neither run nor pushed", again(record)).image = record;
      };
      const auto image = store_.load_image(record);
      if (!image) {
        unusable(image.error().message());
      } else if (image->manifest.config.digest != record.image_id) {
        unusable("its manifest has config " + image->manifest.config.digest.to_string() + ", the record says " +
                 record.image_id.to_string());
      } else if (image->manifest.layers.size() != image->config.diff_ids.size()) {
        unusable("its manifest has " + std::to_string(image->manifest.layers.size()) + " layers, its config " +
                 std::to_string(image->config.diff_ids.size()));
      } else {
        look_at_image_layers(record, *image, subject);
      }
      look_at_index(record, subject);
    }
    return {};
  }

  void look_at_image_layers(const ImageRecord& record, const LoadedImage& image, const std::string& subject) {
    for (std::size_t i = 0; i < image.config.diff_ids.size(); ++i) {
      const Digest& blob = image.manifest.layers[i].digest;
      const bool packed = good_.contains(blob), unpacked = layers_.contains(image.config.diff_ids[i]);
      if (packed && unpacked) continue;
      const std::string number = "layer " + std::to_string(i + 1) + " ";
      const std::string blob_text = "blob " + blob.to_string() + " is missing or damaged";
      if (packed)
        add(Kind::unpacked_missing, subject, number + image.config.diff_ids[i].digest.to_string() + " is not unpacked",
            "it does not start", "run with --repair: its blob is there")
            .image = record;
      else if (unpacked)
        add(Kind::incomplete_image, subject, number + blob_text, "it runs, but can be neither pushed nor saved",
            again(record))
            .image = record;
      else
        add(Kind::unusable_image, subject, number + "is not unpacked, and its " + blob_text,
            "it can be neither run nor pushed", again(record))
            .image = record;
    }
  }

  void look_at_index(const ImageRecord& record, const std::string& subject) {
    const auto index = indexes_.find(record.reference);
    if (index == indexes_.end()) return;
    std::string what;
    const auto blobs = store_.referenced_blobs(index->second);
    if (!blobs) {
      what = blobs.error().message();
    } else {
      for (const Digest& blob : *blobs)
        if (what.empty() && !good_.contains(blob)) what = "blob " + blob.to_string() + " is missing or damaged";
    }
    if (!what.empty())
      add(Kind::image_index, subject, "its index: " + what, "a push would not send all of its platforms", again(record))
          .image = record;
  }

  Result<void> look_at_cache() {
    for (const BuildCacheRecord& record : cache_) {
      ++report_.cache_records;
      const std::string subject = "build cache \"" + record.description + "\"";
      if (record.layer && !layers_.contains(*record.layer)) {
        const std::string layer = record.layer->digest.to_string();
        if (!lost_with_power_.contains(layer))
          add(Kind::cache_layer, subject, "its layer " + layer + " is not there",
              "the step runs again in the next build", "nothing is to be done; --repair removes the record")
              .key = record.key;
      } else if (record.blob && !good_.contains(record.blob->digest)) {
        add(Kind::cache_blob, subject, "its packed layer " + record.blob->digest.to_string() + " is missing or damaged",
            "the next build packs the layer again", "nothing is to be done; --repair corrects the record")
            .key = record.key;
      }
    }
    return {};
  }

  Result<void> look_at_containers() {
    if (!options_.containers) return {};
    claims_ = TRY(options_.containers());
    report_.containers = claims_.size();
    std::map<std::string, std::string> damaged;
    for (const ContainerClaim& claim : claims_) {
      std::string what = TRY(damage_of(claim));
      if (!what.empty()) damaged[claim.name] = std::move(what);
    }
    if (damaged.empty()) return {};
    for (const ContainerClaim& claim : TRY(options_.containers())) {
      const auto found = damaged.find(claim.name);
      if (found != damaged.end())
        add(Kind::container, "container " + claim.name, found->second, "it does not start",
            "remove it with `dray rm` and create it again");
    }
    return {};
  }

  Result<std::string> damage_of(const ContainerClaim& claim) {
    if (!claim.error.empty()) return claim.error;
    for (const DiffId& layer : claim.layers)
      if (!layers_.contains(layer) && !store_.snapshots().contains(layer))
        return "its layer " + layer.digest.to_string() + " is not there";
    const auto rows =
        TRY(store_.database()->query("SELECT 1 FROM snapshots WHERE id = ? AND diff_id IS NULL", {claim.snapshot}));
    if (rows.empty()) return "its snapshot " + claim.snapshot + " is not recorded";
    for (const std::string& path : store_.snapshots().directories_of(claim.snapshot))
      if (::access(path.c_str(), F_OK) != 0) return "its " + path.substr(store_.root().size() + 1) + " is gone";
    return std::string();
  }

  /// Directories first, references after: what is referred to by then is no orphan.
  Result<void> count_orphans() {
    const auto blobs = TRY(store_.content().list());
    const auto layers = TRY(store_.snapshots().list_layers());
    const auto directories = TRY(list_directory(store_.root() + "/snapshots"));
    report_.orphans.partial_files = TRY(list_directory(ingest_path(store_.content().directory()))).size();
    std::set<std::string> owned = TRY(store_.snapshots().lasting_directories());
    References keep = TRY(collect_references(store_));
    for (const ContainerClaim& claim : claims_) {
      keep.layers.insert(claim.layers.begin(), claim.layers.end());
      owned.insert(claim.snapshot);
    }
    for (const Digest& blob : blobs) report_.orphans.blobs += keep.blobs.contains(blob) ? 0 : 1;
    for (const DiffId& layer : layers) report_.orphans.layers += keep.layers.contains(layer) ? 0 : 1;
    for (const std::string& name : directories) report_.orphans.snapshots += owned.contains(name) ? 0 : 1;
    return {};
  }

  std::string snapshot_path(const std::string& id) const { return store_.root() + "/snapshots/" + id; }

  Store& store_;
  const CheckOptions& options_;
  const std::set<Digest>* hash_only_;
  const CancelToken& cancel_;
  CheckReport report_;
  std::vector<ImageRecord> images_;
  std::map<std::string, image::Descriptor> indexes_;
  std::vector<BuildCacheRecord> cache_;
  std::set<Digest> good_;
  std::set<DiffId> layers_;
  std::set<std::string> lost_with_power_;
  std::vector<ContainerClaim> claims_;
  std::vector<std::byte> buffer_;
};

}  // namespace

Result<CheckReport> examine(Store& store, const CheckOptions& options, const std::set<Digest>* hash_only,
                            const CancelToken& cancel) {
  return Examination(store, options, hash_only, cancel).run();
}

}  // namespace dray::store
