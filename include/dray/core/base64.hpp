// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace dray {

/// RFC 4648 §4, padded.
std::string encode_base64(std::string_view bytes);

/// strict: §4's digits, then "=" (neither asked for nor counted). lenient: "=" and ends of lines anywhere, §5's "-" and
/// "_" too.
enum class Base64 { strict, lenient };
/// nullopt for any other character.
std::optional<std::string> decode_base64(std::string_view text, Base64 form = Base64::strict);

}  // namespace dray
