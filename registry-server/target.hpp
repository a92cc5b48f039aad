// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// What a request's target ("/v2/team/app/manifests/1?n=2") asks for. Pure text work on hostile bytes.

namespace dray::registry_server {

enum class Route { unknown, version, catalog, blob, upload_start, upload, manifest, tags, referrers };

struct Target {
  Route route = Route::unknown;
  std::string name;       ///< repository, unchecked
  std::string reference;  ///< digest, tag or upload's id, unchecked
  std::vector<std::pair<std::string, std::string>> query;

  /// The first parameter of that name.
  const std::string* parameter(std::string_view key) const;
};

/// nullopt if it is malformed; Route::unknown if it is nothing of ours.
std::optional<Target> parse_target(std::string_view text);

/// A page of a list: the "n" and "last" parameters. nullopt if n is no number.
struct Page {
  std::size_t count = 0;
  std::string after;
};
std::optional<Page> parse_page(const Target& target, std::size_t most);
/// Value of the Link header that leads to what follows `last`.
std::string next_link(std::string_view path, std::size_t count, std::string_view last);

}  // namespace dray::registry_server
