// SPDX-License-Identifier: Apache-2.0
#include <dray/core/output_file.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <optional>

#include <dray/core/digest.hpp>

namespace dray {
namespace {

constexpr int kMaxLinks = 40;  // as the kernel

std::string parent_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

bool is_same_file(const struct stat& one, const struct stat& other) {
  return one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

/// Where the last component's links lead to, be it there or not: realpath() needs it there.
Result<std::string> follow_links(std::string path) {
  for (int links = 0; links < kMaxLinks; ++links) {
    char target[PATH_MAX];
    const ssize_t length = ::readlink(path.c_str(), target, sizeof target);
    if (length < 0 && (errno == EINVAL || errno == ENOENT)) return path;
    if (length < 0) return fail_errno("reading the link \"" + path + "\"");
    const std::string next(target, static_cast<std::size_t>(length));
    path = next.starts_with('/') ? next : parent_of(path) + "/" + next;
  }
  return fail(ErrorCode::invalid_argument, "\"" + path + "\": too many symbolic links");
}

/// Our own output, by whatever name (/dev/stdout): a rename over it would part it from what is printed later.
Result<std::optional<FileDescriptor>> already_open(const struct stat& wanted) {
  for (const int number : {STDOUT_FILENO, STDERR_FILENO}) {
    struct stat status;
    const bool is_it = ::fstat(number, &status) == 0 && is_same_file(status, wanted);
    if (!is_it || (::fcntl(number, F_GETFL) & O_ACCMODE) == O_RDONLY) continue;
    const int copy = ::fcntl(number, F_DUPFD_CLOEXEC, 3);
    if (copy < 0) return fail_errno("duplicating a file descriptor");
    return std::optional(FileDescriptor(copy));
  }
  return std::optional<FileDescriptor>();
}

/// Syncs the directory that holds `path`.
Result<void> sync_parent(const std::string& path) {
  const std::string parent = parent_of(path);
  const FileDescriptor directory = TRY(open_file(parent, O_RDONLY | O_DIRECTORY));
  if (::fsync(directory.get()) != 0) return fail_errno("syncing \"" + parent + "\"");
  return {};
}

}  // namespace

Result<OutputFile> OutputFile::create(const std::string& path, unsigned mode, Durability durability) {
  OutputFile file;
  file.durability_ = durability;
  struct stat status;
  // By stat(), so that the kernel's protection of links in /tmp holds.
  const bool exists = ::stat(path.c_str(), &status) == 0;
  if (!exists && errno != ENOENT) return fail_errno("writing \"" + path + "\"");
  file.target_ = TRY(follow_links(path));
  if (exists) {
    if (auto open = TRY(already_open(status))) {
      file.fd_ = *std::move(open);
    } else if (!S_ISREG(status.st_mode)) {
      file.fd_ = TRY(open_file(path, O_WRONLY | O_NOCTTY));
    } else {
      // A link in /proc/PID/fd to a file that has lost its name.
      struct stat found;
      if (::stat(file.target_.c_str(), &found) != 0 || !is_same_file(found, status))
        file.fd_ = TRY(open_file(path, O_WRONLY | O_TRUNC));
    }
  }
  if (!file.fd_.valid()) {
    std::string temporary = file.target_ + ".tmp-" + random_hex(6);
    file.fd_ = TRY(open_file(temporary, O_WRONLY | O_CREAT | O_EXCL, mode));
    file.temporary_ = std::move(temporary);
  }
  file.sink_ = make_fd_sink(FdRef(file.fd_));
  return file;
}

OutputFile OutputFile::standard_output() {
  OutputFile file;
  file.sink_ = make_fd_sink(FdRef(STDOUT_FILENO));
  return file;
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : target_(std::move(other.target_)),
      temporary_(std::exchange(other.temporary_, "")),
      durability_(other.durability_),
      fd_(std::move(other.fd_)),
      sink_(std::move(other.sink_)) {}

OutputFile::~OutputFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

Result<void> OutputFile::set_owner(uid_t uid, gid_t gid) {
  if (temporary_.empty() || ::fchown(fd_.get(), uid, gid) == 0) return {};
  return fail_errno("changing the owner of \"" + target_ + "\"");
}

Result<void> OutputFile::commit() {
  TRY(sink_->finish());
  if (!fd_.valid()) return {};
  const bool sync = durability_ == Durability::fsync && !temporary_.empty();
  if (sync && ::fsync(fd_.get()) != 0) return fail_errno("syncing \"" + target_ + "\"");
  TRY_CTX(fd_.close_checked(), "writing \"" + target_ + "\"");
  if (temporary_.empty()) return {};
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) return fail_errno("writing \"" + target_ + "\"");
  temporary_.clear();
  return sync ? sync_parent(target_) : Result<void>();
}

Result<void> write_output_file(const std::string& path, std::string_view content, unsigned mode) {
  OutputFile file = TRY(OutputFile::create(path, mode));
  TRY_CTX(file.sink().write(std::as_bytes(std::span(content))), "writing \"" + path + "\"");
  return file.commit();
}

}  // namespace dray
