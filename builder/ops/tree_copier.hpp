// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <optional>
#include <utility>
#include <vector>

#include "ops/mode_change.hpp"
#include "ops/ops.hpp"

namespace dray::builder {

/// Copies what find_sources found into an open directory; for one source. Below it no link is followed, so that a tree
/// that changes meanwhile leads nowhere else. Of a large tree the directories are made first, then the files by several
/// threads.
class TreeCopier {
 public:
  /// `owner`: nullopt = as in the source.
  TreeCopier(ModeChange mode, const SourceTree& tree, std::optional<Owner> owner, const CancelToken& cancel)
      : mode_(std::move(mode)), tree_(tree), owner_(owner), cancel_(cancel) {}

  /// What the source directory holds, into the open directory, which gets the source's times.
  Result<void> copy_directory(const Source& source, FileDescriptor destination);
  /// One file that is no directory, as `name` in the open directory.
  Result<void> copy_file(const Source& source, FileDescriptor directory, const std::string& name);
  Result<void> set_owner_and_mode(FdRef fd, const FileStatus& status, const std::string& path) const;

 private:
  struct Level {
    FileDescriptor from, to;
    std::optional<std::size_t> batch;  ///< the last of this directory's
  };
  /// Files of one directory, copied by one thread.
  struct Batch {
    std::string directory;
    std::vector<const TreeEntry*> entries;
  };
  Result<void> make_directories(const Source& source);
  Result<Level> enter(const Level& above, const std::string& name, const TreeEntry& entry) const;
  /// Ends early, without an error, once another one has `failed`.
  Result<void> copy_batch(const Batch& batch, const std::atomic<bool>& failed) const;
  Result<void> link(const TreeEntry& entry, const TreeEntry& first) const;
  Result<void> set_metadata(FdRef from, FdRef to, const FileStatus& status, const std::string& path) const;
  Result<void> copy_xattrs(FdRef from, FdRef to, const std::string& path) const;
  Result<void> copy_entry(FdRef from, const std::string& from_name, FdRef to, const std::string& name,
                          const TreeEntry& entry, const std::string& path) const;
  Result<FileDescriptor> create_file(FdRef to, const std::string& name, mode_t mode, const std::string& path) const;
  Result<void> write_file(FdRef file, FdRef to, const std::string& name, const FileStatus& status,
                          const std::string& path) const;

  ModeChange mode_;
  const SourceTree& tree_;
  std::optional<Owner> owner_;
  const CancelToken& cancel_;
  FileDescriptor source_, target_;
  std::vector<const TreeEntry*> directories_;
  std::vector<Batch> batches_;
  std::vector<std::pair<const TreeEntry*, const TreeEntry*>> other_names_;  ///< each with the file's first one
};

}  // namespace dray::builder
