// SPDX-License-Identifier: Apache-2.0
#include "whiteouts.hpp"

#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <climits>

#include <dray/core/digest.hpp>

#include "layer_format.hpp"

namespace dray::store {
namespace {

/// Of the names that leave no room for ".wh.": the file's content is the name. Beneath aufs's prefix, so that neither a
/// layer nor a container's change can be named so.
constexpr std::string_view kLongNamePrefix = ".wh..wh.dray.";

std::string long_name_marker(const std::string& name) { return std::string(kLongNamePrefix) + Digest::of(name).hex(); }

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
    if (name.size() > NAME_MAX) return Failure(Error::from_errno(ENAMETOOLONG, "making a whiteout"));
    if (kWhiteoutPrefix.size() + name.size() <= NAME_MAX) {
      TRY(mark(directory, std::string(kWhiteoutPrefix) + name));
      return {};
    }
    const FileDescriptor file = TRY(mark(directory, long_name_marker(name)));
    return write_all(file, name);
  }
  Result<void> make_opaque(FdRef directory, const std::string& name) const override {
    const FileDescriptor fd = TRY(open_file_at(directory, name, O_PATH | O_DIRECTORY | O_NOFOLLOW));
    TRY(mark(fd, std::string(kOpaqueMarker)));
    return {};
  }
  bool is_whiteout(const struct stat&) const override { return false; }

 private:
  static Result<FileDescriptor> mark(FdRef directory, const std::string& name) {
    return TRY_CTX(open_file_at(directory, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600), "making a whiteout");
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

Result<std::string> plainly_hidden(FdRef directory, const std::string& marker) {
  if (!marker.starts_with(kLongNamePrefix)) return marker.substr(kWhiteoutPrefix.size());
  const FileDescriptor file = TRY(open_file_at(directory, marker, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  std::string name = TRY_CTX(read_all(file, NAME_MAX), "\"" + marker + "\"");
  if (long_name_marker(name) != marker)
    return Failure(Error(ErrorCode::corrupt, "\"" + marker + "\" does not hold the name it was made for")
                       .with_hint("the layer was damaged; remove the images with it and pull them again"));
  return name;
}

}  // namespace dray::store
