// SPDX-License-Identifier: Apache-2.0
// Images and build-cache records in the database, and the opening of everything below `root`.
#include <dray/store/store.hpp>

#include <dray/core/process.hpp>

namespace dray::store {
namespace {

constexpr std::int64_t kSchemaVersion = 1;

Result<void> create_tables(Database& db) {
  for (const char* sql :
       {"CREATE TABLE IF NOT EXISTS images(rowid INTEGER PRIMARY KEY, reference TEXT NOT NULL, manifest TEXT NOT NULL, media_type TEXT NOT NULL,"
        " image_id TEXT NOT NULL, created_at TEXT NOT NULL)",
        "CREATE UNIQUE INDEX IF NOT EXISTS images_reference ON images(reference) WHERE reference<>''",
        "CREATE UNIQUE INDEX IF NOT EXISTS images_untagged ON images(image_id) WHERE reference=''",
        "CREATE TABLE IF NOT EXISTS repo_digests(manifest TEXT NOT NULL, name TEXT NOT NULL, UNIQUE(manifest,name))",
        "CREATE TABLE IF NOT EXISTS build_cache(key TEXT PRIMARY KEY, diff_id TEXT, blob_media_type TEXT, blob_digest TEXT, blob_size INTEGER,"
        " description TEXT, created_at TEXT, last_used_at TEXT)"}) {
    TRY(db.execute(sql));
  }
  return {};
}

constexpr const char* kImageColumns = "SELECT reference,manifest,media_type,image_id,created_at FROM images ";

Result<ImageRecord> to_image(Database& db, const Row& row) {
  ImageRecord record;
  record.reference = row.text(0);
  record.manifest = TRY(Digest::parse(row.text(1)));
  record.media_type = row.text(2);
  record.image_id = TRY(Digest::parse(row.text(3)));
  record.created_at = row.text(4);
  for (const Row& name : TRY(db.query("SELECT name FROM repo_digests WHERE manifest=? ORDER BY name", {row.text(1)}))) record.repo_digests.push_back(name.text(0));
  return record;
}

Result<BuildCacheRecord> to_cache_record(const Row& row) {
  BuildCacheRecord record;
  record.key = row.text(0);
  if (!row.is_null(1)) record.layer = DiffId{TRY(Digest::parse(row.text(1)))};
  if (!row.is_null(3)) {
    image::Descriptor blob;
    blob.media_type = row.text(2);
    blob.digest = TRY(Digest::parse(row.text(3)));
    blob.size = static_cast<std::uint64_t>(row.integer(4));
    record.blob = std::move(blob);
  }
  record.description = row.text(5);
  record.created_at = row.text(6);
  record.last_used_at = row.text(7);
  return record;
}

constexpr const char* kCacheColumns =
    "SELECT key,diff_id,blob_media_type,blob_digest,blob_size,description,created_at,last_used_at FROM build_cache ";

}  // namespace

Result<std::shared_ptr<Store>> Store::open(const std::string& root) {
  TRY(make_directories(root, 0711));
  auto store = std::make_shared<Store>();
  store->root_ = root;
  store->database_ = TRY(Database::open(root + "/dray.db"));
  auto version = TRY(store->database_->query("PRAGMA user_version"));
  std::int64_t found = version.empty() ? 0 : version[0].integer(0);
  if (found > kSchemaVersion) return fail(ErrorCode::unsupported, "\"" + root + "\" was written by a newer version of dray");
  store->content_ = std::make_unique<ContentStore>(TRY(ContentStore::open(root + "/content")));
  store->snapshots_ = TRY(Snapshotter::open(root + "/snapshots", store->database_));
  if (found < kSchemaVersion) {
    TRY(create_tables(*store->database_));
    TRY(store->database_->execute("PRAGMA user_version=1"));
  }
  return store;
}

Result<Store::Lease> Store::lease() const { return FileLock::acquire(root_ + "/store.lock", FileLock::Mode::shared); }

Result<void> Store::put_image(const ImageRecord& record) {
  auto transaction = TRY(Database::begin(database_));
  std::string created = record.created_at.empty() ? format_time_now() : record.created_at;
  if (!record.reference.empty()) {
    auto old = TRY(database_->query("SELECT manifest,media_type,image_id,created_at FROM images WHERE reference=?", {record.reference}));
    TRY(database_->execute("DELETE FROM images WHERE reference=?", {record.reference}));
    // The image that loses its name stays, untagged, unless another name keeps it.
    if (!old.empty() && old[0].text(2) != record.image_id.to_string()) {
      TRY(database_->execute("INSERT OR IGNORE INTO images(reference,manifest,media_type,image_id,created_at) SELECT '',?,?,?,? WHERE NOT EXISTS"
                             "(SELECT 1 FROM images WHERE image_id=?)",
                             {old[0].text(0), old[0].text(1), old[0].text(2), old[0].text(3), old[0].text(2)}));
    }
    TRY(database_->execute("DELETE FROM images WHERE reference='' AND image_id=?", {record.image_id.to_string()}));
    TRY(database_->execute("INSERT INTO images(reference,manifest,media_type,image_id,created_at) VALUES(?,?,?,?,?)",
                           {record.reference, record.manifest.to_string(), record.media_type, record.image_id.to_string(), created}));
  } else {
    TRY(database_->execute("INSERT OR IGNORE INTO images(reference,manifest,media_type,image_id,created_at) SELECT '',?,?,?,? WHERE NOT EXISTS"
                           "(SELECT 1 FROM images WHERE image_id=?)",
                           {record.manifest.to_string(), record.media_type, record.image_id.to_string(), created, record.image_id.to_string()}));
  }
  for (const std::string& name : record.repo_digests)
    TRY(database_->execute("INSERT OR IGNORE INTO repo_digests(manifest,name) VALUES(?,?)", {record.manifest.to_string(), name}));
  TRY(transaction.commit());
  return database_->sync();
}

Result<std::optional<ImageRecord>> Store::find_image(const Reference& reference) {
  auto rows = TRY(database_->query(std::string(kImageColumns) + "WHERE reference=?", {reference.canonical()}));
  if (rows.empty() && reference.digest()) {
    // By manifest digest, or by the digest a registry knew it under (an index's).
    std::string name = reference.domain() + "/" + reference.repository() + "@" + reference.digest()->to_string();
    rows = TRY(database_->query(std::string(kImageColumns) + "WHERE manifest IN (SELECT manifest FROM repo_digests WHERE name=?) LIMIT 1", {name}));
  }
  if (rows.empty()) return std::optional<ImageRecord>();
  return std::optional<ImageRecord>(TRY(to_image(*database_, rows[0])));
}

Result<ImageRecord> Store::resolve_image(const std::string& name_or_id) {
  auto reference = Reference::parse(name_or_id);
  if (reference) {
    auto found = TRY(find_image(*reference));
    if (found) return std::move(*found);
  }
  std::string prefix = name_or_id.starts_with("sha256:") ? name_or_id.substr(7) : name_or_id;
  bool is_hex = !prefix.empty() && prefix.size() <= 64 && prefix.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (is_hex) {
    auto rows = TRY(database_->query(std::string(kImageColumns) + "WHERE substr(image_id,8,?)=? ORDER BY reference=''",
                                     {static_cast<std::int64_t>(prefix.size()), prefix}));
    for (const Row& row : rows) {
      if (row.text(3) != rows[0].text(3)) return fail(ErrorCode::invalid_argument, "image ID prefix \"" + name_or_id + "\" is ambiguous: give more digits");
    }
    if (!rows.empty()) return to_image(*database_, rows[0]);
  }
  if (!reference && !is_hex) return Failure(std::move(reference).error());
  return fail(ErrorCode::not_found, "No such image: " + (reference ? reference->familiar() : name_or_id));
}

Result<std::vector<ImageRecord>> Store::list_images() {
  std::vector<ImageRecord> records;
  for (const Row& row : TRY(database_->query(std::string(kImageColumns) + "ORDER BY rowid DESC"))) records.push_back(TRY(to_image(*database_, row)));
  return records;
}

Result<LoadedImage> Store::load_image(const ImageRecord& record) {
  LoadedImage loaded;
  loaded.record = record;
  loaded.manifest = TRY(image::parse_manifest(TRY(content_->read_blob(record.manifest))));
  loaded.config = TRY(image::parse_config(TRY(content_->read_blob(record.image_id))));
  for (const DiffId& layer : loaded.config.diff_ids) loaded.size += TRY(snapshots_->layer_size(layer));
  return loaded;
}

Result<void> Store::remove_image(const ImageRecord& record) {
  return database_->execute("DELETE FROM images WHERE reference=? AND image_id=?", {record.reference, record.image_id.to_string()});
}

Result<std::optional<BuildCacheRecord>> Store::find_build_cache(const std::string& key) {
  auto rows = TRY(database_->query(std::string(kCacheColumns) + "WHERE key=?", {key}));
  if (rows.empty()) return std::optional<BuildCacheRecord>();
  return std::optional<BuildCacheRecord>(TRY(to_cache_record(rows[0])));
}

Result<void> Store::put_build_cache(const BuildCacheRecord& record) {
  Value layer, type, digest, size;
  if (record.layer) layer = record.layer->digest.to_string();
  if (record.blob) {
    type = record.blob->media_type;
    digest = record.blob->digest.to_string();
    size = static_cast<std::int64_t>(record.blob->size);
  }
  return database_->execute("INSERT OR REPLACE INTO build_cache(key,diff_id,blob_media_type,blob_digest,blob_size,description,created_at,last_used_at) VALUES(?,?,?,?,?,?,?,?)",
                            {record.key, layer, type, digest, size, record.description, record.created_at.empty() ? format_time_now() : record.created_at,
                             record.last_used_at.empty() ? format_time_now() : record.last_used_at});
}

Result<std::vector<BuildCacheRecord>> Store::list_build_cache() {
  std::vector<BuildCacheRecord> records;
  for (const Row& row : TRY(database_->query(std::string(kCacheColumns) + "ORDER BY created_at"))) records.push_back(TRY(to_cache_record(row)));
  return records;
}

Result<void> Store::clear_build_cache() { return database_->execute("DELETE FROM build_cache"); }

}  // namespace dray::store
