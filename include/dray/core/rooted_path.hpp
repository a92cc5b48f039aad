// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/stat.h>

#include <string>
#include <string_view>
#include <vector>

#include <dray/core/fd.hpp>

// The one place where a path that comes from an image, a build context or a container is resolved. Every function
// resolves with openat2(2): a symlink, however hostile, cannot lead out of `root`, and magic links (/proc/self/fd/N)
// are refused. Nobody else may concatenate such a path with a host path.

namespace dray {

/// RESOLVE_IN_ROOT: `path` is taken as seen by a process whose root directory is `root` (absolute symlinks start there,
/// ".." stops there). For paths inside an image or container.
Result<FileDescriptor> open_in_root(FdRef root, const std::string& path, int flags, unsigned mode = 0);

/// RESOLVE_BENEATH: any component that would leave `root` is an error (permission_denied). For build contexts and
/// archives.
Result<FileDescriptor> open_beneath(FdRef root, const std::string& path, int flags, unsigned mode = 0);

/// RESOLVE_BENEATH without any symlink on the way: for a walk through a tree, where a link that appears is an attack.
/// "" is `root` itself.
Result<FileDescriptor> open_without_links(FdRef root, const std::string& path, int flags);
/// The names in a directory opened so, sorted, without "." and "..".
Result<std::vector<std::string>> list_without_links(FdRef root, const std::string& path);

/// Opens the directory `path` in `root`, creating missing components with `mode`, owner `uid`:`gid`. The returned
/// descriptor is O_PATH|O_DIRECTORY. Symlinks on the way are followed in root; a dangling one is an error.
Result<FileDescriptor> make_directories_in_root(FdRef root, const std::string& path, unsigned mode = 0755,
                                                unsigned uid = 0, unsigned gid = 0);

/// fstatat in root; follows the last component's symlink only when asked. not_found if absent.
enum class FollowLast { no, yes };
Result<struct stat> stat_in_root(FdRef root, const std::string& path, FollowLast follow);

/// A regular file's content; opened O_NONBLOCK and checked to be regular first, so that a FIFO or device cannot hang
/// us.
Result<std::string> read_regular_file_in_root(FdRef root, const std::string& path, std::size_t limit);

/// "/a/../b//c/." -> "/b/c". Purely textual, for display and keys; never before opening.
std::string clean_path(std::string_view path);
/// Joins and cleans; an absolute `path` wins.
std::string join_path(std::string_view base, std::string_view path);
/// "a/b/c" -> {"a/b", "c"}; "/c" -> {"/", "c"}; "c" -> {"", "c"}.
std::pair<std::string, std::string> split_path(std::string_view path);

}  // namespace dray
