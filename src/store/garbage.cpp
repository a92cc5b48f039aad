// SPDX-License-Identifier: Apache-2.0
// Mark and sweep under the exclusive lock: marked is what images, build-cache records and containers refer to; everything else
// goes, with the leftovers of killed processes.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <dray/store/store.hpp>

namespace dray::store {
namespace {

/// Removes all entries of a scratch directory. Absent = nothing to do.
Result<std::uint64_t> empty_directory(const std::string& path) {
  DIR* listing = ::opendir(path.c_str());
  if (listing == nullptr) return std::uint64_t{0};
  std::vector<std::string> names;
  while (dirent* entry = ::readdir(listing)) {
    std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  ::closedir(listing);
  FileDescriptor directory = TRY(open_file(path, O_RDONLY | O_DIRECTORY));
  for (const std::string& name : names) TRY(remove_tree(directory, name));
  return names.size();
}

}  // namespace

Result<Store::GarbageReport> Store::collect_garbage(const std::vector<DiffId>& extra_layers) {
  auto lock = FileLock::try_acquire(root_ + "/store.lock", FileLock::Mode::exclusive);
  if (!lock) return Failure(std::move(lock).error().with_context("the store is in use"));

  std::set<std::string> blobs, layers;
  for (const DiffId& layer : extra_layers) layers.insert(layer.digest.to_string());
  for (const ImageRecord& record : TRY(list_images())) {
    blobs.insert(record.manifest.to_string());
    blobs.insert(record.image_id.to_string());
    auto manifest = content_->read_blob(record.manifest);
    auto config = content_->read_blob(record.image_id);
    // A damaged image keeps its record (the user decides); what it refers to cannot be known, so nothing is swept on guesswork.
    if (!manifest || !config) return Failure(Error(ErrorCode::corrupt, "image " + record.image_id.short_hex() + " is damaged: remove it with dray rmi, then prune again"));
    for (const auto& layer : TRY(image::parse_manifest(*manifest)).layers) blobs.insert(layer.digest.to_string());
    for (const DiffId& layer : TRY(image::parse_config(*config)).diff_ids) layers.insert(layer.digest.to_string());
  }
  for (const BuildCacheRecord& record : TRY(list_build_cache())) {
    if (record.layer) layers.insert(record.layer->digest.to_string());
    if (record.blob) blobs.insert(record.blob->digest.to_string());
  }

  GarbageReport report;
  for (const Digest& digest : TRY(content_->list())) {
    if (blobs.contains(digest.to_string())) continue;
    report.bytes += content_->size(digest).value_or(0);
    TRY(content_->remove(digest));
    ++report.blobs;
  }
  for (const DiffId& layer : TRY(snapshots_->list_layers())) {
    if (layers.contains(layer.digest.to_string())) continue;
    report.bytes += snapshots_->layer_size(layer).value_or(0);
    TRY(snapshots_->remove_layer(layer));
    ++report.layers;
  }
  report.orphans = TRY(snapshots_->remove_orphans());
  report.orphans += TRY(empty_directory(root_ + "/content/ingest"));
  report.orphans += TRY(empty_directory(root_ + "/tmp"));
  TRY(database_->execute("DELETE FROM repo_digests WHERE manifest NOT IN (SELECT manifest FROM images)"));
  return report;
}

}  // namespace dray::store
