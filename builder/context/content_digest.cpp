// SPDX-License-Identifier: Apache-2.0
// The content digest of a COPY's source, the part of its cache key that looks at files. Hashing a large
// context again for each build would cost more than the build, so digests are remembered under the files' inodes
// and times, except for files changed just now, whose next change might not show in the times. One row holds
// all files of a context as lines of text: reading 20,000 rows would take longer than the rest of a build
// that changes nothing.
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#include <algorithm>
#include <charconv>

#include <dray/core/digest.hpp>
#include <dray/core/process.hpp>
#include <dray/core/rooted_path.hpp>

#include "context/attributes.hpp"
#include "context/scan.hpp"

namespace dray::builder {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kForgetAfter = 60 * 24 * 3600;  // s without a build of that context
constexpr std::size_t kMaxKnown = 2'000'000;           // files, about 250 MB of text
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

/// Reads "hex " from the front of `text`.
bool take_number(std::string_view& text, std::int64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (error != std::errc() || end == text.data() + text.size() || *end != ' ') return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()) + 1);
  return true;
}

void put_number(std::string& text, std::int64_t value) {
  char digits[20];
  const auto [end, error] = std::to_chars(digits, digits + sizeof digits, value, 16);
  text.append(digits, end);
  text += ' ';
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
    if (cancel.cancelled()) return fail(ErrorCode::cancelled, "build cancelled");
    const std::size_t count = TRY_CTX(read_some(file, buffer), "reading \"" + path + "\"");
    if (count == 0) break;
    hasher.update(std::span<const std::byte>(buffer).first(count));
  }
  return with_attributes(hasher.finish().hex(), file, tree.is_context);
}

}  // namespace

Result<FileDigests> FileDigests::load(std::shared_ptr<store::Database> database, FdRef root) {
  FileDigests digests;
  digests.database_ = std::move(database);
  struct stat status = {};
  if (::fstat(root.get(), &status) != 0) return fail_errno("reading the build context");
  digests.device_ = static_cast<std::int64_t>(status.st_dev);
  digests.inode_ = static_cast<std::int64_t>(status.st_ino);
  TRY(digests.database_->execute(
      "CREATE TABLE IF NOT EXISTS build_context_digests(device INTEGER, inode INTEGER, files TEXT NOT NULL, "
      "used_at INTEGER NOT NULL, PRIMARY KEY(device, inode))"));
  const std::vector<store::Row> rows = TRY(digests.database_->query(
      "SELECT files FROM build_context_digests WHERE device=? AND inode=?", {digests.device_, digests.inode_}));
  if (rows.empty()) return digests;
  const std::string files = rows.front().text(0);
  digests.loaded_.reserve(files.size() / 110);
  for (std::string_view text = files; !text.empty();) {
    Known known;
    std::int64_t inode = 0;
    const bool whole = take_number(text, inode) && take_number(text, known.device) && take_number(text, known.size) &&
                       take_number(text, known.modified) && take_number(text, known.changed) &&
                       text.size() > kHexDigest && text[kHexDigest] == '\n';
    if (!whole) break;  // written by another version: read the files again
    known.inode = static_cast<std::uint64_t>(inode);
    std::copy_n(text.begin(), kHexDigest, known.digest.begin());
    text.remove_prefix(kHexDigest + 1);
    digests.loaded_.push_back(known);
  }
  if (!std::ranges::is_sorted(digests.loaded_, {}, &Known::inode)) digests.loaded_.clear();  // of an older version
  return digests;
}

const FileDigests::Known* FileDigests::known(std::uint64_t inode) const {
  const auto learnt = learnt_.find(inode);
  if (learnt != learnt_.end()) return &learnt->second;
  if (next_ >= loaded_.size() || loaded_[next_].inode != inode)
    next_ = static_cast<std::size_t>(std::ranges::lower_bound(loaded_, inode, {}, &Known::inode) - loaded_.begin());
  if (next_ >= loaded_.size() || loaded_[next_].inode != inode) return nullptr;
  return &loaded_[next_++];
}

std::optional<std::string_view> FileDigests::find(const struct stat& status) const {
  const Known* found = known(status.st_ino);
  if (found == nullptr) return std::nullopt;
  const bool same = found->device == static_cast<std::int64_t>(status.st_dev) && found->size == status.st_size &&
                    found->modified == nanoseconds(status.st_mtim) && found->changed == nanoseconds(status.st_ctim);
  if (!same) return std::nullopt;
  found->used = true;
  return std::string_view(found->digest.data(), found->digest.size());
}

void FileDigests::learn(const struct stat& status, std::string_view digest) {
  bytes_read_ += static_cast<std::uint64_t>(status.st_size);
  const std::int64_t modified = nanoseconds(status.st_mtim), changed = nanoseconds(status.st_ctim);
  if (!is_settled(modified, changed) || digest.size() != kHexDigest) return;
  Known& known = learnt_[status.st_ino];
  known = {status.st_ino, static_cast<std::int64_t>(status.st_dev), status.st_size, modified, changed, {}, true};
  std::ranges::copy(digest, known.digest.begin());
}

Result<void> FileDigests::save() {
  if (learnt_.empty()) return {};
  for (const Known& old : loaded_)
    if (!learnt_.contains(old.inode)) learnt_.emplace(old.inode, old);
  loaded_.clear();
  // Another target of the same context may read other files: what this build did not read stays, up to a point.
  const auto used = std::ranges::count_if(learnt_, [](const auto& file) { return file.second.used; });
  if (learnt_.size() > 4 * static_cast<std::size_t>(used) + 1000)
    std::erase_if(learnt_, [](const auto& file) { return !file.second.used; });
  if (learnt_.size() > kMaxKnown) return {};
  std::string files;
  files.reserve(learnt_.size() * 130);
  for (const auto& [inode, known] : learnt_) {
    put_number(files, static_cast<std::int64_t>(inode));
    for (const std::int64_t value : {known.device, known.size, known.modified, known.changed}) put_number(files, value);
    files.append(known.digest.data(), known.digest.size());
    files += '\n';
  }
  const auto now = static_cast<std::int64_t>(::time(nullptr));
  TRY(database_->execute("INSERT OR REPLACE INTO build_context_digests VALUES(?,?,?,?)",
                         {device_, inode_, files, now}));
  TRY(database_->execute("DELETE FROM build_context_digests WHERE used_at<?", {now - kForgetAfter}));
  return {};
}

Result<std::string> digest_source(const SourceTree& tree, const Source& source, FileDigests* memory,
                                  const CancelToken& cancel) {
  Hasher hasher;
  std::vector<std::byte> buffer(256u << 10);
  std::string text;
  for (const TreeEntry& entry : source.entries) {
    if (cancel.cancelled()) return fail(ErrorCode::cancelled, "build cancelled");
    const bool is_top = entry.path.empty();
    const struct stat& status = entry.status;
    text.clear();
    add_field(text, is_top && !source.is_directory() ? split_path(source.path).second : entry.path);
    add_field(text, std::to_string(status.st_mode));
    if (!tree.is_context) add_field(text, std::to_string(status.st_uid) + ":" + std::to_string(status.st_gid));
    add_field(text, entry.link_target);
    if (S_ISREG(status.st_mode)) {
      const auto known = memory != nullptr ? memory->find(status) : std::nullopt;
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
