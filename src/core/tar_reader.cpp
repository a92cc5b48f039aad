// SPDX-License-Identifier: Apache-2.0
// Reading goes through libarchive: tar has many dialects and hostile writers, and libarchive has met them all. Only its
// tar reader is linked (no filters: compression.cpp does those). Names are taken as raw bytes.
#include <archive.h>
#include <archive_entry.h>
#include <locale.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <dray/core/tar.hpp>

namespace dray::tar {
namespace {

constexpr std::size_t kMaxPath = 64 * 1024;
constexpr std::size_t kMaxXattrs = 1024 * 1024;
constexpr std::size_t kBufferSize = 256 * 1024;

// pax headers are UTF-8; libarchive hands them out unconverted only where the locale is UTF-8 too.
void use_utf8_names() {
  static const bool once = [] {
    if (::setlocale(LC_CTYPE, "C.UTF-8") == nullptr) (void)::setlocale(LC_CTYPE, "C.utf8");
    return true;
  }();
  (void)once;
}

const char* first_of(const char* a, const char* b) { return a != nullptr ? a : b; }

}  // namespace

struct Reader::State {
  ByteSource* source = nullptr;
  archive* handle = nullptr;
  bool opened = false;
  std::vector<std::byte> buffer;
  std::optional<Error> source_error;  ///< libarchive sees only "failed"; the cause is kept here

  ~State() { ::archive_read_free(handle); }

  Failure failure(std::string_view what) {
    if (source_error) return Failure(*source_error);
    const char* text = ::archive_error_string(handle);
    return fail(ErrorCode::corrupt, std::string(what) + (text != nullptr ? ": " + std::string(text) : ""));
  }

  static la_ssize_t read(archive*, void* context, const void** bytes) {
    auto& state = *static_cast<State*>(context);
    auto count = state.source->read(state.buffer);
    if (!count) {
      state.source_error = count.error();
      return -1;
    }
    *bytes = state.buffer.data();
    return static_cast<la_ssize_t>(*count);
  }
};

Reader::Reader(ByteSource& source) : state_(std::make_unique<State>()) {
  use_utf8_names();
  state_->source = &source;
  state_->buffer.resize(kBufferSize);
  state_->handle = ::archive_read_new();
  ::archive_read_support_format_tar(state_->handle);
  ::archive_read_support_format_empty(state_->handle);
}
Reader::Reader(Reader&&) noexcept = default;
Reader::~Reader() = default;

Result<std::optional<Entry>> Reader::next() {
  State& state = *state_;
  if (!std::exchange(state.opened, true)) {
    if (::archive_read_open(state.handle, &state, nullptr, State::read, nullptr) != ARCHIVE_OK)
      return state.failure("not a tar archive");
  }
  archive_entry* raw = nullptr;
  int outcome = ::archive_read_next_header(state.handle, &raw);
  if (outcome == ARCHIVE_EOF) return std::optional<Entry>();
  // A warning is a name that could not be converted: the raw bytes are used all the same.
  if (outcome != ARCHIVE_OK && outcome != ARCHIVE_WARN) return state.failure("damaged tar archive");

  Entry entry;
  const char* path = first_of(::archive_entry_pathname(raw), ::archive_entry_pathname_utf8(raw));
  if (path == nullptr) return fail(ErrorCode::corrupt, "tar entry without a readable name");
  entry.path = path;
  entry.mode = ::archive_entry_perm(raw) & 07777;
  auto uid = ::archive_entry_uid(raw), gid = ::archive_entry_gid(raw);
  if (uid < 0 || uid > 0xfffffffeLL || gid < 0 || gid > 0xfffffffeLL)
    return fail(ErrorCode::corrupt, "tar entry \"" + entry.path + "\": owner out of range");
  entry.uid = static_cast<std::uint32_t>(uid);
  entry.gid = static_cast<std::uint32_t>(gid);
  entry.mtime_seconds = ::archive_entry_mtime(raw);
  entry.mtime_nanoseconds = static_cast<std::uint32_t>(::archive_entry_mtime_nsec(raw));
  if (const char* target = first_of(::archive_entry_hardlink(raw), ::archive_entry_hardlink_utf8(raw))) {
    entry.type = EntryType::hardlink;
    entry.link_target = target;
  } else {
    switch (::archive_entry_filetype(raw)) {
      case AE_IFREG:
        entry.type = EntryType::regular;
        break;
      case AE_IFDIR:
        entry.type = EntryType::directory;
        break;
      case AE_IFLNK:
        entry.type = EntryType::symlink;
        break;
      case AE_IFCHR:
        entry.type = EntryType::character_device;
        break;
      case AE_IFBLK:
        entry.type = EntryType::block_device;
        break;
      case AE_IFIFO:
        entry.type = EntryType::fifo;
        break;
      default:
        return fail(ErrorCode::corrupt, "tar entry \"" + entry.path + "\" has an unknown type");
    }
  }
  if (entry.type == EntryType::symlink) {
    const char* target = first_of(::archive_entry_symlink(raw), ::archive_entry_symlink_utf8(raw));
    if (target == nullptr)
      return fail(ErrorCode::corrupt, "tar entry \"" + entry.path + "\" is a symlink without a target");
    entry.link_target = target;
  }
  if (entry.path.size() > kMaxPath || entry.link_target.size() > kMaxPath)
    return fail(ErrorCode::corrupt, "tar entry name is too long");
  if (entry.type == EntryType::regular) {
    if (::archive_entry_size(raw) < 0)
      return fail(ErrorCode::corrupt, "tar entry \"" + entry.path + "\" has a negative size");
    entry.size = static_cast<std::uint64_t>(::archive_entry_size(raw));
  }
  entry.device_major = static_cast<std::uint32_t>(::archive_entry_rdevmajor(raw));
  entry.device_minor = static_cast<std::uint32_t>(::archive_entry_rdevminor(raw));
  const char* name;
  const void* value;
  std::size_t size, total = 0;
  ::archive_entry_xattr_reset(raw);
  while (::archive_entry_xattr_next(raw, &name, &value, &size) == ARCHIVE_OK) {
    total += size;
    if (total > kMaxXattrs)
      return fail(ErrorCode::corrupt, "tar entry \"" + entry.path + "\" has over 1 MiB of extended attributes");
    if (name != nullptr) entry.xattrs[name] = std::string(static_cast<const char*>(value), size);
  }
  return std::optional<Entry>(std::move(entry));
}

Result<std::size_t> Reader::read(std::span<std::byte> buffer) {
  la_ssize_t count = ::archive_read_data(state_->handle, buffer.data(), buffer.size());
  if (count < 0) return state_->failure("damaged tar archive");
  return static_cast<std::size_t>(count);
}

}  // namespace dray::tar
