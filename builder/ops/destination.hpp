// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "ops/ops.hpp"

namespace dray::builder {

/// Where COPY and ADD put things. A trailing slash or an existing directory means "into"; a symlink stands for what it
/// leads to in the root, whether that exists or not. Missing directories are made with `directory_mode` and the owner.
class Destination {
 public:
  Destination(FdRef root, std::string path, Owner owner, mode_t directory_mode)
      : root_(root), path_(std::move(path)), owner_(owner), directory_mode_(directory_mode) {}

  /// The destination itself as a directory, created if missing.
  Result<FileDescriptor> directory();
  /// The directory a file of that name is put into, and its name there.
  Result<FileDescriptor> parent(const std::string& source_name, std::string& name);
  /// The path without links, after directory().
  const std::string& resolved() const { return resolved_; }

 private:
  Result<void> look();
  Result<FileDescriptor> make(const std::string& path);

  FdRef root_;
  std::string path_;
  Owner owner_;
  mode_t directory_mode_;
  std::string resolved_;
  bool is_directory_ = false;  ///< it is one
  bool exists_ = false;
};

/// `path` with all symlinks replaced by what they lead to in `root`; names that don't exist stay as they are.
Result<std::string> resolve_links(FdRef root, const std::string& path);

}  // namespace dray::builder
