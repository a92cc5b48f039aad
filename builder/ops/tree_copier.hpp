// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>

#include "ops/mode_change.hpp"
#include "ops/ops.hpp"

namespace dray::builder {

/// Copies what find_sources found into an open directory. Below it every step is one component without following
/// links, from a stack of open directories: a large tree costs no path lookups, and one that changes meanwhile leads
/// nowhere else.
class TreeCopier {
 public:
  /// `owner`: nullopt = as in the source.
  TreeCopier(ModeChange mode, const SourceTree& tree, std::optional<Owner> owner, const CancelToken& cancel)
      : mode_(std::move(mode)), tree_(tree), owner_(owner), cancel_(cancel) {}

  /// What the source directory holds, into the open directory, which gets the source's times.
  Result<void> copy_directory(const Source& source, FileDescriptor destination);
  /// One file that is no directory, as `name` in the open directory.
  Result<void> copy_file(const Source& source, FileDescriptor directory, const std::string& name);
  Result<void> set_owner_and_mode(FdRef fd, const FileStatus& status, const std::string& path);

 private:
  struct Level {
    FileDescriptor from, to;
    FileStatus status;
  };
  Result<void> set_metadata(FdRef from, FdRef to, const FileStatus& status, const std::string& path);
  Result<void> copy_xattrs(FdRef from, FdRef to, const std::string& path);
  Result<void> leave(std::size_t depth);
  Result<void> enter(const std::string& name, const TreeEntry& entry);
  Result<void> copy_entry(FdRef from, const std::string& from_name, FdRef to, const std::string& name,
                          const TreeEntry& entry, const std::string& path);
  Result<FileDescriptor> create_file(FdRef to, const std::string& name, mode_t mode, const std::string& path);
  Result<void> write_file(FdRef file, FdRef to, const std::string& name, const FileStatus& status,
                          const std::string& path);

  ModeChange mode_;
  const SourceTree& tree_;
  std::optional<Owner> owner_;
  const CancelToken& cancel_;
  std::vector<Level> levels_;
  FileDescriptor target_;
  std::map<std::pair<dev_t, ino_t>, std::string> links_;  ///< of this source: where each inode was put
};

}  // namespace dray::builder
