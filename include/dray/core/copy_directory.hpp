// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/stat.h>

#include <functional>
#include <map>
#include <string>
#include <utility>

#include <dray/core/fd.hpp>
#include <dray/core/progress.hpp>
#include <dray/core/result.hpp>

namespace dray {

/// What copying a tree leaves out: true for a path ("a/b") that is to be skipped with all that is below it.
using SkipPath = std::function<bool(const std::string& path)>;

/// Copies what is in directory `source` into directory `target`: ownership, modes, times, links and xattrs; holes stay
/// holes. One path component at a time by descriptors: hostile symlinks are copied, never followed.
Result<void> copy_directory(FdRef source, FdRef target, const SkipPath& skip = {},
                            const CancelToken& cancel = kNeverCancelled);

/// Owner, mode, xattrs and times of an open file or directory, `status` being the source's.
Result<void> copy_attributes(FdRef source, FdRef target, const struct stat& status);

/// Puts single entries of one or more trees into a target tree. Names of one file become names of one file.
class EntryCopier {
 public:
  /// copy: a file of its own (its blocks shared where the file system can). link: another name of the same file where
  /// the file system can, for trees that nobody writes to; else a copy.
  enum class Files { copy, link };
  EntryCopier(FdRef target_root, Files files, const CancelToken& cancel = kNeverCancelled)
      : target_root_(target_root), files_(files), cancel_(cancel) {}

  /// Anything but a directory: `name` in `source`, whose status is `status`, gets the same name in the directory
  /// `target`, which is `path` beneath the target's root.
  Result<void> add(FdRef source, const std::string& name, const struct stat& status, FdRef target,
                   const std::string& path);

 private:
  FdRef target_root_;
  Files files_;
  const CancelToken& cancel_;
  std::map<std::pair<dev_t, ino_t>, std::string> links_;  ///< first place of a file with several names
};

}  // namespace dray
