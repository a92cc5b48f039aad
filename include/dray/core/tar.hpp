// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <dray/core/stream.hpp>

namespace dray::tar {

enum class EntryType { regular, directory, symlink, hardlink, character_device, block_device, fifo };

/// One member of a tar archive. Paths are as written in the archive: hostile until resolved beneath a directory
/// descriptor.
struct Entry {
  std::string path;
  EntryType type = EntryType::regular;
  std::string link_target;  ///< symlink, hardlink
  std::uint32_t mode = 0;   ///< permission bits with setuid, setgid, sticky
  std::uint32_t uid = 0, gid = 0;
  std::uint64_t size = 0;  ///< of a regular file's content
  std::int64_t mtime_seconds = 0;
  std::uint32_t mtime_nanoseconds = 0;
  std::uint32_t device_major = 0, device_minor = 0;
  std::map<std::string, std::string> xattrs;  ///< "security.capability" -> raw bytes
};

/// What stat says of a file: type, mode, owner and time. Size, link target and device numbers are the caller's.
Entry entry_of(const std::string& path, const struct stat& status);

/// Reads an uncompressed tar (ustar, pax, GNU) through libarchive. `source` must outlive it. Not thread-safe.
/// Errors: corrupt. Limits: path and link target 64 KiB, xattrs 1 MiB an entry.
class Reader : public ByteSource {
 public:
  explicit Reader(ByteSource& source);
  Reader(Reader&&) noexcept;
  ~Reader() override;
  /// The next entry, or nullopt at the end.
  Result<std::optional<Entry>> next();
  /// Content of the entry last returned; 0 = end of that entry.
  Result<std::size_t> read(std::span<std::byte> buffer) override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Writes pax tar whose bytes depend only on the entries: fixed field layout, pax records only where ustar cannot hold
/// a value, sorted; no user or group names. Version of this format: kWriterVersion; a change of bytes is a new version.
class Writer {
 public:
  static constexpr int kWriterVersion = 1;
  explicit Writer(ByteSink& sink) : sink_(sink) {}
  /// `content` delivers exactly entry.size bytes for a regular file; nullptr otherwise (or for size 0).
  Result<void> add(const Entry& entry, ByteSource* content);
  /// End-of-archive blocks. Does not finish the sink.
  Result<void> finish();

 private:
  ByteSink& sink_;
};

}  // namespace dray::tar
