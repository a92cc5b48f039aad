// SPDX-License-Identifier: Apache-2.0
// The tables of the store. SQLite's user_version says which schema a database has; other parts create their
// own tables beside these with CREATE TABLE IF NOT EXISTS.
//
// snapshots: diff_id NULL = an active snapshot. `boot` is '' for a layer known to be on the disk; otherwise
// the boot ID of the system that wrote it without syncing: true as long as that boot lasts (kill -9 loses
// nothing the kernel has), worthless after a power failure. AUTOINCREMENT, so that the number of a removed
// directory is never given out again.
#include "schema.hpp"

namespace dray::store {
namespace {

constexpr std::int64_t kVersion = 2;

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
  last_used_at TEXT NOT NULL) WITHOUT ROWID;
PRAGMA user_version = 2;
)sql";

Result<std::int64_t> version_of(Database& db) {
  auto rows = TRY(db.query("PRAGMA user_version"));
  return rows.empty() ? 0 : rows.front().integer(0);
}

}  // namespace

Result<void> ensure_schema(const std::shared_ptr<Database>& db) {
  std::int64_t version = TRY(version_of(*db));
  if (version == kVersion) return {};
  if (version > kVersion)
    return fail(ErrorCode::unsupported, "the database was made by a newer version of dray (schema " +
                                            std::to_string(version) + ", known: " + std::to_string(kVersion) + ")");
  if (version != 0)
    return Failure(Error(ErrorCode::unsupported, "the database has schema " + std::to_string(version) +
                                                     " of an early development version of dray")
                       .with_hint("remove the store's directory and pull or build the images again"));
  auto transaction = TRY(Database::begin(db));
  if (TRY(version_of(*db)) == kVersion) return {};  // another process was first
  TRY_CTX(db->execute(kTables), "creating tables");
  return transaction.commit();
}

}  // namespace dray::store
