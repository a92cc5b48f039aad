// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include <sys/stat.h>

// What a layer's tar and an overlay directory say in different words (image-spec v1.1, layer.md §whiteouts;
// kernel Documentation/filesystems/overlayfs.rst §whiteouts and opaque directories).

namespace dray::store {

inline constexpr std::string_view kWhiteoutPrefix = ".wh.";
inline constexpr std::string_view kOpaqueMarker = ".wh..wh..opq";
inline constexpr std::string_view kAufsPrefix = ".wh..wh.";  ///< bookkeeping of aufs, never content
inline constexpr const char* kOpaqueXattr = "trusted.overlay.opaque";

/// Overlay's whiteout: character device 0:0.
inline bool is_whiteout(const struct stat& status) { return S_ISCHR(status.st_mode) && status.st_rdev == 0; }

/// Attributes that are the image's business, in either direction. trusted.* belongs to the host (overlay
/// keeps its own bookkeeping there), so do the overlay's user.* names and the labels of security modules.
inline bool is_portable_xattr(std::string_view name) {
  if (name.starts_with("user.")) return !name.starts_with("user.overlay.");
  return name == "security.capability" || name == "system.posix_acl_access" || name == "system.posix_acl_default";
}

}  // namespace dray::store
