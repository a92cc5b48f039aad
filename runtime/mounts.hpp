// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <dray/core/fd.hpp>
#include <dray/runtime/spec.hpp>

namespace dray::runtime {

/// A mount of the spec, its options understood and, for a bind, its source opened as a detached mount with its flags
/// set; with tmpcopyup, a tmpfs that is filled already.
struct PreparedMount {
  std::string destination;                                   ///< absolute, clean
  std::string filesystem;                                    ///< "" = bind
  std::vector<std::pair<std::string, std::string>> options;  ///< value "" = flag
  std::uint64_t attributes = 0;
  FileDescriptor tree;
  bool is_directory = true;
  bool ordinary_directory = false;
  bool may_cover_proc = false;
  std::string inner_source;  ///< of a bind from inside the root: the child opens it, when what lies before is mounted
  bool recursive = false;
  std::uint64_t set = 0, clear = 0, tree_set = 0, tree_clear = 0;  ///< of an inner source
  FileDescriptor id_map;                                           ///< of an inner source: a user namespace
  bool recursive_id_map = false;
  bool keep_mode = false;         ///< a tmpfs that gets the mode of the directory it covers
  std::uint64_t propagation = 0;  ///< of a new file system
  std::string source;             ///< as the spec has it
};
struct MountSurroundings {
  int rootfs = -1;
  std::string rootfs_path;  ///< of the host, "" = nowhere
  const Spec* spec = nullptr;
  bool user_namespace = false;
};
Result<PreparedMount> prepare_mount(const Mount& mount, const MountSurroundings& surroundings);

/// "rslave" -> MS_SLAVE; 0 for a word that is no propagation.
std::uint64_t propagation_of(const std::string& word);

/// Detached clone of what is at `path` (which is the user's or the engine's, never an image's).
Result<FileDescriptor> clone_mount(const std::string& path, unsigned extra_flags = 0);
/// MOUNT_ATTR_IDMAP of a detached mount, by the maps of a user namespace.
Result<void> set_id_map(FdRef mount, FdRef user_namespace, bool recursive);
/// Sets MOUNT_ATTR_* and propagation (0 = leave) of a detached mount; `flags` may be AT_RECURSIVE.
Result<void> change_mount(FdRef mount, std::uint64_t set, std::uint64_t clear, std::uint64_t propagation,
                          unsigned flags);

}  // namespace dray::runtime
