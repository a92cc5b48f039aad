// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/stat.h>

#include <mutex>
#include <set>
#include <string>
#include <vector>

#include <dray/core/fd.hpp>
#include <dray/core/progress.hpp>
#include <dray/store/database.hpp>

#include "context/ignore.hpp"

// What COPY and ADD see of a build context or of another stage's root filesystem.

namespace dray::builder {

/// Where files are copied from. Paths in it are clean and absolute ("/src"); no symlink leads out of it.
struct SourceTree {
  FdRef root;
  bool is_context = true;  ///< beneath (the user's directory); otherwise resolved as in a container
  const IgnorePatterns* ignore = nullptr;

  Result<FileDescriptor> open(const std::string& path, int flags) const;
};

/// One file of a source, `path` relative to it ("" for itself).
struct TreeEntry {
  std::string path;
  struct stat status = {};
  std::string link_target;
};

/// One source of a COPY: a file or a directory with everything below it, sorted, parents first.
struct Source {
  std::string path;  ///< in the tree, as named
  std::vector<TreeEntry> entries;
  bool follow = true;  ///< named literally: a symlink is followed

  bool is_directory() const { return S_ISDIR(entries.front().status.st_mode); }
};

/// The sources a path with wildcards (filepath.Match) names, without what .dockerignore and `exclude` hide.
/// not_found for a literal path that is not there; nothing for a wildcard without match.
Result<std::vector<Source>> find_sources(const SourceTree& tree, const std::string& path,
                                         const IgnorePatterns& exclude, const CancelToken& cancel);

/// Digests of files' contents. Those of a context are remembered in the database for files that keep
/// device, inode, size, mtime and ctime. Thread-safe.
class ContentDigests {
 public:
  explicit ContentDigests(std::shared_ptr<store::Database> database) : database_(std::move(database)) {}
  /// One digest for the names, modes, link targets and contents of the source; times play no part. Owners
  /// count in a stage only.
  Result<std::string> of(const SourceTree& tree, const Source& source, const CancelToken& cancel);

 private:
  Result<std::string> of_file(const SourceTree& tree, const std::string& path, const struct stat& status,
                              const CancelToken& cancel, std::vector<std::string>& learnt);
  Result<void> remember(const std::vector<std::string>& learnt);
  std::shared_ptr<store::Database> database_;
  std::once_flag created_;
};

}  // namespace dray::builder
