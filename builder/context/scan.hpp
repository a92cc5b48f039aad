// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/stat.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <dray/core/fd.hpp>
#include <dray/core/progress.hpp>
#include <dray/store/database.hpp>

#include "context/ignore.hpp"
#include "plan/plan.hpp"

// What COPY and ADD see of a build context or of another stage's root filesystem.

namespace dray::builder {

/// Told of every file while a large tree is looked at; passes it on now and then. Not thread-safe.
class ScanProgress {
 public:
  using Report = std::function<void(std::uint64_t listed, std::uint64_t looked_at)>;
  explicit ScanProgress(Report report, std::chrono::milliseconds interval = std::chrono::seconds(2))
      : report_(std::move(report)), interval_(interval) {}
  void listed() { count(listed_); }
  void looked_at() { count(looked_at_); }

 private:
  void count(std::uint64_t& counter);
  Report report_;
  std::chrono::milliseconds interval_;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
  std::uint64_t listed_ = 0, looked_at_ = 0;
};

/// Where files are copied from. Paths in it are clean and absolute ("/src"), and its root is theirs: a symlink,
/// however hostile, leads to something in the tree or nowhere.
struct SourceTree {
  FdRef root;
  bool is_context = true;    ///< the user's directory: owners mean nothing; otherwise another stage's rootfs
  bool is_download = false;  ///< a file by http: ADD leaves an archive as it is, unless --unpack
  const IgnorePatterns* ignore = nullptr;
  ScanProgress* progress = nullptr;

  Result<FileDescriptor> open(const std::string& path, int flags) const;
};

/// What is remembered of a file's stat: a context may have a million of them.
struct FileStatus {
  FileStatus() = default;
  explicit FileStatus(const struct stat& status);

  dev_t st_dev = 0, st_rdev = 0;
  ino_t st_ino = 0;
  off_t st_size = 0;
  timespec st_mtim = {}, st_ctim = {};
  mode_t st_mode = 0;
  uid_t st_uid = 0;
  gid_t st_gid = 0;
  bool has_other_names = false;  ///< hard links

  bool is_same_file(const FileStatus& other) const;  ///< and nobody has written to it
};

/// One file of a source, `path` relative to it ("" for itself).
struct TreeEntry {
  std::string path;
  FileStatus status;
  std::string link_target;
};

/// One source of a COPY: a file or a directory with everything below it, sorted, parents first.
struct Source {
  std::string path;               ///< in the tree, as named
  std::deque<TreeEntry> entries;  ///< a vector of a million would be copied as it grows

  bool is_directory() const { return S_ISDIR(entries.front().status.st_mode); }
};

/// The sources a path with wildcards (filepath.Match) names, without what .dockerignore and `exclude` hide. A
/// source that is a symlink stands for what it leads to; links below a directory stay links. not_found for a
/// literal path that is not there; nothing for a wildcard without match.
Result<std::vector<Source>> find_sources(const SourceTree& tree, const std::string& path, const IgnorePatterns& exclude,
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

  /// Valid as long as this object.
  std::optional<std::string_view> find(const FileStatus& status);
  void learn(const FileStatus& status, const std::string& digest);
  std::uint64_t bytes_read() const { return bytes_read_; }

 private:
  /// As it is in the database, which belongs to this machine: numbers in its byte order.
  struct Known {
    std::uint64_t inode = 0;
    std::int64_t device = 0, size = 0, modified = 0, changed = 0;
    std::array<char, 64> digest{};  ///< in hex

    bool is_of(const FileStatus& status) const;
  };
  FileDigests() = default;
  Known known(std::size_t index) const;
  std::shared_ptr<store::Database> database_;
  std::int64_t device_ = 0, inode_ = 0;
  std::vector<store::Row> rows_;  ///< of the database
  std::string_view known_;        ///< in them: what earlier builds learnt, an array of Known by inode
  std::vector<bool> used_;        ///< which of these, in this build
  std::size_t next_ = 0;          ///< in them: a directory's files mostly have inodes in a row
  std::unordered_map<std::uint64_t, Known> learnt_;  ///< in this build, by inode
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

/// Whether the mount shows what was listed then: nothing is new, gone, or another file by inode, size and times.
bool shows_the_same(const SourceTree& tree, const CopyContent& then, const CancelToken& cancel);

}  // namespace dray::builder
