// SPDX-License-Identifier: Apache-2.0
// Our own writer, because layer digests depend on every byte: libarchive's output may change with its version. ustar
// headers; a pax record only for what ustar cannot hold, records sorted by key.
#include <cstdio>
#include <cstring>

#include <dray/core/tar.hpp>

namespace dray::tar {
namespace {

constexpr std::size_t kBlock = 512;

struct Header {
  char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100], magic[6], version[2],
      uname[32], gname[32], major[8], minor[8], prefix[155], padding[12];
};
static_assert(sizeof(Header) == kBlock);

/// Octal with a terminating NUL; false if it does not fit.
template <std::size_t N>
bool put_octal(char (&field)[N], std::uint64_t value) {
  for (std::size_t i = N - 1; i-- > 0;) {
    field[i] = static_cast<char>('0' + (value & 7));
    value >>= 3;
  }
  field[N - 1] = '\0';
  return value == 0;
}

char type_flag(EntryType type) {
  switch (type) {
    case EntryType::regular:
      return '0';
    case EntryType::hardlink:
      return '1';
    case EntryType::symlink:
      return '2';
    case EntryType::character_device:
      return '3';
    case EntryType::block_device:
      return '4';
    case EntryType::directory:
      return '5';
    case EntryType::fifo:
      return '6';
  }
  return '0';
}

/// "<length> <key>=<value>\n", the length counting itself.
std::string pax_record(const std::string& key, const std::string& value) {
  std::size_t body = key.size() + value.size() + 3;
  std::size_t length = body + 1;
  while (std::to_string(length).size() + body != length) length = std::to_string(length).size() + body;
  return std::to_string(length) + " " + key + "=" + value + "\n";
}

void seal(Header& header) {
  std::memcpy(header.magic, "ustar", 6);
  std::memcpy(header.version, "00", 2);
  std::memset(header.checksum, ' ', sizeof header.checksum);
  unsigned sum = 0;
  for (auto byte : std::span(reinterpret_cast<const unsigned char*>(&header), sizeof header)) sum += byte;
  std::snprintf(header.checksum, sizeof header.checksum, "%06o", sum);
  header.checksum[7] = ' ';
}

Result<void> write_padded(ByteSink& sink, std::string_view bytes) {
  TRY(sink.write(std::as_bytes(std::span(bytes))));
  static constexpr std::byte zeros[kBlock]{};
  if (std::size_t rest = bytes.size() % kBlock; rest != 0) TRY(sink.write(std::span(zeros).first(kBlock - rest)));
  return {};
}

Result<void> write_header(ByteSink& sink, Header& header) {
  seal(header);
  return sink.write(std::as_bytes(std::span(&header, 1)));
}

}  // namespace

Entry entry_of(const std::string& path, const struct stat& status) {
  Entry entry;
  entry.path = path;
  entry.type = S_ISDIR(status.st_mode)    ? EntryType::directory
               : S_ISLNK(status.st_mode)  ? EntryType::symlink
               : S_ISCHR(status.st_mode)  ? EntryType::character_device
               : S_ISBLK(status.st_mode)  ? EntryType::block_device
               : S_ISFIFO(status.st_mode) ? EntryType::fifo
                                          : EntryType::regular;
  entry.mode = S_ISLNK(status.st_mode) ? 0777 : status.st_mode & 07777;
  entry.uid = status.st_uid;
  entry.gid = status.st_gid;
  entry.mtime_seconds = status.st_mtim.tv_sec;
  entry.mtime_nanoseconds = static_cast<std::uint32_t>(status.st_mtim.tv_nsec);
  return entry;
}

Result<void> Writer::add(const Entry& entry, ByteSource* content) {
  Header header{};
  std::map<std::string, std::string> pax;
  std::string path = entry.path;
  if (entry.type == EntryType::directory && !path.ends_with('/')) path += '/';
  if (path.size() <= sizeof header.name) {
    std::memcpy(header.name, path.data(), path.size());
  } else {
    pax["path"] = path;
    std::memcpy(header.name, path.data(), sizeof header.name);
  }
  if (entry.link_target.size() <= sizeof header.link) {
    std::memcpy(header.link, entry.link_target.data(), entry.link_target.size());
  } else {
    pax["linkpath"] = entry.link_target;
    std::memcpy(header.link, entry.link_target.data(), sizeof header.link);
  }
  std::uint64_t size = entry.type == EntryType::regular ? entry.size : 0;
  put_octal(header.mode, entry.mode & 07777);
  if (!put_octal(header.uid, entry.uid)) pax["uid"] = std::to_string(entry.uid);
  if (!put_octal(header.gid, entry.gid)) pax["gid"] = std::to_string(entry.gid);
  if (!put_octal(header.size, size)) pax["size"] = std::to_string(size);
  bool plain_time =
      entry.mtime_seconds >= 0 && put_octal(header.mtime, static_cast<std::uint64_t>(entry.mtime_seconds));
  if (!plain_time) put_octal(header.mtime, 0);
  if (!plain_time || entry.mtime_nanoseconds != 0) {
    std::string text = std::to_string(entry.mtime_seconds);
    if (entry.mtime_nanoseconds != 0 && entry.mtime_seconds >= 0) {
      char fraction[16];
      std::snprintf(fraction, sizeof fraction, ".%09u", entry.mtime_nanoseconds);
      text += fraction;
    }
    pax["mtime"] = text;
  }
  header.type = type_flag(entry.type);
  put_octal(header.major, entry.device_major);
  put_octal(header.minor, entry.device_minor);
  for (const auto& [name, value] : entry.xattrs) pax["SCHILY.xattr." + name] = value;

  if (!pax.empty()) {
    std::string records;
    for (const auto& [key, value] : pax) records += pax_record(key, value);
    Header extended{};
    std::string name = "PaxHeaders.0/" + path;
    name.resize(std::min<std::size_t>(name.size(), sizeof extended.name));
    std::memcpy(extended.name, name.data(), name.size());
    put_octal(extended.mode, 0644);
    put_octal(extended.uid, 0);
    put_octal(extended.gid, 0);
    put_octal(extended.size, records.size());
    put_octal(extended.mtime, 0);
    extended.type = 'x';
    TRY(write_header(sink_, extended));
    TRY(write_padded(sink_, records));
  }
  TRY(write_header(sink_, header));
  if (size == 0) return {};
  if (content == nullptr) return fail(ErrorCode::internal, "tar entry \"" + entry.path + "\" without its content");

  std::vector<std::byte> buffer(std::min<std::uint64_t>(size, 256 * 1024));
  for (std::uint64_t done = 0; done < size;) {
    std::size_t wanted = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), size - done));
    std::size_t count = TRY(content->read(std::span(buffer).first(wanted)));
    if (count == 0) return fail(ErrorCode::corrupt, "\"" + entry.path + "\" became shorter while it was read");
    TRY(sink_.write(std::span<const std::byte>(buffer).first(count)));
    done += count;
  }
  static constexpr std::byte zeros[kBlock]{};
  if (std::size_t rest = size % kBlock; rest != 0) TRY(sink_.write(std::span(zeros).first(kBlock - rest)));
  return {};
}

Result<void> Writer::finish() {
  static constexpr std::byte zeros[2 * kBlock]{};
  return sink_.write(zeros);
}

}  // namespace dray::tar
