// SPDX-License-Identifier: Apache-2.0
#include "whiteouts.hpp"

#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "layer_format.hpp"

namespace dray::store {
namespace {

class OverlayForm : public WhiteoutForm {
 public:
  Result<void> hide(FdRef directory, const std::string& name) const override {
    if (::mknodat(directory.get(), name.c_str(), S_IFCHR, 0) == 0) return {};
    if (errno != EEXIST) return fail_errno("making a whiteout");
    struct stat status;
    if (::fstatat(directory.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
      return fail_errno("making a whiteout");
    return S_ISDIR(status.st_mode) ? make_opaque(directory, name) : Result<void>();
  }
  Result<void> make_opaque(FdRef directory, const std::string& name) const override {
    const FileDescriptor fd = TRY(open_file_at(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    if (::fsetxattr(fd.get(), kOpaqueXattr, "y", 1, 0) != 0) return fail_errno("making a directory opaque");
    return {};
  }
  bool is_whiteout(const struct stat& status) const override { return store::is_whiteout(status); }
};

class PlainForm : public WhiteoutForm {
 public:
  Result<void> hide(FdRef directory, const std::string& name) const override {
    return mark(directory, std::string(kWhiteoutPrefix) + name);
  }
  Result<void> make_opaque(FdRef directory, const std::string& name) const override {
    const FileDescriptor fd = TRY(open_file_at(directory, name, O_PATH | O_DIRECTORY | O_NOFOLLOW));
    return mark(fd, std::string(kOpaqueMarker));
  }
  bool is_whiteout(const struct stat&) const override { return false; }

 private:
  static Result<void> mark(FdRef directory, const std::string& name) {
    const FileDescriptor fd(::openat(directory.get(), name.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd.valid()) return fail_errno("making a whiteout");
    return {};
  }
};

}  // namespace

const WhiteoutForm& overlay_whiteouts() {
  static const OverlayForm form;
  return form;
}

const WhiteoutForm& plain_whiteouts() {
  static const PlainForm form;
  return form;
}

}  // namespace dray::store
