// SPDX-License-Identifier: Apache-2.0
// Mark and sweep under the store's exclusive lock: whoever adds content holds it shared, so nothing in flight
// is seen here. What needs no write to the database goes first, so that a full disk can be emptied. No file goes before
// it is on the disk that nobody refers to it: a power failure would bring back the reference alone.
#include <sys/stat.h>

#include "content_paths.hpp"
#include "snapshotter_state.hpp"
#include "store_private.hpp"

namespace dray::store {

Result<References> collect_references(Store& store) {
  References references;
  for (const ImageRecord& record : TRY(store.list_images())) {
    references.blobs.insert(record.manifest);
    references.blobs.insert(record.image_id);
    auto image = store.load_image(record);
    if (!image) {
      ErrorCode code = image.error().code();
      if (code == ErrorCode::not_found || code == ErrorCode::corrupt) continue;
      return Failure(std::move(image).error());
    }
    references.blobs.insert(image->manifest.config.digest);
    for (const auto& layer : image->manifest.layers) references.blobs.insert(layer.digest);
    references.layers.insert(image->config.diff_ids.begin(), image->config.diff_ids.end());
  }
  TRY(keep_image_indexes(store, references.blobs));
  for (const BuildCacheRecord& record : TRY(store.list_build_cache())) {
    if (record.layer) references.layers.insert(*record.layer);
    if (record.blob) references.blobs.insert(record.blob->digest);
  }
  for (const Row& row : TRY(store.database()->query("SELECT parents FROM snapshots WHERE diff_id IS NULL"))) {
    std::string parents = row.text(0);
    for (std::size_t start = 0; start < parents.size();) {
      std::size_t end = std::min(parents.find(' ', start), parents.size());
      references.layers.insert(DiffId{TRY(Digest::parse(std::string_view(parents).substr(start, end - start)))});
      start = end + 1;
    }
  }
  return references;
}

Result<Store::GarbageReport> Store::collect_garbage(const std::vector<DiffId>& extra_layers,
                                                    const std::function<Result<void>()>& while_idle) {
  auto lock = FileLock::try_acquire(lock_path(root_), FileLock::Mode::exclusive);
  if (!lock) {
    if (lock.error().code() != ErrorCode::in_use) return Failure(std::move(lock).error());
    return fail(ErrorCode::in_use, "the store is in use by another dray process; try again when it has finished");
  }
  if (while_idle) TRY(while_idle());
  References keep = TRY(collect_references(*this));
  keep.layers.insert(extra_layers.begin(), extra_layers.end());

  GarbageReport report;
  TRY(database_->sync());
  report.orphans += TRY(remove_ingest_leftovers(content_->directory()));
  for (const Digest& blob : TRY(content_->list())) {
    if (keep.blobs.contains(blob)) continue;
    auto size = content_->size(blob);
    TRY(content_->remove(blob));
    ++report.blobs;
    if (size) report.bytes += *size;
  }
  std::vector<DiffId> unused;
  for (const DiffId& layer : TRY(snapshots_->list_layers())) {
    if (keep.layers.contains(layer)) continue;
    auto size = snapshots_->layer_size(layer);
    if (size) report.bytes += *size;
    unused.push_back(layer);
  }
  TRY(SnapshotterAccess::remove_layers(*snapshots_, unused));
  report.layers = unused.size();
  report.orphans += TRY(snapshots_->remove_orphans());
  TRY(renew_layout(*this));  // whoever fails or is killed while naming an image leaves its name there
  // Records of layers that a power failure took. Last, as a full disk has no room to say so.
  auto forgotten = database_->execute(
      "DELETE FROM build_cache WHERE layer IS NOT NULL AND NOT EXISTS (SELECT 1 FROM snapshots WHERE diff_id = layer)");
  if (!forgotten && forgotten.error().code() != ErrorCode::no_space) return Failure(std::move(forgotten).error());
  return report;
}

void take_back(Store& store, const std::vector<Digest>& blobs, const std::vector<DiffId>& layers) {
  // Somebody else may have found these and be about to refer to them; then they stay for the next collection.
  auto lock = FileLock::try_acquire(lock_path(store.root()), FileLock::Mode::exclusive);
  if (!lock) return;
  auto keep = collect_references(store);
  if (!keep) return;
  if (!store.database()->sync()) return;
  for (const Digest& blob : blobs)
    if (!keep->blobs.contains(blob)) (void)store.content().remove(blob);
  std::vector<DiffId> unused;
  for (const DiffId& layer : layers)
    if (!keep->layers.contains(layer)) unused.push_back(layer);
  (void)SnapshotterAccess::remove_layers(store.snapshots(), unused);
}

}  // namespace dray::store
