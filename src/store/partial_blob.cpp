// SPDX-License-Identifier: Apache-2.0
// The lock is an flock on the file itself, so the kernel lets the next one in when its holder is killed. A file that
// was named or removed while somebody waited for its lock is no longer the one at the path: then it is opened anew.
// Several ranges may have been in flight when a writer was killed; file systems tell where the first hole is, and as
// they tell it in blocks, the last block before it is not believed either.
#include <dray/store/partial_blob.hpp>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "content_paths.hpp"

namespace dray::store {
namespace {

constexpr std::uint64_t kBlock = 64 * 1024;

bool is_at(const std::string& path, FdRef file) {
  struct stat mine, there;
  return ::fstat(file.get(), &mine) == 0 && ::stat(path.c_str(), &there) == 0 && mine.st_ino == there.st_ino &&
         mine.st_dev == there.st_dev;
}

}  // namespace

PartialBlob::PartialBlob(const ContentStore& content, const Digest& digest, std::string path, FileDescriptor file)
    : content_(content), digest_(digest), path_(std::move(path)), file_(std::move(file)) {}

PartialBlob::PartialBlob(PartialBlob&& other) noexcept
    : content_(other.content_),
      digest_(std::move(other.digest_)),
      path_(std::exchange(other.path_, "")),
      file_(std::move(other.file_)),
      kept_(other.kept_),
      keep_(other.keep_) {}

PartialBlob::~PartialBlob() {
  if (path_.empty()) return;
  struct stat status;
  const bool empty = ::fstat(file_.get(), &status) == 0 && status.st_size == 0;
  if (!keep_ || empty) ::unlink(path_.c_str());
}

Result<std::optional<PartialBlob>> PartialBlob::try_open(const ContentStore& content, const Digest& digest) {
  const std::string path = ingest_path(content.directory()) + "/partial-" + digest.algorithm() + "-" + digest.hex();
  for (;;) {
    FileDescriptor file = TRY(open_file(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
    if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) return std::optional<PartialBlob>();
      if (errno == EINTR) continue;
      return fail_errno("locking \"" + path + "\"");
    }
    if (!is_at(path, file)) continue;
    PartialBlob blob(content, digest, path, std::move(file));
    struct stat status;
    if (::fstat(blob.file_.get(), &status) != 0) return fail_errno("reading the size of \"" + path + "\"");
    const off_t hole = status.st_size == 0 ? 0 : ::lseek(blob.file_.get(), 0, SEEK_HOLE);
    if (hole > 0) blob.kept_ = static_cast<std::uint64_t>(hole);
    if (hole > 0 && hole < status.st_size) blob.kept_ -= std::min<std::uint64_t>(blob.kept_, kBlock);
    if (blob.kept_ != static_cast<std::uint64_t>(status.st_size) &&
        ::ftruncate(blob.file_.get(), static_cast<off_t>(blob.kept_)) != 0)
      return fail_errno("truncating \"" + path + "\"");
    return std::optional<PartialBlob>(std::move(blob));
  }
}

Result<void> PartialBlob::restart() {
  kept_ = 0;
  if (::ftruncate(file_.get(), 0) != 0) return fail_errno("truncating \"" + path_ + "\"");
  return {};
}

Result<void> PartialBlob::write(std::uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t done = ::pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return fail_errno("writing a blob");
    offset += static_cast<std::uint64_t>(done);
    bytes = bytes.subspan(static_cast<std::size_t>(done));
  }
  return {};
}

Result<void> PartialBlob::commit() {
  TRY(adopt_blob(content_.directory(), path_, digest_));
  path_.clear();
  return {};
}

}  // namespace dray::store
