// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <dray/core/reference.hpp>
#include <dray/image/image.hpp>
#include <dray/store/content_store.hpp>
#include <dray/store/database.hpp>
#include <dray/store/snapshotter.hpp>

namespace dray::store {

/// A named image in the store.
struct ImageRecord {
  std::string reference;   ///< canonical ("docker.io/library/debian:bookworm"), or "" for an untagged image
  Digest manifest;         ///< digest of the image manifest (of our platform) in the content store
  std::string media_type;  ///< of that manifest
  Digest image_id;         ///< digest of the config
  std::string created_at;  ///< when this record was made
  std::vector<std::string> repo_digests;  ///< "docker.io/library/debian@sha256:…", known after a pull or push
};

/// A loaded image: raw bytes and what they say.
struct LoadedImage {
  ImageRecord record;
  image::Manifest manifest;
  image::ImageConfig config;
  std::uint64_t size = 0;  ///< sum of the unpacked layers' sizes, the SIZE column
};

/// One build step's result that a later build may reuse.
struct BuildCacheRecord {
  std::string key;                        ///< cache key, hex
  std::optional<DiffId> layer;            ///< nullopt: the step changed nothing
  std::optional<image::Descriptor> blob;  ///< the packed layer, once exported
  std::string description;                ///< "[2/4] RUN apt-get update"
  std::string created_at, last_used_at;
  std::int64_t uses = 1;  ///< by builds: the one that made it, and each that found it; the store counts
};

/// Everything under `root`: content, snapshots, database and the two locks. The façade of this part.
/// Work that adds content holds a Lease (shared lock); collect_garbage needs the exclusive lock, so nothing in flight
/// is ever collected; a process killed in the middle releases its lease by dying.
class Store {
 public:
  /// `wish`: see Snapshotter::open.
  static Result<std::shared_ptr<Store>> open(const std::string& root, std::optional<DriverWish> wish = {});

  ContentStore& content() { return *content_; }
  Snapshotter& snapshots() { return *snapshots_; }
  std::shared_ptr<Database> database() { return database_; }
  const std::string& root() const { return root_; }

  using Lease = FileLock;
  Result<Lease> lease() const;
  /// Whether anybody held a lease at this moment.
  bool is_leased() const;

  // -- images -------------------------------------------------------------------------------------------------------
  /// Records (or replaces) `record.reference`. Manifest, config and layers must be in the content store and the layers
  /// unpacked. A record replaced keeps its image as an untagged one, as Docker does. Durable on return.
  Result<void> put_image(const ImageRecord& record);
  Result<std::optional<ImageRecord>> find_image(const Reference& reference);
  /// By reference, image ID, or unambiguous prefix of an ID (at least 1 hex digit; a reference wins). not_found:
  /// "no such image: x"; invalid_argument if ambiguous.
  Result<ImageRecord> resolve_image(const std::string& name_or_id);
  Result<std::vector<ImageRecord>> list_images();
  Result<LoadedImage> load_image(const ImageRecord& record);
  /// Removes one record (content goes with collect_garbage).
  Result<void> remove_image(const ImageRecord& record);

  /// `reference` names an image index too (several platforms, attestations): that is what a push sends. Its record is
  /// one platform's manifest; the index is forgotten when the reference gets another one. All it names must be in the
  /// content store.
  Result<void> put_image_index(const std::string& reference, const image::Descriptor& index);
  Result<std::optional<image::Descriptor>> find_image_index(const std::string& reference);
  /// From now on the reference names its record's manifest alone.
  Result<void> forget_image_index(const std::string& reference);
  /// Every blob that a manifest or index refers to, directly or through others, itself included. Depth and number are
  /// limited: the documents may be hostile.
  Result<std::vector<Digest>> referenced_blobs(const image::Descriptor& document);

  // -- build cache --------------------------------------------------------------------------------------------------
  Result<std::optional<BuildCacheRecord>> find_build_cache(const std::string& key);
  Result<void> put_build_cache(const BuildCacheRecord& record);
  Result<std::vector<BuildCacheRecord>> list_build_cache();
  Result<void> clear_build_cache();

  // -- garbage ------------------------------------------------------------------------------------------------------
  struct GarbageReport {
    std::uint64_t blobs = 0, layers = 0, orphans = 0, bytes = 0;
  };
  /// Removes blobs and layers that no image, build-cache record or `extra_layers` (of containers) refers to, and
  /// leftovers of killed processes. `while_idle` runs first, under the exclusive lock: the caller's own leftovers,
  /// whose snapshots keep layers. in_use when another process works in the store.
  Result<GarbageReport> collect_garbage(const std::vector<DiffId>& extra_layers,
                                        const std::function<Result<void>()>& while_idle = {});

 private:
  std::string root_;
  std::unique_ptr<ContentStore> content_;
  std::shared_ptr<Snapshotter> snapshots_;
  std::shared_ptr<Database> database_;
};

/// `docker save` format (manifest.json) that is an OCI layout too (index.json), as Docker 25+ writes it. With
/// `platforms`, of each name those images alone; not_found if one is missing.
Result<void> save_archive(Store& store, const std::vector<std::string>& names,
                          const std::vector<image::Platform>& platforms, ByteSink& sink, const CancelToken& cancel);
/// Reads docker-save (old and new), OCI layout tar; compressed or not; returns what was loaded, as shown to the user
/// ("Loaded image: x:y" / "Loaded image ID: sha256:…"). Digests and diffIDs verified; nothing is recorded on failure.
/// With `platforms`, a name means the image of that platform, or an index of those images; without, this host's, and
/// all where the archive has all.
Result<std::vector<std::string>> load_archive(Store& store, ByteSource& source,
                                              const std::vector<image::Platform>& platforms, ProgressSink& progress,
                                              const CancelToken& cancel);

}  // namespace dray::store
