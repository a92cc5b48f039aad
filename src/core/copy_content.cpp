// SPDX-License-Identifier: Apache-2.0
#include <sys/sendfile.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>

#include <dray/core/copy_content.hpp>

namespace dray {
namespace {

constexpr std::size_t kChunk = 64u << 20;
constexpr std::size_t kSmall = 64u << 10;

/// From the descriptors' positions to the end of `from`, or `most` bytes.
Result<void> copy_range(FdRef from, FdRef to, off_t most, const CancelToken& cancel) {
  bool in_kernel = true;
  WriteBehind write_behind;
  while (most > 0) {
    TRY(cancel.check());
    const std::size_t chunk = static_cast<std::size_t>(std::min(most, static_cast<off_t>(kChunk)));
    const ssize_t count = in_kernel ? ::copy_file_range(from.get(), nullptr, to.get(), nullptr, chunk, 0)
                                    : ::sendfile(to.get(), from.get(), nullptr, chunk);
    if (count > 0) {
      write_behind.wrote(to, static_cast<std::uint64_t>(count));
      most -= count;
      continue;
    }
    if (count == 0 && !in_kernel) return {};
    // Zero may also mean that the file system (proc, some FUSE) cannot say: sendfile confirms the end.
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && (!in_kernel || errno == ENOSPC || errno == EDQUOT || errno == EIO)) return fail_errno("copying");
    in_kernel = false;
  }
  return {};
}

/// A small file in two calls, without the pipe that sendfile sets up. It ends where its size says.
Result<void> copy_small(FdRef from, FdRef to, std::size_t size) {
  std::array<std::byte, kSmall> buffer;
  std::size_t used = 0;
  while (used < size) {
    const std::size_t count = TRY(read_some(from, std::span(buffer).first(size).subspan(used)));
    if (count == 0) break;
    used += count;
  }
  return write_all(to, std::string_view(reinterpret_cast<const char*>(buffer.data()), used));
}

/// Only the parts that are not holes. False: the file system knows no holes, and nothing was done.
Result<bool> copy_sparse(FdRef from, FdRef to, off_t size, const CancelToken& cancel) {
  off_t data = ::lseek(from.get(), 0, SEEK_DATA);
  if (data < 0 && errno != ENXIO) return false;
  while (data >= 0 && data < size) {
    const off_t hole = ::lseek(from.get(), data, SEEK_HOLE);
    if (hole < 0) return fail_errno("looking for holes");
    if (::lseek(from.get(), data, SEEK_SET) < 0 || ::lseek(to.get(), data, SEEK_SET) < 0) return fail_errno("copying");
    TRY(copy_range(from, to, hole - data, cancel));
    data = ::lseek(from.get(), hole, SEEK_DATA);
    if (data < 0 && errno != ENXIO) return fail_errno("looking for data");
  }
  if (::ftruncate(to.get(), size) != 0) return fail_errno("setting the size");
  return true;
}

}  // namespace

Result<void> copy_content(FdRef from, FdRef to, const CancelToken& cancel) {
  struct stat status = {};
  if (::fstat(from.get(), &status) != 0) return fail_errno("copying");
  return copy_content(from, to, status, cancel);
}

Result<void> copy_content(FdRef from, FdRef to, const struct stat& status, const CancelToken& cancel) {
  if (status.st_blocks < status.st_size / 512) {
    const bool copied = TRY(copy_sparse(from, to, status.st_size, cancel));
    if (copied) return {};
  } else if (status.st_size > 0 && static_cast<std::uint64_t>(status.st_size) <= kSmall) {
    // A size of 0 says nothing: files of proc have it.
    return copy_small(from, to, static_cast<std::size_t>(status.st_size));
  }
  const off_t most = status.st_size > 0 ? status.st_size : std::numeric_limits<off_t>::max();
  return copy_range(from, to, most, cancel);
}

}  // namespace dray
