// SPDX-License-Identifier: Apache-2.0
#include "tree_size.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <set>

#include <dray/core/fd.hpp>

namespace dray::engine {
namespace {

class TreeSize {
 public:
  explicit TreeSize(const CancelToken& cancel) : cancel_(cancel) {}

  /// Nothing for what vanishes while we look: containers run meanwhile.
  Result<void> add(FdRef parent, const std::string& name) {
    if (cancel_.cancelled()) return fail(ErrorCode::cancelled, "cancelled");
    struct stat status;
    if (::fstatat(parent.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return {};
    if (S_ISDIR(status.st_mode) || status.st_nlink == 1 || links_.emplace(status.st_dev, status.st_ino).second)
      bytes += static_cast<std::uint64_t>(status.st_blocks) * 512;
    if (!S_ISDIR(status.st_mode) || ++depth_ > 500) return {};
    auto directory = open_file_at(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (directory) {
      const std::unique_ptr<DIR, int (*)(DIR*)> listing(::fdopendir(directory->get()), ::closedir);
      if (listing) {
        const FdRef here(directory->release());
        while (const dirent* entry = ::readdir(listing.get())) {
          const std::string_view child = entry->d_name;
          if (child != "." && child != "..") TRY(add(here, std::string(child)));
        }
      }
    }
    --depth_;
    return {};
  }
  std::uint64_t bytes = 0;

 private:
  const CancelToken& cancel_;
  std::set<std::pair<dev_t, ino_t>> links_;
  int depth_ = 0;
};

}  // namespace

Result<std::uint64_t> tree_size(const std::string& path, const CancelToken& cancel) {
  TreeSize size(cancel);
  TRY(size.add(FdRef(AT_FDCWD), path));
  return size.bytes;
}

}  // namespace dray::engine
