// SPDX-License-Identifier: Apache-2.0
#include "vfs_baseline.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstring>
#include <tuple>

#include <dray/core/rooted_path.hpp>
#include <dray/core/stream.hpp>

namespace dray::store {
namespace {

constexpr std::string_view kMagic = "dray baseline 1\n";
constexpr std::size_t kBuffer = 256 * 1024;

/// A fact in the file, followed by the name. `kind` 0: the end of a directory.
struct Record {
  std::uint32_t kind, name_length;
  std::uint64_t inode;
  std::int64_t born, changed, modified;
  std::uint32_t born_ns, changed_ns, modified_ns;
  std::uint32_t mode, uid, gid;
};
constexpr std::uint32_t kEnd = 0, kFile = 1, kDirectory = 2;

auto order(const struct timespec& time) { return std::pair(time.tv_sec, time.tv_nsec); }

Result<Seen> look(FdRef directory, const std::string& name) {
  struct statx raw;
  constexpr int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT;
  const int at_itself = name.empty() ? AT_EMPTY_PATH : 0;
  if (::statx(directory.get(), name.c_str(), flags | at_itself, STATX_BASIC_STATS | STATX_BTIME, &raw) != 0)
    return fail_errno("reading the status of \"" + name + "\"");
  const auto time = [](const struct statx_timestamp& from) {
    return timespec{static_cast<time_t>(from.tv_sec), static_cast<long>(from.tv_nsec)};
  };
  Seen seen;
  seen.status.st_dev = makedev(raw.stx_dev_major, raw.stx_dev_minor);
  seen.status.st_rdev = makedev(raw.stx_rdev_major, raw.stx_rdev_minor);
  seen.status.st_ino = raw.stx_ino;
  seen.status.st_nlink = raw.stx_nlink;
  seen.status.st_mode = raw.stx_mode;
  seen.status.st_uid = raw.stx_uid;
  seen.status.st_gid = raw.stx_gid;
  seen.status.st_size = static_cast<off_t>(raw.stx_size);
  seen.status.st_atim = time(raw.stx_atime);
  seen.status.st_mtim = time(raw.stx_mtime);
  seen.status.st_ctim = time(raw.stx_ctime);
  Fact& fact = seen.fact;
  fact.name = name;
  fact.is_directory = S_ISDIR(raw.stx_mode);
  fact.inode = raw.stx_ino;
  if ((raw.stx_mask & STATX_BTIME) != 0) fact.born = time(raw.stx_btime);
  fact.changed = seen.status.st_ctim;
  fact.modified = seen.status.st_mtim;
  fact.mode = raw.stx_mode;
  fact.uid = raw.stx_uid;
  fact.gid = raw.stx_gid;
  return seen;
}

/// Overlayfs numbers a directory anew each time the kernel has dropped it from memory, when its layers lie on different
/// file systems (xino=off). A birth time, of the directory beneath, stays.
bool numbers_directories_anew(FdRef directory) {
  struct statfs status;
  return ::fstatfs(directory.get(), &status) == 0 && status.f_type == OVERLAYFS_SUPER_MAGIC;
}

class Recorder {
 public:
  Recorder(FdRef root, FdRef file) : root_(root), file_(file) {}

  Result<void> run() {
    buffer_.assign(kMagic);
    TRY(add(TRY(fact_of_root(root_))));
    TRY(entries(""));
    return write_all(file_, buffer_);
  }
  const struct timespec& newest() const { return newest_; }

 private:
  Result<void> entries(const std::string& path) {
    for (const Seen& seen : TRY(look_at_directory(root_, path))) {
      TRY(add(seen.fact));
      if (seen.fact.is_directory) TRY(entries(path.empty() ? seen.fact.name : path + "/" + seen.fact.name));
    }
    return append(Record{}, "");
  }
  Result<void> add(const Fact& fact) {
    if (order(fact.changed) > order(newest_)) newest_ = fact.changed;
    Record record{};
    record.kind = fact.is_directory ? kDirectory : kFile;
    record.name_length = static_cast<std::uint32_t>(fact.name.size());
    record.inode = fact.inode;
    record.born = fact.born.tv_sec;
    record.changed = fact.changed.tv_sec;
    record.modified = fact.modified.tv_sec;
    record.born_ns = static_cast<std::uint32_t>(fact.born.tv_nsec);
    record.changed_ns = static_cast<std::uint32_t>(fact.changed.tv_nsec);
    record.modified_ns = static_cast<std::uint32_t>(fact.modified.tv_nsec);
    record.mode = fact.mode;
    record.uid = fact.uid;
    record.gid = fact.gid;
    return append(record, fact.name);
  }
  Result<void> append(const Record& record, const std::string& name) {
    buffer_.append(reinterpret_cast<const char*>(&record), sizeof record);
    buffer_ += name;
    if (buffer_.size() < kBuffer) return {};
    TRY(write_all(file_, buffer_));
    buffer_.clear();
    return {};
  }

