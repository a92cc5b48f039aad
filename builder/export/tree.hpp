// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <set>

#include <dray/core/progress.hpp>
#include <dray/core/tar.hpp>

namespace dray::builder {

/// Everything below `root`, directories before what is in them, names sorted; `file` is open for a regular file.
/// Sockets are left out.
using VisitEntry = std::function<Result<void>(tar::Entry& entry, FdRef file)>;
Result<void> walk_tree(FdRef root, const VisitEntry& visit, const CancelToken& cancel);

/// Puts entries below a directory of the user's. What is there under the same name is replaced; a symbolic link there
/// is never followed, so nothing is written outside. Files are ours, as with BuildKit; modes, times, xattrs are the
/// entry's, but what the owner was trusted with (setuid, setgid, file capabilities) goes with the owner. Devices are
/// left out: they would be the host's.
class TreeWriter {
 public:
  explicit TreeWriter(FdRef root) : root_(root) {}
  /// `entry.path` is relative; its directory was placed before, or is made. `content`: of a regular file.
  Result<void> place(const tar::Entry& entry, FdRef file, const CancelToken& cancel);
  /// Removes what was not placed.
  Result<void> remove_others();
  /// Directories get their times.
  Result<void> finish();
  /// Paths of the devices that were left out, and of links to them.
  const std::set<std::string>& skipped() const { return skipped_; }

 private:
  Result<FdRef> parent(const std::string& directory);
  Result<void> make_directory(FdRef parent, const std::string& name);
  Result<void> remove_others_in(const std::string& directory);
  Result<void> set_attributes(const tar::Entry& entry, FdRef fd);

  FdRef root_;
  FileDescriptor parent_;
  std::string parent_path_ = "\n";  ///< none
  std::set<std::string> placed_, skipped_;
  std::vector<std::pair<std::string, tar::Entry>> directories_;
};

}  // namespace dray::builder
