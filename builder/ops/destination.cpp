// SPDX-License-Identifier: Apache-2.0
#include "ops/destination.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <climits>
#include <deque>

#include <dray/core/rooted_path.hpp>

namespace dray::builder {
namespace {

constexpr int kMaxLinks = 255;

/// Puts the names of `path` before those in `names`.
void push_front(std::deque<std::string>& names, const std::string& path) {
  std::deque<std::string> added;
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    if (end > begin) added.push_back(path.substr(begin, end - begin));
    begin = end + 1;
  }
  names.insert(names.begin(), added.begin(), added.end());
}

}  // namespace

Result<std::string> resolve_links(FdRef root, const std::string& path) {
  std::deque<std::string> names;
  push_front(names, path);
  std::string resolved;  // "/a/b"; "" is the root
  int links = 0;
  while (!names.empty()) {
    const std::string name = std::move(names.front());
    names.pop_front();
    if (name == ".") continue;
    if (name == "..") {
      resolved = resolved.substr(0, std::min(resolved.rfind('/'), resolved.size()));
      continue;
    }
    const std::string next = resolved + "/" + name;
    const auto status = stat_in_root(root, next, FollowLast::no);
    if (!status || !S_ISLNK(status->st_mode)) {
      resolved = next;
      continue;
    }
    if (++links > kMaxLinks)
      return fail(ErrorCode::invalid_argument, "too many levels of symbolic links in \"" + path + "\"");
    const FileDescriptor link = TRY(open_in_root(root, next, O_PATH | O_NOFOLLOW));
    std::string target(PATH_MAX, '\0');
    const ssize_t length = ::readlinkat(link.get(), "", target.data(), target.size());
    if (length < 0) return fail_errno("reading the link \"" + next + "\"");
    target.resize(static_cast<std::size_t>(length));
    if (target.starts_with('/')) resolved.clear();
    push_front(names, target);
  }
  return resolved.empty() ? "/" : resolved;
}

Result<void> Destination::look() {
  resolved_ = TRY(resolve_links(root_, path_));
  const auto status = stat_in_root(root_, resolved_, FollowLast::no);
  exists_ = status.has_value();
  is_directory_ = exists_ && S_ISDIR(status->st_mode);
  if (exists_ && !is_directory_ && path_.ends_with('/'))
    return fail(ErrorCode::invalid_argument, "cannot copy to \"" + path_ + "\": not a directory");
  return {};
}

Result<FileDescriptor> Destination::make(const std::string& path) {
  const FileDescriptor fd = TRY_CTX(make_directories_in_root(root_, path, directory_mode_, owner_.uid, owner_.gid),
                                    "creating \"" + path + "\"");
  return open_file_at(fd, ".", O_RDONLY | O_DIRECTORY);
}

Result<FileDescriptor> Destination::directory() {
  TRY(look());
  if (exists_ && !is_directory_)
    return fail(ErrorCode::invalid_argument, "cannot copy to \"" + path_ + "\": not a directory");
  return make(resolved_);
}

Result<FileDescriptor> Destination::parent(const std::string& source_name, std::string& name) {
  TRY(look());
  if (is_directory_ || path_.ends_with('/')) {
    name = source_name;
    return make(resolved_);
  }
  const auto [above, last] = split_path(resolved_);
  name = last;
  return make(above.empty() ? "/" : above);
}

}  // namespace dray::builder
