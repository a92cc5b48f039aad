// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/stat.h>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <dray/core/fd.hpp>
#include <dray/core/progress.hpp>
#include <dray/store/database.hpp>

#include "context/ignore.hpp"
#include "plan/plan.hpp"

// What COPY and ADD see of a build context or of another stage's root filesystem.

namespace dray::builder {

/// Where files are copied from. Paths in it are clean and absolute ("/src"), and its root is theirs: a symlink,
/// however hostile, leads to something in the tree or nowhere.
struct SourceTree {
  FdRef root;
  bool is_context = true;    ///< the user's directory: owners mean nothing; otherwise another stage's rootfs
  bool is_download = false;  ///< a file by http: ADD leaves an archive as it is, unless --unpack
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

  bool is_directory() const { return S_ISDIR(entries.front().status.st_mode); }
};

/// The sources a path with wildcards (filepath.Match) names, without what .dockerignore and `exclude` hide. A
/// source that is a symlink stands for what it leads to; links below a directory stay links. not_found for a
/// literal path that is not there; nothing for a wildcard without match.
Result<std::vector<Source>> find_sources(const SourceTree& tree, const std::string& path, const IgnorePatterns& exclude,
                                         const CancelToken& cancel);

/// COPY --parents: the directory before the pivot "/./" of `path` (the root, where it has none) with nothing but what
/// the rest names there, as a .dockerignore pattern ("**" is any path).
Result<std::vector<Source>> find_sources_with_parents(const SourceTree& tree, const std::string& path,
                                                      const std::vector<std::string>& exclude,
                                                      const CancelToken& cancel);

/// Whether the files are still the ones that were listed, by inode, size and times.
bool is_unchanged(const SourceTree& tree, const Source& source);

/// Digests of a context's files, remembered in the database from build to build for files that keep device,
/// inode, size, mtime and ctime. Not thread-safe.
class FileDigests {
 public:
  /// What is known about the context whose directory `root` is.
  static Result<FileDigests> load(std::shared_ptr<store::Database> database, FdRef root);
  /// Keeps what was learnt.
  Result<void> save();

  /// Hex; valid until the next learn().
  std::optional<std::string_view> find(const struct stat& status) const;
  void learn(const struct stat& status, std::string_view digest);
  std::uint64_t bytes_read() const { return bytes_read_; }

 private:
  struct Known {
    std::uint64_t inode = 0;
    std::int64_t device = 0, size = 0, modified = 0, changed = 0;
    std::array<char, 64> digest{};
    mutable bool used = false;  ///< in this build
  };
  FileDigests() = default;
  const Known* known(std::uint64_t inode) const;
  std::shared_ptr<store::Database> database_;
  std::int64_t device_ = 0, inode_ = 0;
  std::vector<Known> loaded_;              ///< by inode; a map of 20,000 files would cost more than the rest
  std::map<std::uint64_t, Known> learnt_;  ///< by inode; newer than what was loaded
  mutable std::size_t next_ = 0;           ///< in loaded_: a directory's files mostly have inodes in a row
  std::uint64_t bytes_read_ = 0;
};

/// One digest for the names, modes, link targets and contents of a source; times play no part. Owners count in a
/// stage only. `memory`: for a context; may be nullptr.
Result<std::string> digest_source(const SourceTree& tree, const Source& source, FileDigests* memory,
                                  const CancelToken& cancel);

/// What a COPY reads of one of its inputs: its paths' sources and their digests, in order.
struct CopyContent {
  std::vector<Source> sources;
  std::vector<std::string> digests;
  std::vector<std::size_t> counts;  ///< how many of the sources each path of this input has given
};
/// `input`: the index of `tree` among the vertex's inputs.
Result<CopyContent> read_copy_content(const SourceTree& tree, const CopyOp& op, int input, FileDigests* memory,
                                      const CancelToken& cancel);
/// The index of the input that holds the path.
int input_of_path(const CopyOp& op, std::size_t path);

/// The same for a bind mount's source: one path without wildcards.
Result<CopyContent> read_mount_content(const SourceTree& tree, const std::string& path, FileDigests* memory,
                                       const CancelToken& cancel);

}  // namespace dray::builder
