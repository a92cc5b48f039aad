// SPDX-License-Identifier: Apache-2.0
// Descriptors and the few file operations on top of them. Each call repeats EINTR and checks its result.
#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>

#include <dray/core/digest.hpp>
#include <dray/core/fd.hpp>

namespace dray {

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = other.release();
  }
  return *this;
}

int FileDescriptor::release() {
  int fd = fd_;
  fd_ = -1;
  return fd;
}

void FileDescriptor::reset() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

Result<void> FileDescriptor::close_checked() {
  if (::close(release()) != 0 && errno != EINTR) return fail_errno("closing a file");
  return {};
}

Result<FileDescriptor> FileDescriptor::duplicate() const {
  int copy = ::fcntl(fd_, F_DUPFD_CLOEXEC, 3);
  if (copy < 0) return fail_errno("duplicating a file descriptor");
  return FileDescriptor(copy);
}

Result<FileDescriptor> open_file_at(FdRef directory, const std::string& path, int flags, unsigned mode) {
  int fd;
  do {
    fd = ::openat(directory.get(), path.c_str(), flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return fail_errno("opening \"" + path + "\"");
  return FileDescriptor(fd);
}

std::string descriptor_path(FdRef fd) { return "/proc/self/fd/" + std::to_string(fd.get()); }

Result<FileDescriptor> open_file(const std::string& path, int flags, unsigned mode) {
  return open_file_at(FdRef(AT_FDCWD), path, flags, mode);
}

Result<std::size_t> read_some(FdRef fd, std::span<std::byte> buffer) {
  ssize_t count;
  do {
    count = ::read(fd.get(), buffer.data(), buffer.size());
  } while (count < 0 && errno == EINTR);
  if (count < 0) return fail_errno("reading");
  return static_cast<std::size_t>(count);
}

Result<std::string> read_all(FdRef fd, std::size_t limit) {
  std::string content;
  std::size_t used = 0;
  for (;;) {
    if (content.size() - used < 4096) content.resize(std::max<std::size_t>(8192, content.size() * 2));
    auto room = std::as_writable_bytes(std::span(content)).subspan(used);
    std::size_t count = TRY(read_some(fd, room));
    if (count == 0) break;
    used += count;
    if (used > limit) return fail(ErrorCode::corrupt, "larger than the limit of " + std::to_string(limit) + " bytes");
  }
  content.resize(used);
  return content;
}

Result<std::string> read_file(const std::string& path, std::size_t limit) {
  FileDescriptor fd = TRY(open_file(path, O_RDONLY | O_NOCTTY));
  return TRY_CTX(read_all(fd, limit), "reading \"" + path + "\"");
}

void WriteBehind::wrote(FdRef file, std::uint64_t size) {
  constexpr std::uint64_t kWorthIt = 1u << 20;
  waiting_ += size;
  if (waiting_ < kWorthIt) return;
  (void)::sync_file_range(file.get(), 0, 0, SYNC_FILE_RANGE_WRITE);  // 0: to the end; clean pages cost nothing
  waiting_ = 0;
}

Result<void> write_all(FdRef fd, std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t count = ::write(fd.get(), bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno("writing");
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
  return {};
}

Result<void> write_file_atomically(const std::string& path, std::string_view content, unsigned mode,
                                   Durability durability) {
  std::string temporary = path + ".tmp-" + random_hex(6);
  auto write = [&]() -> Result<void> {
    FileDescriptor fd = TRY(open_file(temporary, O_WRONLY | O_CREAT | O_EXCL, mode));
    TRY(write_all(fd, content));
    if (durability == Durability::fsync && ::fsync(fd.get()) != 0) return fail_errno("syncing \"" + temporary + "\"");
    TRY(fd.close_checked());
    if (::rename(temporary.c_str(), path.c_str()) != 0) return fail_errno("renaming to \"" + path + "\"");
    return {};
  };
  auto result = write();
  if (!result) {
    ::unlink(temporary.c_str());
    return Failure(std::move(result).error().with_context("writing \"" + path + "\""));
  }
  if (durability == Durability::fsync) {
    auto slash = path.rfind('/');
    std::string parent = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
    FileDescriptor directory = TRY(open_file(parent, O_RDONLY | O_DIRECTORY));
    if (::fsync(directory.get()) != 0) return fail_errno("syncing \"" + parent + "\"");
  }
  return {};
}

Result<void> make_directories(const std::string& path, unsigned mode) {
  for (std::size_t end = 1; end <= path.size(); ++end) {
    if (end != path.size() && path[end] != '/') continue;
    std::string prefix = path.substr(0, end);
    if (::mkdir(prefix.c_str(), mode) != 0 && errno != EEXIST)
      return fail_errno("creating directory \"" + prefix + "\"");
  }
  struct stat status;
  if (::stat(path.c_str(), &status) != 0) return fail_errno("creating directory \"" + path + "\"");
  if (!S_ISDIR(status.st_mode))
    return fail(ErrorCode::already_exists, "\"" + path + "\" exists and is not a directory");
  return {};
}

namespace {

using Listing = std::unique_ptr<DIR, int (*)(DIR*)>;

/// The next entry but "." and ".."; nullptr at the end. readdir() tells an error only by errno.
Result<dirent*> next_entry(DIR* listing) {
  for (;;) {
    errno = 0;
    dirent* entry = ::readdir(listing);
    if (entry == nullptr && errno != 0) return fail_errno("listing a directory");
    if (entry == nullptr) return entry;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") return entry;
  }
}

// Depth-first removal by descriptors: a name is never resolved through more than one component, so that a concurrent
// swap of a directory for a symlink cannot lead the removal elsewhere. Each level costs a descriptor; what lies too
// deep for that is moved up into the tree's own top first, and removed there, so that any depth can be removed.
class TreeRemoval {
 public:
  explicit TreeRemoval(dev_t device) : device_(device) {}

  Result<void> entry(int parent, const char* name, int depth) {
    if (::unlinkat(parent, name, 0) == 0 || errno == ENOENT) return {};
    if (errno != EISDIR && errno != EPERM) return fail_errno(std::string("removing \"") + name + "\"");
    if (depth >= kKeptOpen && (::unlinkat(parent, name, AT_REMOVEDIR) == 0 || move_up(parent, name))) return {};
    if (depth > kMostOpen) return fail(ErrorCode::invalid_argument, "directories nested too deeply");
    FileDescriptor directory(::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!directory.valid()) {
      if (errno == ENOENT) return {};
      return fail_errno(std::string("removing \"") + name + "\"");
    }
    const int fd = directory.get();
    struct stat status;
    if (::fstat(fd, &status) != 0) return fail_errno(std::string("removing \"") + name + "\"");
    if (status.st_dev != device_)
      return fail(ErrorCode::in_use, std::string("\"") + name + "\" is a mount point; not removing what is below it");
    if (depth == 0) top_ = fd;
    Listing listing(::fdopendir(fd), ::closedir);
    if (!listing) return fail_errno("listing a directory");
    (void)directory.release();
    for (;;) {
      const dirent* entry = TRY_CTX(next_entry(listing.get()), name);
      if (entry == nullptr) {
        if (depth > 0 || !std::exchange(has_moved_, false)) break;
        ::rewinddir(listing.get());  // which of what came while it was listed were in the list, nobody says
        continue;
      }
      TRY_CTX(this->entry(fd, entry->d_name, depth + 1), name);
    }
    listing.reset();
    if (::unlinkat(parent, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
      return fail_errno(std::string("removing directory \"") + name + "\"");
    return {};
  }

 private:
  static constexpr int kKeptOpen = 32, kMostOpen = 4096;

  /// False where that can't be: a mount point, a directory of an overlay's lower layer.
  bool move_up(int parent, const char* name) {
    if (prefix_.empty()) prefix_ = ".removed-" + random_hex(8) + "-";
    if (::renameat(parent, name, top_, (prefix_ + std::to_string(moved_++)).c_str()) != 0) return false;
    return has_moved_ = true;
  }

  dev_t device_;
  int top_ = -1;
  std::string prefix_;  ///< nobody's name in the tree
  std::uint64_t moved_ = 0;
  bool has_moved_ = false;  ///< since the top was listed
};

}  // namespace

Result<std::vector<std::string>> list_directory(FdRef directory) {
  FileDescriptor own = TRY(open_file_at(directory, ".", O_RDONLY | O_DIRECTORY));
  const Listing listing(::fdopendir(own.get()), ::closedir);
  if (!listing) return fail_errno("listing a directory");
  (void)own.release();
  std::vector<std::string> names;
  for (;;) {
    const dirent* entry = TRY(next_entry(listing.get()));
    if (entry == nullptr) break;
    names.emplace_back(entry->d_name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

Result<std::vector<std::string>> list_directory(const std::string& path) {
  const FileDescriptor directory = TRY(open_file(path, O_PATH | O_DIRECTORY));
  return TRY_CTX(list_directory(directory), "\"" + path + "\"");
}

Result<void> remove_tree(FdRef directory, const std::string& name) {
  struct stat status;
  if (::fstatat(directory.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return {};
    return fail_errno("removing \"" + name + "\"");
  }
  return TreeRemoval(status.st_dev).entry(directory.get(), name.c_str(), 0);
}

Result<Pipe> make_pipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return fail_errno("creating a pipe");
  return Pipe{FileDescriptor(fds[0]), FileDescriptor(fds[1])};
}

namespace {

Result<FileDescriptor> lock_file(const std::string& path, int operation) {
  FileDescriptor fd = TRY(open_file(path, O_RDWR | O_CREAT, 0600));
  int outcome;
  do {
    outcome = ::flock(fd.get(), operation);
  } while (outcome != 0 && errno == EINTR);
  if (outcome != 0 && errno == EWOULDBLOCK)
    return fail(ErrorCode::in_use, "\"" + path + "\" is locked by another process");
  if (outcome != 0) return fail_errno("locking \"" + path + "\"");
  return fd;
}

int flock_operation(FileLock::Mode mode) { return mode == FileLock::Mode::shared ? LOCK_SH : LOCK_EX; }

}  // namespace

Result<FileLock> FileLock::acquire(const std::string& path, Mode mode) {
  FileLock lock;
  lock.fd_ = TRY(lock_file(path, flock_operation(mode)));
  return lock;
}

Result<FileLock> FileLock::try_acquire(const std::string& path, Mode mode) {
  FileLock lock;
  lock.fd_ = TRY(lock_file(path, flock_operation(mode) | LOCK_NB));
  return lock;
}

Result<TempDir> TempDir::create(const std::string& parent, std::string_view prefix) {
  TRY(make_directories(parent, 0700));
  std::string path = parent + "/" + std::string(prefix) + "XXXXXX";
  if (::mkdtemp(path.data()) == nullptr) return fail_errno("creating a directory in \"" + parent + "\"");
  TempDir directory;
  directory.path_ = std::move(path);
  return directory;
}

TempDir::TempDir(TempDir&& other) noexcept : path_(std::move(other.path_)) { other.path_.clear(); }

TempDir& TempDir::operator=(TempDir&& other) noexcept {
  std::swap(path_, other.path_);
  return *this;
}

TempDir::~TempDir() {
  if (!path_.empty()) (void)remove_tree(FdRef(AT_FDCWD), path_);
}

std::string TempDir::release() { return std::exchange(path_, {}); }

}  // namespace dray
