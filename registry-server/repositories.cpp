// SPDX-License-Identifier: Apache-2.0
#include "repositories.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ctime>
#include <set>

namespace dray::registry_server {
namespace {

constexpr std::string_view kAlgorithms[] = {"sha256", "sha512"};
constexpr std::int64_t kSchema = 1;
constexpr const char* kTables = R"(
CREATE TABLE IF NOT EXISTS blobs(repository TEXT NOT NULL, digest TEXT NOT NULL, added INTEGER NOT NULL,
  PRIMARY KEY(repository, digest)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS blobs_by_digest ON blobs(digest);
CREATE TABLE IF NOT EXISTS manifests(repository TEXT NOT NULL, digest TEXT NOT NULL, media_type TEXT NOT NULL,
  size INTEGER NOT NULL, subject TEXT NOT NULL, artifact_type TEXT NOT NULL, annotations TEXT NOT NULL,
  PRIMARY KEY(repository, digest)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS manifests_by_digest ON manifests(digest);
CREATE INDEX IF NOT EXISTS manifests_by_subject ON manifests(repository, subject);
CREATE TABLE IF NOT EXISTS contents(repository TEXT NOT NULL, manifest TEXT NOT NULL, digest TEXT NOT NULL,
  PRIMARY KEY(repository, manifest, digest)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS contents_by_digest ON contents(repository, digest);
CREATE TABLE IF NOT EXISTS tags(repository TEXT NOT NULL, tag TEXT NOT NULL, digest TEXT NOT NULL,
  PRIMARY KEY(repository, tag)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tags_by_digest ON tags(repository, digest);
)";

Failure unknown(const std::string& what) { return fail(ErrorCode::not_found, what); }

std::vector<std::string> first_column(const std::vector<store::Row>& rows) {
  std::vector<std::string> texts;
  texts.reserve(rows.size());
  for (const store::Row& row : rows) texts.push_back(row.text(0));
  return texts;
}

}  // namespace

class Repositories::Pin {
 public:
  Pin(Repositories& owner, const Digest& digest) : owner_(owner), digest_(digest) {
    const std::lock_guard lock(owner_.mutex_);
    ++owner_.pinned_[digest_];
  }
  Pin(const Pin&) = delete;
  ~Pin() {
    const std::lock_guard lock(owner_.mutex_);
    if (--owner_.pinned_[digest_] > 0) return;
    owner_.pinned_.erase(digest_);
    // The row was not written, or removed meanwhile. A failure leaves bytes that the next open() removes.
    (void)owner_.drop_bytes_without_rows(digest_);
  }

 private:
  Repositories& owner_;
  const Digest digest_;
};

Result<std::unique_ptr<Repositories>> Repositories::open(const std::string& directory) {
  TRY(make_directories(directory, 0700));
  auto lock = FileLock::try_acquire(directory + "/lock", FileLock::Mode::exclusive);
  if (!lock) {
    if (lock.error().code() != ErrorCode::in_use) return Failure(std::move(lock).error());
    return Failure(Error(ErrorCode::in_use, "another registry is using \"" + directory + "\"")
                       .with_hint("stop it, or choose another folder with --storage"));
  }
  std::unique_ptr<Repositories> opened(
      new Repositories(directory, TRY(store::ContentStore::open(directory + "/content"))));
  opened->lock_ = *std::move(lock);
  opened->database_ = TRY(store::Database::open(directory + "/registry.db"));
  const auto version = TRY(opened->database_->query("PRAGMA user_version"));
  if (version.at(0).integer(0) > kSchema)
    return fail(ErrorCode::unsupported, "\"" + directory + "\" was written by a newer version of Dray");
  TRY(opened->database_->execute(kTables));
  TRY(opened->database_->execute("PRAGMA user_version = " + std::to_string(kSchema)));
  TRY(opened->reconcile());
  return opened;
}

// After a kill or a power failure: unfinished uploads, bytes without a row, rows without their bytes.
Result<void> Repositories::reconcile() {
  FileDescriptor content = TRY(open_file(content_.directory(), O_RDONLY | O_DIRECTORY));
  TRY(remove_tree(content, "ingest"));
  TRY(make_directories(content_.directory() + "/ingest", 0700));

  std::set<std::string> rows;
  for (const store::Row& row : TRY(database_->query("SELECT digest FROM blobs UNION SELECT digest FROM manifests")))
    rows.insert(row.text(0));
  for (const Digest& digest : TRY(content_.list()))
    if (rows.erase(digest.to_string()) == 0) TRY(content_.remove(digest));
  for (const std::string& digest : rows) {
    auto transaction = TRY(store::Database::begin(database_));
    TRY(database_->execute("DELETE FROM blobs WHERE digest = ?", {digest}));
    TRY(database_->execute("DELETE FROM tags WHERE digest = ?", {digest}));
    TRY(database_->execute("DELETE FROM contents WHERE manifest = ?", {digest}));
    TRY(database_->execute("DELETE FROM manifests WHERE digest = ?", {digest}));
    TRY(transaction.commit());
  }
  return {};
}

/// Caller holds mutex_. Returns the bytes freed.
Result<std::uint64_t> Repositories::drop_bytes_without_rows(const Digest& digest) {
  if (pinned_.contains(digest)) return std::uint64_t{0};
  const std::string& text = digest.to_string();
  if (!TRY(database_->query("SELECT 1 FROM blobs WHERE digest = ? LIMIT 1", {text})).empty()) return std::uint64_t{0};
  if (!TRY(database_->query("SELECT 1 FROM manifests WHERE digest = ? LIMIT 1", {text})).empty())
    return std::uint64_t{0};
  const auto size = content_.size(digest);
  TRY(content_.remove(digest));
  return size ? *size : 0;
}

bool Repositories::has_blob(const std::string& repository, const Digest& digest) {
  const auto rows =
      database_->query("SELECT 1 FROM blobs WHERE repository = ? AND digest = ?", {repository, digest.to_string()});
  return rows && !rows->empty();
}

Result<FileDescriptor> Repositories::open_blob(const std::string& repository, const Digest& digest) {
  if (!has_blob(repository, digest)) return unknown("blob " + digest.to_string() + " is not in " + repository);
  return content_.open_blob(digest);
}

Result<void> Repositories::finish_blob(const std::string& repository, const Digest& digest, store::BlobWriter& writer) {
  const Pin pin(*this, digest);
  // A push heals what a broken disk has cut short: the writer leaves alone what has the name already.
  const auto stored = content_.size(digest);
  if (stored && *stored != writer.size()) TRY(content_.remove(digest));
  TRY(writer.commit(digest));
  const std::lock_guard lock(mutex_);
  return database_->execute("INSERT INTO blobs VALUES(?, ?, ?) ON CONFLICT DO UPDATE SET added = excluded.added",
                            {repository, digest.to_string(), static_cast<std::int64_t>(std::time(nullptr))});
}

Result<bool> Repositories::mount_blob(const std::string& repository, const Digest& digest, const std::string* from) {
  const std::lock_guard lock(mutex_);
  const std::string& text = digest.to_string();
  const auto rows =
      from != nullptr ? TRY(database_->query("SELECT 1 FROM blobs WHERE digest = ? AND repository = ?", {text, *from}))
                      : TRY(database_->query("SELECT 1 FROM blobs WHERE digest = ? LIMIT 1", {text}));
  if (rows.empty()) return false;
  TRY(database_->execute("INSERT INTO blobs VALUES(?, ?, ?) ON CONFLICT DO UPDATE SET added = excluded.added",
                         {repository, text, static_cast<std::int64_t>(std::time(nullptr))}));
  return true;
}

Result<void> Repositories::remove_blob(const std::string& repository, const Digest& digest) {
  const std::lock_guard lock(mutex_);
  TRY(database_->execute("DELETE FROM blobs WHERE repository = ? AND digest = ?", {repository, digest.to_string()}));
  if (database_->changes() == 0) return unknown("blob " + digest.to_string() + " is not in " + repository);
  TRY(drop_bytes_without_rows(digest));
  return {};
}

Result<Digest> Repositories::tag(const std::string& repository, const std::string& tag) {
  const auto rows =
      TRY(database_->query("SELECT digest FROM tags WHERE repository = ? AND tag = ?", {repository, tag}));
  if (rows.empty()) return unknown("no tag " + tag + " in " + repository);
  return Digest::parse(rows[0].text(0));
}

Result<StoredManifest> Repositories::manifest(const std::string& repository, const std::string& reference) {
  StoredManifest found;
  const auto digest = Digest::parse(reference);
  found.digest = digest ? *digest : TRY(tag(repository, reference));
  const auto rows = TRY(database_->query("SELECT media_type FROM manifests WHERE repository = ? AND digest = ?",
                                         {repository, found.digest.to_string()}));
  if (rows.empty()) return unknown("manifest " + reference + " is not in " + repository);
  found.media_type = rows[0].text(0);
  found.bytes = TRY(content_.read_blob(found.digest));
  return found;
}

Result<void> Repositories::put_manifest(const std::string& repository, const StoredManifest& manifest,
                                        const ManifestFacts& facts, const std::vector<std::string>& tags) {
  const Pin pin(*this, manifest.digest);
  const std::string& digest = manifest.digest.to_string();
  const auto stored = content_.read_blob(manifest.digest);
  if (!stored && stored.error().code() == ErrorCode::corrupt) TRY(content_.remove(manifest.digest));
  store::BlobWriter writer = TRY(content_.begin_write(manifest.digest.algorithm()));
  TRY(writer.write(std::as_bytes(std::span(manifest.bytes))));
  TRY(writer.commit(manifest.digest));
  // The blobs' bytes are on the disk since they were pushed, their names since now.
  for (const std::string_view algorithm : kAlgorithms) {
    const std::string folder = content_.directory() + "/blobs/" + std::string(algorithm);
    auto opened = open_file(folder, O_RDONLY | O_DIRECTORY);
    if (opened && ::fsync(opened->get()) != 0) return fail_errno("syncing \"" + folder + "\"");
  }

  const std::lock_guard lock(mutex_);
  auto transaction = TRY(store::Database::begin(database_));
  TRY(database_->execute("INSERT OR REPLACE INTO manifests VALUES(?, ?, ?, ?, ?, ?, ?)",
                         {repository, digest, facts.media_type, static_cast<std::int64_t>(manifest.bytes.size()),
                          facts.subject ? facts.subject->to_string() : "", facts.artifact_type, facts.annotations}));
  for (const auto* list : {&facts.blobs, &facts.manifests})
    for (const Digest& part : *list)
      TRY(database_->execute("INSERT OR IGNORE INTO contents VALUES(?, ?, ?)", {repository, digest, part.to_string()}));
  for (const std::string& tag : tags)
    TRY(database_->execute("INSERT OR REPLACE INTO tags VALUES(?, ?, ?)", {repository, tag, digest}));
  TRY(transaction.commit());
  return database_->sync();
}

Result<std::optional<Digest>> Repositories::missing(const std::string& repository, const ManifestFacts& facts) {
  for (const Digest& digest : facts.blobs)
    if (!has_blob(repository, digest)) return std::optional(digest);
  for (const Digest& digest : facts.manifests) {
    const auto rows = TRY(database_->query("SELECT 1 FROM manifests WHERE repository = ? AND digest = ?",
                                           {repository, digest.to_string()}));
    if (rows.empty() && !has_blob(repository, digest)) return std::optional(digest);
  }
  return std::optional<Digest>();
}

Result<void> Repositories::remove_manifest(const std::string& repository, const Digest& digest) {
  const std::lock_guard lock(mutex_);
  const std::string& text = digest.to_string();
  {
    auto transaction = TRY(store::Database::begin(database_));
    TRY(database_->execute("DELETE FROM manifests WHERE repository = ? AND digest = ?", {repository, text}));
    if (database_->changes() == 0) return unknown("manifest " + text + " is not in " + repository);
    TRY(database_->execute("DELETE FROM tags WHERE repository = ? AND digest = ?", {repository, text}));
    TRY(database_->execute("DELETE FROM contents WHERE repository = ? AND manifest = ?", {repository, text}));
    TRY(transaction.commit());
  }
  TRY(drop_bytes_without_rows(digest));
  return database_->sync();
}

Result<void> Repositories::remove_tag(const std::string& repository, const std::string& tag) {
  const std::lock_guard lock(mutex_);
  TRY(database_->execute("DELETE FROM tags WHERE repository = ? AND tag = ?", {repository, tag}));
  if (database_->changes() == 0) return unknown("no tag " + tag + " in " + repository);
  return database_->sync();
}

bool Repositories::exists(const std::string& repository) {
  for (const char* query :
       {"SELECT 1 FROM manifests WHERE repository = ? LIMIT 1", "SELECT 1 FROM blobs WHERE repository = ? LIMIT 1"}) {
    const auto rows = database_->query(query, {repository});
    if (rows && !rows->empty()) return true;
  }
  return false;
}

Result<std::vector<std::string>> Repositories::tags(const std::string& repository, const std::string& after,
                                                    std::size_t count) {
  return first_column(TRY(database_->query("SELECT tag FROM tags WHERE repository = ? AND tag > ? ORDER BY tag LIMIT ?",
                                           {repository, after, static_cast<std::int64_t>(count)})));
}

Result<std::vector<std::string>> Repositories::catalog(const std::string& after, std::size_t count) {
  return first_column(
      TRY(database_->query("SELECT DISTINCT repository FROM manifests WHERE repository > ? ORDER BY repository LIMIT ?",
                           {after, static_cast<std::int64_t>(count)})));
}

Result<std::vector<Referrer>> Repositories::referrers(const std::string& repository, const Digest& subject,
                                                      const std::string* type, const std::string& after,
                                                      std::size_t count) {
  const auto rows = TRY(database_->query(
      "SELECT media_type, digest, artifact_type, annotations, size FROM manifests WHERE repository = ? AND subject = ? "
      "AND digest > ? AND (? OR artifact_type = ?) ORDER BY digest LIMIT ?",
      {repository, subject.to_string(), after, std::int64_t{type == nullptr}, type != nullptr ? *type : "",
       static_cast<std::int64_t>(count)}));
  std::vector<Referrer> referrers;
  for (const store::Row& row : rows)
    referrers.push_back(
        {row.text(0), row.text(1), row.text(2), row.text(3), static_cast<std::uint64_t>(row.integer(4))});
  return referrers;
}

Result<Repositories::Collected> Repositories::collect_garbage(std::int64_t older_than_seconds) {
  const std::lock_guard lock(mutex_);
  const std::int64_t before = static_cast<std::int64_t>(std::time(nullptr)) - older_than_seconds;
  Collected collected;
  std::set<Digest> digests;
  const auto rows =
      TRY(database_->query("SELECT repository, digest FROM blobs b WHERE added <= ? AND NOT EXISTS "
                           "(SELECT 1 FROM contents c WHERE c.repository = b.repository AND c.digest = b.digest)",
                           {before}));
  for (const store::Row& row : rows) {
    TRY(database_->execute("DELETE FROM blobs WHERE repository = ? AND digest = ?", {row.text(0), row.text(1)}));
    digests.insert(TRY(Digest::parse(row.text(1))));
  }
  for (const Digest& digest : digests) {
    const std::uint64_t freed = TRY(drop_bytes_without_rows(digest));
    collected.bytes += freed;
    if (!content_.contains(digest)) ++collected.blobs;
  }
  TRY(database_->sync());
  return collected;
}

}  // namespace dray::registry_server
