// SPDX-License-Identifier: Apache-2.0
// The content digest of a COPY's source, the part of its cache key that looks at files. Hashing a large
// context again for each build would cost more than the build, so digests are remembered under the files' inodes
// and times, except for files changed just now, whose next change might not show in the times. One row holds
// all files of a context, as an array that is searched where it lies: reading 20,000 rows, or making a table of
// them, would take longer than the rest of a build that changes nothing.
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <ranges>

#include <dray/core/digest.hpp>
#include <dray/core/process.hpp>
#include <dray/core/rooted_path.hpp>

#include "context/attributes.hpp"
#include "context/scan.hpp"

namespace dray::builder {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kForgetAfter = 60 * 24 * 3600;  // s without a build of that context
constexpr std::size_t kMaxKnown = 2'000'000;           // files, about 200 MB
constexpr std::size_t kHexDigest = 64;

std::int64_t nanoseconds(const timespec& time) { return time.tv_sec * kSecond + time.tv_nsec; }

/// A clock tick of the kernel is 10 ms at most; file systems without fractions of a second (FAT) count by two.
bool is_settled(std::int64_t modified, std::int64_t changed) {
  timespec now = {};
  ::clock_gettime(CLOCK_REALTIME, &now);
  const bool coarse = modified % kSecond == 0 && changed % kSecond == 0;
  return nanoseconds(now) - changed > (coarse ? 2 * kSecond : kSecond / 20);
}

void add_field(std::string& text, std::string_view field) {
  text += std::to_string(field.size());
  text += ':';
  text += field;
}

std::string full_path(const Source& source, const TreeEntry& entry) {
  if (entry.path.empty()) return source.path;
  return (source.path == "/" ? "/" : source.path + "/") + entry.path;
}

/// The digest of a file's content together with the extended attributes that a copy of it gets. Setting one changes
/// ctime, so what is remembered of a file holds for them, too.
std::string with_attributes(std::string content, FdRef file, bool is_context) {
  const std::map<std::string, std::string> attributes = copied_attributes(file, is_context);
  if (attributes.empty()) return content;
  std::string text;
  add_field(text, content);
  for (const auto& [name, value] : attributes) {
    add_field(text, name);
    add_field(text, value);
  }
  return Digest::of(text).hex();
}

Result<std::string> digest_file(const SourceTree& tree, const std::string& path, std::vector<std::byte>& buffer,
                                const CancelToken& cancel) {
  const FileDescriptor file = TRY_CTX(tree.open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY), "reading \"" + path + "\"");
  Hasher hasher;
  while (true) {
    TRY(cancel.check());
    const std::size_t count = TRY_CTX(read_some(file, buffer), "reading \"" + path + "\"");
    if (count == 0) break;
    hasher.update(std::span<const std::byte>(buffer).first(count));
  }
  return with_attributes(hasher.finish().hex(), file, tree.is_context);
}

}  // namespace

bool FileDigests::Known::is_of(const FileStatus& status) const {
  return inode == status.st_ino && device == static_cast<std::int64_t>(status.st_dev) && size == status.st_size &&
         modified == nanoseconds(status.st_mtim) && changed == nanoseconds(status.st_ctim);
}

FileDigests::Known FileDigests::known(std::size_t index) const {
  Known result;
  std::memcpy(&result, known_.data() + index * sizeof(Known), sizeof(Known));
  return result;
}

Result<FileDigests> FileDigests::load(std::shared_ptr<store::Database> database, FdRef root) {
  static_assert(sizeof(Known) == 5 * sizeof(std::int64_t) + kHexDigest);
  FileDigests digests;
  digests.database_ = std::move(database);
  struct stat status = {};
  if (::fstat(root.get(), &status) != 0) return fail_errno("reading the build context");
  digests.device_ = static_cast<std::int64_t>(status.st_dev);
  digests.inode_ = static_cast<std::int64_t>(status.st_ino);
  TRY(digests.database_->execute(
      "CREATE TABLE IF NOT EXISTS build_context_digests(device INTEGER, inode INTEGER, files BLOB NOT NULL, "
      "used_at INTEGER NOT NULL, PRIMARY KEY(device, inode))"));
  digests.rows_ = TRY(digests.database_->query("SELECT files FROM build_context_digests WHERE device=? AND inode=?",
                                               {digests.device_, digests.inode_}));
  if (!digests.rows_.empty()) digests.known_ = digests.rows_.front().view(0);
  if (digests.known_.size() % sizeof(Known) != 0) digests.known_ = {};  // another version's
  digests.used_.resize(digests.known_.size() / sizeof(Known));
  return digests;
}

