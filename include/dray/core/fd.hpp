// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <dray/core/result.hpp>

namespace dray {

/// Borrows a file descriptor; never closes it. -1 means none. AT_FDCWD is allowed where a directory is expected.
class FdRef {
 public:
  constexpr FdRef() = default;
  constexpr explicit FdRef(int fd) : fd_(fd) {}
  constexpr int get() const { return fd_; }
  constexpr bool valid() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

/// Owns a file descriptor. Every descriptor of Dray is O_CLOEXEC. Moved-from = empty. The destructor ignores close()'s
/// result: whoever wrote to it calls close_checked() first.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(other.release()) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() { reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  operator FdRef() const { return FdRef(fd_); }  // NOLINT: borrowing is always safe to spell implicitly
  int release();
  void reset();
  Result<void> close_checked();
  Result<FileDescriptor> duplicate() const;

 private:
  int fd_ = -1;
};

/// open(2) on a path of ours or the user's (never of an image or container: see rooted_path.hpp). O_CLOEXEC is added.
Result<FileDescriptor> open_file(const std::string& path, int flags, unsigned mode = 0);
Result<FileDescriptor> open_file_at(FdRef directory, const std::string& path, int flags, unsigned mode = 0);

/// The name in /proc of what a descriptor of ours has open: for calls that take only a path, no O_PATH descriptor, or
/// a path shorter than the true one.
std::string descriptor_path(FdRef fd);

/// Reads to the end; more than `limit` bytes is an error (corrupt), so that hostile input cannot exhaust memory.
Result<std::string> read_all(FdRef fd, std::size_t limit);
Result<std::string> read_file(const std::string& path, std::size_t limit = 16u << 20);
Result<void> write_all(FdRef fd, std::string_view bytes);

/// Lets the disk begin with large files while they are written, so that the sync at the end has little left to do.
/// Without it the kernel would wait until a tenth of the memory is dirty. Small files are left alone.
class WriteBehind {
 public:
  /// `size` bytes more were written to `file`.
  void wrote(FdRef file, std::uint64_t size);

 private:
  std::uint64_t waiting_ = 0;
};
/// One read(2), EINTR repeated. 0 = end of file.
Result<std::size_t> read_some(FdRef fd, std::span<std::byte> buffer);

enum class Durability { none, fsync };
/// Temporary file beside `path`, then rename: readers see the old or the new content, never a part.
Result<void> write_file_atomically(const std::string& path, std::string_view content, unsigned mode,
                                   Durability durability);

/// mkdir -p; existing directories are left as they are.
Result<void> make_directories(const std::string& path, unsigned mode = 0755);
/// The names in a directory, sorted, without "." and "..". All of them or an error: one that is missed here would be
/// missing in a layer.
Result<std::vector<std::string>> list_directory(FdRef directory);
Result<std::vector<std::string>> list_directory(const std::string& path);
/// Removes a file or a whole tree below `directory`, not following symlinks; absent = success. Crosses no mount point.
Result<void> remove_tree(FdRef directory, const std::string& name);

struct Pipe {
  FileDescriptor read_end;
  FileDescriptor write_end;
};
Result<Pipe> make_pipe();

/// flock(2) held while the object lives. The kernel releases it when the process dies: leases built on it survive kill
/// -9.
class FileLock {
 public:
  enum class Mode { shared, exclusive };
  /// Waits until the lock is granted. Creates the file if missing.
  static Result<FileLock> acquire(const std::string& path, Mode mode);
  /// in_use when another process holds it.
  static Result<FileLock> try_acquire(const std::string& path, Mode mode);

  FdRef fd() const { return fd_; }
  /// Gives the descriptor away (to a child process, which then holds the lock).
  FileDescriptor take_fd() { return std::move(fd_); }

 private:
  FileDescriptor fd_;
};

/// A directory that is removed with all it contains when the object dies (unless released).
class TempDir {
 public:
  static Result<TempDir> create(const std::string& parent, std::string_view prefix);
  TempDir(TempDir&&) noexcept;
  TempDir& operator=(TempDir&&) noexcept;
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir();
  const std::string& path() const { return path_; }
  std::string release();

 private:
  TempDir() = default;
  std::string path_;
};

}  // namespace dray
