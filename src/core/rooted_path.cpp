// SPDX-License-Identifier: Apache-2.0
// Rooted resolution through openat2(2), which the kernel does atomically: no check-then-use, no own walk over symlinks.
// EAGAIN (a rename raced with "..") is repeated, as the manual page asks.
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include <dray/core/rooted_path.hpp>

namespace dray {
namespace {

Result<FileDescriptor> openat2(FdRef root, const std::string& path, int flags, unsigned mode, std::uint64_t resolve) {
  if (path.find('\0') != std::string::npos) return fail(ErrorCode::invalid_argument, "path contains a NUL byte");
  struct open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
  // openat2 refuses a mode without O_CREAT, and unknown mode bits.
  if ((flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE) how.mode = mode & 07777;
  how.resolve = resolve | RESOLVE_NO_MAGICLINKS;
  const char* name = path.empty() ? "." : path.c_str();
  for (int attempt = 0; attempt < 1000; ++attempt) {
    long fd = ::syscall(SYS_openat2, root.get(), name, &how, sizeof how);
    if (fd >= 0) return FileDescriptor(static_cast<int>(fd));
    if (errno != EAGAIN && errno != EINTR) break;
  }
  return fail_errno("opening \"" + path + "\"");
}

std::string relative(const std::string& path) {
  std::size_t start = path.find_first_not_of('/');
  return start == std::string::npos ? "." : path.substr(start);
}

}  // namespace

Result<FileDescriptor> open_in_root(FdRef root, const std::string& path, int flags, unsigned mode) {
  return openat2(root, path, flags, mode, RESOLVE_IN_ROOT);
}

Result<FileDescriptor> open_beneath(FdRef root, const std::string& path, int flags, unsigned mode) {
  return openat2(root, relative(path), flags, mode, RESOLVE_BENEATH);
}

Result<FileDescriptor> open_without_links(FdRef root, const std::string& path, int flags) {
  return openat2(root, path, flags | O_NOFOLLOW, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
}

Result<std::vector<std::string>> list_without_links(FdRef root, const std::string& path) {
  const FileDescriptor fd = TRY(open_without_links(root, path, O_PATH | O_DIRECTORY));
  return TRY_CTX(list_directory(fd), "\"" + path + "\"");
}

Result<FileDescriptor> make_directories_in_root(FdRef root, const std::string& path, unsigned mode, unsigned uid,
                                                unsigned gid) {
  std::string wanted = clean_path("/" + path);
  auto whole = open_in_root(root, wanted, O_PATH | O_DIRECTORY);
  if (whole || whole.error().error_number() != ENOENT) return whole;
  // Create from the first missing component on. Each prefix is resolved in root anew, so symlinks on the way are
  // followed there; mkdirat acts on one component beneath a held descriptor.
  FileDescriptor current = TRY(open_in_root(root, "/", O_PATH | O_DIRECTORY));
  for (std::size_t start = 1; start < wanted.size();) {
    std::size_t end = std::min(wanted.find('/', start), wanted.size());
    std::string name = wanted.substr(start, end - start);
    std::string prefix = wanted.substr(0, end);
    if (::mkdirat(current.get(), name.c_str(), mode & 07777) == 0) {
      if (::fchownat(current.get(), name.c_str(), uid, gid, AT_SYMLINK_NOFOLLOW) != 0)
        return fail_errno("changing the owner of \"" + prefix + "\"");
      // mkdir is subject to the umask; the mode asked for is meant exactly.
      if (::fchmodat(current.get(), name.c_str(), mode & 07777, 0) != 0)
        return fail_errno("changing the mode of \"" + prefix + "\"");
    } else if (errno != EEXIST) {
      return fail_errno("creating directory \"" + prefix + "\"");
    }
    current = TRY(open_in_root(root, prefix, O_PATH | O_DIRECTORY));
    start = end + 1;
  }
  return current;
}

Result<struct stat> stat_in_root(FdRef root, const std::string& path, FollowLast follow) {
  FileDescriptor fd = TRY(open_in_root(root, path, O_PATH | (follow == FollowLast::no ? O_NOFOLLOW : 0)));
  struct stat status;
  if (::fstat(fd.get(), &status) != 0) return fail_errno("reading the status of \"" + path + "\"");
  return status;
}

Result<std::string> read_regular_file_in_root(FdRef root, const std::string& path, std::size_t limit) {
  // First O_PATH: opening a device for reading can have side effects before fstat could refuse it.
  FileDescriptor handle = TRY(open_in_root(root, path, O_PATH));
  struct stat status;
  if (::fstat(handle.get(), &status) != 0) return fail_errno("reading the status of \"" + path + "\"");
  if (!S_ISREG(status.st_mode)) return fail(ErrorCode::invalid_argument, "\"" + path + "\" is not a regular file");
  FileDescriptor fd = TRY(open_in_root(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY));
  struct stat opened;
  if (::fstat(fd.get(), &opened) != 0 || opened.st_ino != status.st_ino || opened.st_dev != status.st_dev)
    return fail(ErrorCode::permission_denied, "\"" + path + "\" changed while it was opened");
  return TRY_CTX(read_all(fd, limit), "reading \"" + path + "\"");
}

std::string clean_path(std::string_view path) {
  bool absolute = !path.empty() && path.front() == '/';
  std::vector<std::string_view> parts;
  for (std::size_t start = 0; start < path.size();) {
    std::size_t end = std::min(path.find('/', start), path.size());
    std::string_view part = path.substr(start, end - start);
    start = end + 1;
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      if (!parts.empty() && parts.back() != "..") {
        parts.pop_back();
      } else if (!absolute) {
        parts.push_back(part);
      }
      continue;
    }
    parts.push_back(part);
  }
  std::string result = absolute ? "/" : "";
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) result += '/';
    result += parts[i];
  }
  return result.empty() ? "." : result;
}

std::string join_path(std::string_view base, std::string_view path) {
  if (!path.empty() && path.front() == '/') return clean_path(path);
  return clean_path(std::string(base) + "/" + std::string(path));
}

std::pair<std::string, std::string> split_path(std::string_view path) {
  std::size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return {"", std::string(path)};
  return {slash == 0 ? "/" : std::string(path.substr(0, slash)), std::string(path.substr(slash + 1))};
}

}  // namespace dray
