// SPDX-License-Identifier: Apache-2.0
// The content digest of a COPY's source, the part of its cache key that looks at files. Hashing a large
// context again for each build would cost more than the build: a context file's digest is remembered under
// its inode and times, except for files changed just now, whose next change might not show in the times.
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#include <array>

#include <dray/core/digest.hpp>
#include <dray/core/rooted_path.hpp>

#include "context/scan.hpp"

namespace dray::builder {
namespace {

constexpr std::int64_t kSettled = 2'000'000'000;  // ns; the coarsest clock of a file system we expect
constexpr std::size_t kRowsPerInsert = 200;

std::int64_t nanoseconds(const timespec& time) { return time.tv_sec * 1'000'000'000LL + time.tv_nsec; }

void add_field(std::string& text, std::string_view field) {
  text += std::to_string(field.size());
  text += ':';
  text += field;
}

}  // namespace

Result<std::string> ContentDigests::of(const SourceTree& tree, const Source& source, const CancelToken& cancel) {
  Hasher hasher;
  std::vector<std::string> learnt;
  for (const TreeEntry& entry : source.entries) {
    if (cancel.cancelled()) return fail(ErrorCode::cancelled, "build cancelled");
    const bool is_top = entry.path.empty();
    const std::string full =
        is_top ? source.path : (source.path == "/" ? "/" : source.path + "/") + entry.path;
    std::string text;
    add_field(text, is_top && !source.is_directory() ? split_path(source.path).second : entry.path);
    add_field(text, std::to_string(entry.status.st_mode));
    if (!tree.is_context)
      add_field(text, std::to_string(entry.status.st_uid) + ":" + std::to_string(entry.status.st_gid));
    add_field(text, entry.link_target);
    if (S_ISREG(entry.status.st_mode)) {
      const std::string digest = TRY(of_file(tree, full, entry.status, cancel, learnt));
      add_field(text, digest);
    } else if (S_ISCHR(entry.status.st_mode) || S_ISBLK(entry.status.st_mode)) {
      add_field(text, std::to_string(entry.status.st_rdev));
    }
    hasher.update(text);
  }
  TRY(remember(learnt));
  return hasher.finish().hex();
}

Result<std::string> ContentDigests::of_file(const SourceTree& tree, const std::string& path,
                                            const struct stat& status, const CancelToken& cancel,
                                            std::vector<std::string>& learnt) {
  const std::int64_t device = static_cast<std::int64_t>(status.st_dev);
  const std::int64_t inode = static_cast<std::int64_t>(status.st_ino);
  const std::int64_t size = status.st_size;
  const std::int64_t modified = nanoseconds(status.st_mtim), changed = nanoseconds(status.st_ctim);
  if (tree.is_context) {
    std::optional<Error> error;
    std::call_once(created_, [&] {
      auto created = database_->execute(
          "CREATE TABLE IF NOT EXISTS builder_file_digests (device INTEGER, inode INTEGER, size INTEGER, "
          "mtime_ns INTEGER, ctime_ns INTEGER, digest TEXT, PRIMARY KEY (device, inode)) WITHOUT ROWID");
      if (!created) error = std::move(created).error();
    });
    if (error) return Failure(std::move(*error));
    const std::vector<store::Row> rows =
        TRY(database_->query("SELECT digest FROM builder_file_digests WHERE device=? AND inode=? AND size=? "
                             "AND mtime_ns=? AND ctime_ns=?",
                             {device, inode, size, modified, changed}));
    if (!rows.empty()) return rows.front().text(0);
  }
  const FileDescriptor file =
      TRY_CTX(tree.open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY), "reading \"" + path + "\"");
  Hasher hasher;
  std::vector<std::byte> buffer(256u << 10);
  while (true) {
    if (cancel.cancelled()) return fail(ErrorCode::cancelled, "build cancelled");
    const std::size_t count = TRY_CTX(read_some(file, buffer), "reading \"" + path + "\"");
    if (count == 0) break;
    hasher.update(std::span(buffer).first(count));
  }
  const std::string digest = hasher.finish().hex();
  timespec now = {};
  ::clock_gettime(CLOCK_REALTIME, &now);
  if (tree.is_context && nanoseconds(now) - changed > kSettled) {
    std::string row = "(" + std::to_string(device);
    for (const std::int64_t value : {inode, size, modified, changed}) row += "," + std::to_string(value);
    learnt.push_back(row + ",'" + digest + "')");
  }
  return digest;
}

/// Numbers and hex only, so that many rows can go into one statement (one transaction).
Result<void> ContentDigests::remember(const std::vector<std::string>& learnt) {
  for (std::size_t begin = 0; begin < learnt.size(); begin += kRowsPerInsert) {
    std::string sql = "INSERT OR REPLACE INTO builder_file_digests VALUES ";
    for (std::size_t i = begin; i < std::min(begin + kRowsPerInsert, learnt.size()); ++i)
      sql += (i > begin ? "," : "") + learnt[i];
    TRY(database_->execute(sql));
  }
  return {};
}

}  // namespace dray::builder
