// SPDX-License-Identifier: Apache-2.0
// A secret goes from the user's file or variable to memory, and from there to a tmpfs that only the step sees: no file
// of ours, no argument, no key, no log ever holds it.
#include "mounts/secrets.hpp"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include <dray/core/detached_mount.hpp>

namespace dray::builder {
namespace {

constexpr std::size_t kMaxSecret = 500u << 10;  // BuildKit's limit

Result<std::string> read_secret(const SecretSource& source) {
  // As buildx: without src and env, the variable of that name, or else the file.
  std::string variable = source.env, file = source.file;
  if (variable.empty() && file.empty()) (std::getenv(source.id.c_str()) != nullptr ? variable : file) = source.id;
  if (!variable.empty()) {
    const char* value = std::getenv(variable.c_str());
    if (value == nullptr)
      return fail(ErrorCode::not_found, "secret \"" + source.id + "\": the variable \"" + variable + "\" is not set");
    const std::string text = value;
    if (text.size() > kMaxSecret)
      return fail(ErrorCode::invalid_argument, "secret \"" + source.id + "\" is larger than 500 KiB");
    return text;
  }
  const FileDescriptor opened = TRY_CTX(open_file(file, O_RDONLY), "secret \"" + source.id + "\"");
  struct stat status = {};
  if (::fstat(opened.get(), &status) != 0) return fail_errno("reading \"" + file + "\"");
  if (S_ISDIR(status.st_mode))
    return fail(ErrorCode::invalid_argument, "secret \"" + source.id + "\": \"" + file + "\" is a directory");
  auto text = read_all(opened, kMaxSecret);
  if (!text && text.error().code() == ErrorCode::corrupt)
    return fail(ErrorCode::invalid_argument, "secret \"" + source.id + "\" is larger than 500 KiB");
  return text;
}

}  // namespace

Result<std::optional<std::string>> Secrets::find(const std::string& id) {
  const std::scoped_lock lock(mutex_);
  const auto known = known_.find(id);
  if (known != known_.end()) return known->second;
  const auto source =
      std::find_if(sources_.rbegin(), sources_.rend(), [&](const auto& entry) { return entry.id == id; });
  if (source == sources_.rend()) return std::nullopt;
  // Kept, as a pipe ("src=/dev/fd/63") can be read only once.
  std::string content = TRY(read_secret(*source));
  return known_.emplace(id, std::move(content)).first->second;
}

Result<FileDescriptor> make_memory_file(std::string_view content, std::uint32_t mode, std::uint32_t uid,
                                        std::uint32_t gid, bool executable) {
  const FileDescriptor memory = TRY(make_tmpfs(content.size() + (64u << 10), 0));
  const FileDescriptor file = TRY(open_file_at(memory, "file", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  TRY(write_all(file, content));
  if (::fchown(file.get(), uid, gid) != 0 || ::fchmod(file.get(), mode & 07777) != 0)
    return fail_errno("setting the mode of a file in memory");
  FileDescriptor mount = TRY(open_submount(memory, "/file"));
  const std::uint64_t attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
  TRY(set_mount_attributes(mount, attributes | (executable ? 0u : unsigned{MOUNT_ATTR_NOEXEC}), Below::no));
  return mount;
}

}  // namespace dray::builder