  FdRef root_, file_;
  std::string buffer_;
  struct timespec newest_ = {};
};

/// Without it nothing tells what was changed.
Failure damaged(const std::string& what) {
  return Failure(Error(ErrorCode::corrupt, what)
                     .with_hint("the container or build step it belongs to can't be committed any more: copy what you "
                                "need with dray cp or dray export, and remove it"));
}

/// The clock of a file system ticks (every few milliseconds, before Linux 6.13): a file changed again within a tick has
/// the time it had. So we wait for the next one, seen by the times our own file gets.
Result<void> wait_for_later(FdRef file, const struct timespec& newest) {
  constexpr struct timespec pause = {0, 500'000};
  for (int attempt = 0; attempt < 6000; ++attempt) {
    if (::fchmod(file.get(), 0600) != 0) return fail_errno("noting the time");
    const Seen now = TRY(look(file, ""));
    if (order(now.fact.changed) > order(newest)) return {};
    ::nanosleep(&pause, nullptr);
  }
  return Failure(Error(ErrorCode::unavailable, "the clock of the file system stands still, or goes back")
                     .with_hint("set the system's clock (of a network file system: its server's, too): files here were "
                                "changed at a later time than it is now"));
}

}  // namespace

bool Fact::is_same_file(const Fact& other) const {
  if (is_directory != other.is_directory || order(born) != order(other.born)) return false;
  return inode == other.inode || (is_directory && (inode == 0 || other.inode == 0));
}

bool Fact::is_unchanged(const Fact& other) const {
  return is_same_file(other) && order(changed) == order(other.changed);
}

Result<std::vector<Seen>> look_at_directory(FdRef root, const std::string& path) {
  const FileDescriptor directory = TRY(open_without_links(root, path, O_RDONLY | O_DIRECTORY));
  const bool is_number_passing = numbers_directories_anew(directory);
  std::vector<Seen> entries;
  for (const std::string& name : TRY(list_directory(directory))) {
    entries.push_back(TRY(look(directory, name)));
    Fact& fact = entries.back().fact;
    if (is_number_passing && fact.is_directory && fact.born.tv_sec != 0) fact.inode = 0;
  }
  return entries;
}

Result<Fact> fact_of_root(FdRef root) { return TRY(look(root, "")).fact; }

Result<void> write_baseline(FdRef root, FdRef directory, const std::string& name) {
  FileDescriptor file = TRY(open_file_at(directory, name, O_WRONLY | O_CREAT | O_EXCL, 0600));
  Recorder recorder(root, file);
  TRY_CTX(recorder.run(), "recording a snapshot's files");
  TRY(wait_for_later(file, recorder.newest()));
  return file.close_checked();
}

Result<BaselineReader> BaselineReader::open(const std::string& path) {
  BaselineReader reader;
  reader.file_ = TRY(open_file(path, O_RDONLY));
  reader.buffer_.resize(kBuffer);
  char magic[kMagic.size()];
  TRY_CTX(reader.read_bytes(magic, sizeof magic), path);
  if (std::string_view(magic, sizeof magic) != kMagic || !TRY_CTX(reader.read_fact(reader.root_), path))
    return damaged("\"" + path + "\" is no record of a snapshot");
  return reader;
}

Result<const Fact*> BaselineReader::peek() {
  if (at_end_) return nullptr;
  if (!has_next_) {
    if (!TRY(read_fact(next_))) {
      at_end_ = true;
      return nullptr;
    }
    has_next_ = true;
  }
  return &next_;
}

Result<void> BaselineReader::leave() {
  int depth = 1;
  if (std::exchange(at_end_, false)) return {};
  if (std::exchange(has_next_, false) && next_.is_directory) ++depth;
  for (Fact skipped; depth > 0;) {
    if (!TRY(read_fact(skipped))) {
      --depth;
    } else if (skipped.is_directory) {
      ++depth;
    }
  }
  return {};
}

Result<void> BaselineReader::read_bytes(void* target, std::size_t size) {
  for (auto* to = static_cast<char*>(target); size > 0;) {
    if (at_ == end_) {
      at_ = 0;
      end_ = TRY(read_some(file_, std::as_writable_bytes(std::span(buffer_))));
      if (end_ == 0) return damaged("the record of a snapshot's files ends too early");
    }
    const std::size_t part = std::min(size, end_ - at_);
    std::memcpy(to, buffer_.data() + at_, part);
    to += part;
    at_ += part;
    size -= part;
  }
  return {};
}

/// False at the end of a directory.
Result<bool> BaselineReader::read_fact(Fact& fact) {
  Record record;
  TRY(read_bytes(&record, sizeof record));
  if (record.kind == kEnd) return false;
  if (record.kind > kDirectory || record.name_length > 4096)
    return damaged("the record of a snapshot's files is damaged");
  fact.name.resize(record.name_length);
  TRY(read_bytes(fact.name.data(), fact.name.size()));
  fact.is_directory = record.kind == kDirectory;
  fact.inode = record.inode;
  fact.born = {record.born, static_cast<long>(record.born_ns)};
  fact.changed = {record.changed, static_cast<long>(record.changed_ns)};
  fact.modified = {record.modified, static_cast<long>(record.modified_ns)};
  fact.mode = record.mode;
  fact.uid = record.uid;
  fact.gid = record.gid;
  return true;
}

}  // namespace dray::store
