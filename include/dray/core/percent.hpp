// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include <dray/core/result.hpp>

// RFC 3986 §2.1.

namespace dray {

struct PercentRules {
  bool plus_is_space = false;      ///< as in a form's query
  bool keeps_bad_escapes = false;  ///< "%zz" stays as it is instead of being an error
};
/// invalid_argument, which names it, for an escape that is none.
Result<std::string> percent_decode(std::string_view text, const PercentRules& rules = {});
/// Escapes all but the unreserved characters of §2.3 and those of `plain`.
std::string percent_encode(std::string_view text, std::string_view plain = "");

}  // namespace dray
