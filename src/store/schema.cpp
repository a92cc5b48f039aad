// SPDX-License-Identifier: Apache-2.0
// The tables of the store. SQLite's user_version says which schema a database has; other parts create their
// own tables beside these with CREATE TABLE IF NOT EXISTS.
//
// It also says which storage driver the store has, since it is written in the transaction that creates the tables: no
// store can be half of one and half of the other, and a version of dray that knows no vfs refuses to open one.
//
// snapshots: diff_id NULL = an active snapshot. `boot` is '' for a layer known to be on the disk; otherwise
// the boot ID of the system that wrote it without syncing: true as long as that boot lasts (kill -9 loses
// nothing the kernel has), worthless after a power failure. AUTOINCREMENT, so that the number of a removed
// directory is never given out again.
//
// merged_stacks (vfs): directories that show several layers; `layers` has their numbers, each between two spaces.
#include "schema.hpp"

namespace dray::store {
namespace {

constexpr std::int64_t kOverlayVersion = 4;
constexpr std::int64_t kVfsVersion = 5;
/// Those before, by driver: build_cache had no `uses`.
constexpr std::int64_t kOldOverlayVersion = 2;
constexpr std::int64_t kOldVfsVersion = 3;

constexpr const char* kTables = R"sql(
CREATE TABLE snapshots(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  diff_id TEXT UNIQUE,
  parents TEXT NOT NULL DEFAULT '',
  size INTEGER NOT NULL DEFAULT 0,
  flags INTEGER NOT NULL DEFAULT 0,
  boot TEXT NOT NULL DEFAULT '');
CREATE TABLE images(
  id INTEGER PRIMARY KEY,
  reference TEXT NOT NULL,
  manifest TEXT NOT NULL,
  media_type TEXT NOT NULL,
  image_id TEXT NOT NULL,
  created_at TEXT NOT NULL,
  repo_digests TEXT NOT NULL DEFAULT '');
CREATE UNIQUE INDEX images_by_reference ON images(reference) WHERE reference <> '';
CREATE UNIQUE INDEX images_untagged ON images(manifest) WHERE reference = '';
CREATE INDEX images_by_id ON images(image_id);
CREATE TABLE build_cache(
  key TEXT PRIMARY KEY,
  layer TEXT,
  blob_digest TEXT,
  blob_size INTEGER NOT NULL DEFAULT 0,
  blob_media_type TEXT NOT NULL DEFAULT '',
  description TEXT NOT NULL DEFAULT '',
  created_at TEXT NOT NULL,
  last_used_at TEXT NOT NULL,
  uses INTEGER NOT NULL DEFAULT 1) WITHOUT ROWID;
)sql";
constexpr const char* kOverlayTables = "PRAGMA user_version = 4";
constexpr const char* kVfsTables = R"sql(
CREATE TABLE merged_stacks(
  name TEXT PRIMARY KEY,
  layers TEXT NOT NULL,
  boot TEXT NOT NULL) WITHOUT ROWID;
PRAGMA user_version = 5;
)sql";

Result<std::int64_t> version_of(Database& db) {
  auto rows = TRY(db.query("PRAGMA user_version"));
  return rows.empty() ? 0 : rows.front().integer(0);
}

StorageDriver driver_of(std::int64_t version) {
  return version == kVfsVersion ? StorageDriver::vfs : StorageDriver::overlay;
}

/// All of it or, if this process is killed, nothing: the column and the version are of one transaction.
Result<std::int64_t> upgrade(const std::shared_ptr<Database>& db) {
  auto transaction = TRY(Database::begin(db));
  const std::int64_t version = TRY(version_of(*db));
  if (version != kOldOverlayVersion && version != kOldVfsVersion) return version;  // another process was first
  TRY_CTX(db->execute("ALTER TABLE build_cache ADD COLUMN uses INTEGER NOT NULL DEFAULT 1"), "upgrading the database");
  TRY(db->execute(version == kOldVfsVersion ? "PRAGMA user_version = 5" : "PRAGMA user_version = 4"));
  TRY(transaction.commit());
  return version_of(*db);
}

}  // namespace

Result<StorageDriver> ensure_schema(const std::shared_ptr<Database>& db,
                                    const std::function<Result<StorageDriver>()>& choose) {
  std::int64_t version = TRY(version_of(*db));
  if (version == kOldOverlayVersion || version == kOldVfsVersion) version = TRY(upgrade(db));
  if (version == kOverlayVersion || version == kVfsVersion) return driver_of(version);
  if (version > kVfsVersion)
    return Failure(Error(ErrorCode::unsupported, "the database was made by a newer version of dray (schema " +
                                                     std::to_string(version) +
                                                     ", known: " + std::to_string(kVfsVersion) + ")")
                       .with_hint("use that version or a newer one, or choose another folder with --root"));
  if (version != 0)
    return Failure(Error(ErrorCode::unsupported, "the database has schema " + std::to_string(version) +
                                                     " of an early development version of dray")
                       .with_hint("remove the store's directory and pull or build the images again"));
  const StorageDriver driver = TRY(choose());
  auto transaction = TRY(Database::begin(db));
  version = TRY(version_of(*db));
  if (version != 0) return driver_of(version);  // another process was first
  TRY_CTX(db->execute(kTables), "creating tables");
  TRY_CTX(db->execute(driver == StorageDriver::vfs ? kVfsTables : kOverlayTables), "creating tables");
  TRY(transaction.commit());
  return driver;
}

}  // namespace dray::store