std::optional<std::string_view> FileDigests::find(const FileStatus& status) {
  if (const auto found = learnt_.find(status.st_ino); found != learnt_.end() && found->second.is_of(status))
    return std::string_view(found->second.digest.data(), kHexDigest);
  const auto inode_at = [&](std::size_t index) {
    std::uint64_t inode = 0;
    std::memcpy(&inode, known_.data() + index * sizeof(Known), sizeof inode);
    return inode;
  };
  const std::uint64_t wanted = status.st_ino;
  if (next_ >= used_.size() || inode_at(next_) != wanted) {
    const auto indices = std::views::iota(std::size_t{0}, used_.size());
    next_ = static_cast<std::size_t>(std::ranges::lower_bound(indices, wanted, {}, inode_at) - indices.begin());
  }
  if (next_ >= used_.size() || !known(next_).is_of(status)) return std::nullopt;
  used_[next_] = true;
  return known_.substr(next_++ * sizeof(Known) + offsetof(Known, digest), kHexDigest);
}

void FileDigests::learn(const FileStatus& status, const std::string& digest) {
  bytes_read_ += static_cast<std::uint64_t>(status.st_size);
  Known known{status.st_ino,
              static_cast<std::int64_t>(status.st_dev),
              status.st_size,
              nanoseconds(status.st_mtim),
              nanoseconds(status.st_ctim),
              {}};
  if (!is_settled(known.modified, known.changed)) return;
  digest.copy(known.digest.data(), known.digest.size());
  learnt_[known.inode] = known;
}

Result<void> FileDigests::save() {
  if (learnt_.empty()) return {};
  // Another target of the same context may read other files: what this build did not read stays, up to a point.
  const auto used = static_cast<std::size_t>(std::ranges::count(used_, true)) + learnt_.size();
  const bool all = used_.size() + learnt_.size() <= 4 * used + 1000;
  std::vector<Known> files;
  for (std::size_t i = 0; i < used_.size(); ++i)
    if ((all || used_[i]) && !learnt_.contains(known(i).inode)) files.push_back(known(i));
  for (const auto& [inode, file] : learnt_) files.push_back(file);
  if (files.size() > kMaxKnown) return {};
  std::ranges::sort(files, {}, &Known::inode);
  learnt_ = {};  // of a million files each copy is 100 MB
  std::string text(reinterpret_cast<const char*>(files.data()), files.size() * sizeof(Known));
  files = {};
  const auto now = static_cast<std::int64_t>(::time(nullptr));
  TRY(database_->execute("INSERT OR REPLACE INTO build_context_digests VALUES(?,?,CAST(? AS BLOB),?)",
                         {device_, inode_, std::move(text), now}));
  TRY(database_->execute("DELETE FROM build_context_digests WHERE used_at<?", {now - kForgetAfter}));
  return {};
}

Result<std::string> digest_source(const SourceTree& tree, const Source& source, FileDigests* memory,
                                  const CancelToken& cancel) {
  Hasher hasher;
  std::vector<std::byte> buffer(256u << 10);
  std::string text;
  for (const TreeEntry& entry : source.entries) {
    TRY(cancel.check());
    if (tree.progress != nullptr) tree.progress->looked_at();
    const bool is_top = entry.path.empty();
    const FileStatus& status = entry.status;
    text.clear();
    add_field(text, is_top && !source.is_directory() ? split_path(source.path).second : entry.path);
    add_field(text, std::to_string(status.st_mode));
    if (!tree.is_context) add_field(text, std::to_string(status.st_uid) + ":" + std::to_string(status.st_gid));
    add_field(text, entry.link_target);
    if (S_ISREG(status.st_mode)) {
      const std::optional<std::string_view> known = memory != nullptr ? memory->find(status) : std::nullopt;
      if (known) {
        add_field(text, *known);
      } else {
        const std::string digest = TRY(digest_file(tree, full_path(source, entry), buffer, cancel));
        if (memory != nullptr) memory->learn(status, digest);
        add_field(text, digest);
      }
    } else if (S_ISDIR(status.st_mode) && !tree.is_context) {
      const FileDescriptor directory = TRY(tree.open(full_path(source, entry), O_RDONLY | O_DIRECTORY));
      add_field(text, with_attributes("", directory, false));
    } else if (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode)) {
      add_field(text, std::to_string(status.st_rdev));
    }
    hasher.update(text);
  }
  return hasher.finish().hex();
}

}  // namespace dray::builder
