// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <dray/core/result.hpp>

// The values of RUN's --mount and --device, which have a small language of their own: comma-separated fields, quoted as
// in CSV.

namespace dray::builder {

struct MountFlag {
  std::string type = "bind";  ///< bind, cache, tmpfs, secret, ssh
  std::string from, source, target, id;
  std::string sharing;  ///< "", shared, private, locked
  std::optional<std::string> env;
  bool read_only = false, required = false;
  std::uint64_t size = 0;
  std::optional<std::uint32_t> mode, uid, gid;
};

using ExpandWord = std::function<Result<std::string>(const std::string& word)>;

/// One --mount, each value expanded with `expand`.
Result<MountFlag> parse_mount(std::string_view text, const ExpandWord& expand);
/// What can be said before variables are known: the fields are well-formed; the value of from=, which must not hold
/// a variable ("" where there is none).
Result<std::string> mount_source(std::string_view text);

struct DeviceFlag {
  std::string name;
  bool required = false;
};
Result<DeviceFlag> parse_device(std::string_view text);

}  // namespace dray::builder
