// SPDX-License-Identifier: Apache-2.0
// The façade: opening the store, leases, build-cache records.
#include <unistd.h>

#include <dray/core/process.hpp>

#include "schema.hpp"
#include "store_private.hpp"

namespace dray::store {

std::string lock_path(const std::string& root) { return root + "/store.lock"; }

Result<std::shared_ptr<Store>> Store::open(const std::string& root, std::optional<DriverWish> wish) {
  auto store = std::make_shared<Store>();
  store->root_ = root;
  if (::access(root.c_str(), F_OK) != 0) TRY(make_directories(root, 0711));
  auto content = TRY_CTX(ContentStore::open(root + "/content"), "opening the store");
  store->content_ = std::make_unique<ContentStore>(std::move(content));
  store->database_ = TRY_CTX(Database::open(root + "/dray.db"), "opening the store");
  store->snapshots_ =
      TRY_CTX(Snapshotter::open(root + "/snapshots", store->database_, std::move(wish)), "opening the store");
  return store;
}

Result<Store::Lease> Store::lease() const { return FileLock::acquire(lock_path(root_), FileLock::Mode::shared); }

bool Store::is_leased() const {
  const auto lock = FileLock::try_acquire(lock_path(root_), FileLock::Mode::exclusive);
  return !lock && lock.error().code() == ErrorCode::in_use;
}

namespace {

constexpr const char* kCacheColumns =
    "key, layer, blob_digest, blob_size, blob_media_type, description, created_at, last_used_at, uses";

Result<BuildCacheRecord> cache_record(const Row& row) {
  BuildCacheRecord record;
  record.key = row.text(0);
  if (!row.is_null(1)) record.layer = DiffId{TRY(Digest::parse(row.text(1)))};
  if (!row.is_null(2)) {
    image::Descriptor blob;
    blob.digest = TRY(Digest::parse(row.text(2)));
    blob.size = static_cast<std::uint64_t>(row.integer(3));
    blob.media_type = row.text(4);
    record.blob = std::move(blob);
  }
  record.description = row.text(5);
  record.created_at = row.text(6);
  record.last_used_at = row.text(7);
  record.uses = row.integer(8);
  return record;
}

}  // namespace

Result<std::optional<BuildCacheRecord>> Store::find_build_cache(const std::string& key) {
  static const std::string query = std::string("SELECT ") + kCacheColumns + " FROM build_cache WHERE key = ?";
  auto rows = TRY(database_->query(query, {key}));
  if (rows.empty()) return std::optional<BuildCacheRecord>();
  BuildCacheRecord record = TRY(cache_record(rows.front()));
  // Removed by hand, or lost with the power: then the step is to be run again.
  if (record.layer && !snapshots_->contains(*record.layer)) return std::optional<BuildCacheRecord>();
  if (record.blob && !content_->contains(record.blob->digest)) record.blob.reset();
  record.last_used_at = format_time_now();
  // A full disk must not keep anybody from using the cache.
  (void)database_->execute("UPDATE build_cache SET last_used_at = ?, uses = uses + 1 WHERE key = ?",
                           {record.last_used_at, key});
  return std::optional<BuildCacheRecord>(std::move(record));
}

Result<void> Store::put_build_cache(const BuildCacheRecord& record) {
  Value layer, blob;
  std::int64_t size = 0;
  std::string media_type;
  if (record.layer) layer = record.layer->digest.to_string();
  if (record.blob) {
    blob = record.blob->digest.to_string();
    size = static_cast<std::int64_t>(record.blob->size);
    media_type = record.blob->media_type;
  }
  const std::string now = format_time_now();
  return database_->execute(
      "INSERT INTO build_cache(key, layer, blob_digest, blob_size, blob_media_type, description, created_at, "
      "last_used_at) VALUES(?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(key) DO UPDATE SET layer = excluded.layer, "
      "blob_digest = excluded.blob_digest, blob_size = excluded.blob_size, blob_media_type = excluded.blob_media_type, "
      "description = excluded.description, created_at = excluded.created_at, last_used_at = excluded.last_used_at, "
      "uses = uses + 1",
      {record.key, layer, blob, size, media_type, record.description,
       record.created_at.empty() ? now : record.created_at, record.last_used_at.empty() ? now : record.last_used_at});
}

Result<std::vector<BuildCacheRecord>> Store::list_build_cache() {
  std::vector<BuildCacheRecord> records;
  static const std::string query =
      std::string("SELECT ") + kCacheColumns + " FROM build_cache ORDER BY last_used_at DESC, key";
  for (const Row& row : TRY(database_->query(query))) records.push_back(TRY(cache_record(row)));
  return records;
}

Result<void> Store::clear_build_cache() { return database_->execute("DELETE FROM build_cache"); }

}  // namespace dray::store
