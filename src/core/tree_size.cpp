// SPDX-License-Identifier: Apache-2.0
#include <dray/core/tree_size.hpp>

#include <fcntl.h>
#include <sys/stat.h>

#include <set>

#include <dray/core/fd.hpp>

namespace dray {
namespace {

constexpr int kMaxDepth = 500;  // a descriptor each

class TreeSize {
 public:
  explicit TreeSize(const CancelToken& cancel) : cancel_(cancel) {}

  Result<void> add_below(FdRef parent, const std::string& name, int depth = 0) {
    const auto directory = open_file_at(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!directory) return {};
    for (const std::string& child : list_directory(*directory).value_or(std::vector<std::string>()))
      TRY(add(*directory, child, depth));
    return {};
  }
  std::uint64_t bytes = 0;

 private:
  Result<void> add(FdRef parent, const std::string& name, int depth) {
    TRY(cancel_.check());
    struct stat status;
    if (::fstatat(parent.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return {};
    if (S_ISDIR(status.st_mode) || status.st_nlink == 1 || links_.emplace(status.st_dev, status.st_ino).second)
      bytes += static_cast<std::uint64_t>(status.st_blocks) * 512;
    if (!S_ISDIR(status.st_mode) || depth == kMaxDepth) return {};
    return add_below(parent, name, depth + 1);
  }

  const CancelToken& cancel_;
  std::set<std::pair<dev_t, ino_t>> links_;
};

}  // namespace

Result<std::uint64_t> tree_size(const std::string& path, const CancelToken& cancel) {
  TreeSize size(cancel);
  TRY(size.add_below(FdRef(AT_FDCWD), path));
  return size.bytes;
}

}  // namespace dray
