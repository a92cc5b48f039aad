// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <dray/core/digest.hpp>
#include <dray/core/fd.hpp>
#include <dray/core/result.hpp>
#include <dray/store/content_store.hpp>
#include <dray/store/database.hpp>

#include "documents_json.hpp"

namespace dray::registry_server {

struct StoredManifest {
  std::string bytes, media_type;
  Digest digest;
};

/// Everything under --storage: bytes in an OCI content store, and in SQLite which repository has which of them. A blob
/// is there for a repository that has a row for it. Thread-safe; one process (a lock on the folder).
/// A row is only written when its bytes are in place, and bytes are only removed when no row is left; what a killed
/// process left between the two is cleared by open().
class Repositories {
 public:
  static Result<std::unique_ptr<Repositories>> open(const std::string& directory);

  const std::string& directory() const { return directory_; }

  /// not_found where the repository hasn't got it.
  Result<FileDescriptor> open_blob(const std::string& repository, const Digest& digest);
  bool has_blob(const std::string& repository, const Digest& digest);
  Result<store::BlobWriter> begin_blob(const std::string& algorithm) { return content_.begin_write(algorithm); }
  /// Verifies, syncs and records. corrupt where the bytes have another digest.
  Result<void> finish_blob(const std::string& repository, const Digest& digest, store::BlobWriter& writer);
  /// False where no repository (or not `from`, if given) has the blob.
  Result<bool> mount_blob(const std::string& repository, const Digest& digest, const std::string* from);
  Result<void> remove_blob(const std::string& repository, const Digest& digest);

  /// `reference` is a digest or a tag.
  Result<StoredManifest> manifest(const std::string& repository, const std::string& reference);
  Result<Digest> tag(const std::string& repository, const std::string& tag);
  /// Durable when it returns: bytes, names and rows. `tags` then point to it.
  Result<void> put_manifest(const std::string& repository, const StoredManifest& manifest, const ManifestFacts& facts,
                            const std::vector<std::string>& tags);
  /// The first of the manifest's blobs and manifests that the repository hasn't got.
  Result<std::optional<Digest>> missing(const std::string& repository, const ManifestFacts& facts);
  Result<void> remove_manifest(const std::string& repository, const Digest& digest);
  Result<void> remove_tag(const std::string& repository, const std::string& tag);

  bool exists(const std::string& repository);
  /// Sorted, those after `after`, at most `count`.
  Result<std::vector<std::string>> tags(const std::string& repository, const std::string& after, std::size_t count);
  Result<std::vector<std::string>> catalog(const std::string& after, std::size_t count);
  Result<std::vector<Referrer>> referrers(const std::string& repository, const Digest& subject, const std::string* type,
                                          const std::string& after, std::size_t count);

  struct Collected {
    std::uint64_t blobs = 0, bytes = 0;
  };
  /// Removes blobs that no manifest of their repository has named for `older_than_seconds`.
  Result<Collected> collect_garbage(std::int64_t older_than_seconds);

 private:
  Repositories(std::string directory, store::ContentStore content)
      : directory_(std::move(directory)), content_(std::move(content)) {}
  /// While it lives, the digest's bytes are not removed: between their commit and their row.
  class Pin;
  Result<void> reconcile();
  Result<std::uint64_t> drop_bytes_without_rows(const Digest& digest);

  const std::string directory_;
  FileLock lock_;
  store::ContentStore content_;
  std::shared_ptr<store::Database> database_;
  std::mutex mutex_;  ///< rows and bytes change together
  std::map<Digest, int> pinned_;
};

}  // namespace dray::registry_server
