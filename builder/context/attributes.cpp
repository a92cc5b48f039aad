// SPDX-License-Identifier: Apache-2.0
#include "context/attributes.hpp"

#include <sys/xattr.h>

namespace dray::builder {

constexpr std::size_t kMaxXattr = 64u << 10;  // the kernel's limit for the names, and for one value

std::map<std::string, std::string> read_xattrs(FdRef file, const std::function<bool(std::string_view)>& is_wanted) {
  std::map<std::string, std::string> attributes;
  const ssize_t needed = ::flistxattr(file.get(), nullptr, 0);
  if (needed <= 0) return attributes;
  std::string names(kMaxXattr, '\0'), value(kMaxXattr, '\0');
  const ssize_t length = ::flistxattr(file.get(), names.data(), names.size());
  for (std::size_t at = 0; length > 0 && at < static_cast<std::size_t>(length);) {
    const std::string name = names.c_str() + at;
    at += name.size() + 1;
    if (!is_wanted(name)) continue;
    const ssize_t size = ::fgetxattr(file.get(), name.c_str(), value.data(), value.size());
    if (size >= 0) attributes[name] = value.substr(0, static_cast<std::size_t>(size));
  }
  return attributes;
}

std::map<std::string, std::string> copied_attributes(FdRef file, bool is_context) {
  return read_xattrs(file, [is_context](std::string_view name) {
    return name == "security.capability" || (!is_context && name.starts_with("user."));
  });
}

}  // namespace dray::builder
