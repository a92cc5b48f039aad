// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace dray::registry {

/// One entry of WWW-Authenticate (RFC 9110 §11.6.1). Scheme and parameter names in lower case.
struct Challenge {
  std::string scheme;
  std::map<std::string, std::string> parameters;
};

/// All challenges of the headers' values, in order; what does not parse ends its value. At most 16 in all.
std::vector<Challenge> parse_challenges(const std::vector<std::string>& values);

}  // namespace dray::registry
