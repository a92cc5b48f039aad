// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <time.h>

#include <map>
#include <string>
#include <vector>

#include <dray/core/fd.hpp>
#include <dray/core/tar.hpp>

#include "whiteouts.hpp"

namespace dray::store {

/// Turns the entries of a layer's tar into an unpacked layer beneath one directory. Not thread-safe. Every
/// error names the entry; after one the directory is to be thrown away.
class Extractor {
 public:
  /// `root`: an empty directory, private to us until the layer has its name.
  Extractor(FdRef root, const WhiteoutForm& form);

  /// Content of a regular file is read from `reader`.
  Result<void> add(const tar::Entry& entry, tar::Reader& reader);
  /// Times and modes of directories, which the entries in them would have changed or been stopped by.
  Result<void> finish();

  std::uint64_t bytes() const { return bytes_; }
  bool has_whiteouts() const { return has_whiteouts_; }
  bool has_opaque_root() const { return has_opaque_root_; }

 private:
  enum class Missing { create, fail };
  enum class Room { free, kept_directory, was_whiteout };
  struct DirectoryAttributes {
    struct timespec mtime;
    unsigned mode;
  };

  Result<void> add_entry(const tar::Entry& entry, tar::Reader& reader);
  Result<void> add_root(const tar::Entry& entry);
  Result<void> add_whiteout(FdRef parent, const std::string& directory, const std::string& marker);
  Result<void> add_regular(FdRef parent, const std::string& path, const std::string& name, const tar::Entry& entry,
                           tar::Reader& reader);
  Result<void> add_directory(FdRef parent, const std::string& path, const std::string& name, const tar::Entry& entry);
  Result<void> add_symlink(FdRef parent, const std::string& path, const std::string& name, const tar::Entry& entry);
  Result<void> add_hardlink(FdRef parent, const std::string& path, const std::string& name, const tar::Entry& entry);
  Result<void> add_special(FdRef parent, const std::string& path, const std::string& name, const tar::Entry& entry);

  Result<FdRef> open_parent(const std::string& directory);
  Result<FileDescriptor> open_directory(const std::string& directory, Missing missing);
  Result<FileDescriptor> walk(const std::string& directory, Missing missing);
  Result<FileDescriptor> follow_symlink(FdRef parent, const std::string& name, const std::string& prefix);
  Result<Room> make_room(FdRef parent, const std::string& path, const std::string& name, bool for_directory);
  Result<void> make_opaque(FdRef parent, const std::string& name);
  Result<void> write_content(FdRef file, std::uint64_t size, tar::Reader& reader);
  Result<void> check_space(std::uint64_t size);
  void forget(const std::string& path);

  FdRef root_;
  const WhiteoutForm& form_;
  bool is_root_user_;
  std::string cached_path_;
  FileDescriptor cached_;
  std::map<std::string, DirectoryAttributes> directories_;
  std::vector<std::byte> buffer_;
  std::uint64_t bytes_ = 0;
  bool has_whiteouts_ = false, has_opaque_root_ = false;
};

}  // namespace dray::store
