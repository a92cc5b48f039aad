// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace dray::engine {

/// One archive of apt: "deb URI SUITE COMPONENTS".
struct AptSource {
  std::string uri, suite;
  std::string components;  ///< "main contrib"
};
/// sources.list lines and deb822 stanzas (sources.list(5)); deb-src, disabled and other entries are left out.
std::vector<AptSource> parse_one_line_sources(std::string_view text);
std::vector<AptSource> parse_deb822_sources(std::string_view text);
/// All of the host's.
std::vector<AptSource> read_host_sources();
/// The lines for `suite`: the host's where it has that suite (with -updates and -security), else its mirror with this
/// suite. Empty: mmdebstrap's default.
std::vector<std::string> choose_sources(const std::vector<AptSource>& host, const std::string& suite);

}  // namespace dray::engine
