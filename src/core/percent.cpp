// SPDX-License-Identifier: Apache-2.0
#include <dray/core/percent.hpp>

#include <charconv>

namespace dray {

Result<std::string> percent_decode(std::string_view text, const PercentRules& rules) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned byte = 0;
    const char* digits = text.data() + i + 1;
    if (text[i] != '%') {
      decoded += rules.plus_is_space && text[i] == '+' ? ' ' : text[i];
    } else if (i + 2 < text.size() && std::from_chars(digits, digits + 2, byte, 16).ptr == digits + 2) {
      decoded += static_cast<char>(byte);
      i += 2;
    } else if (rules.keeps_bad_escapes) {
      decoded += '%';
    } else {
      return fail(ErrorCode::invalid_argument,
                  "invalid URL escape \"" + std::string(text.substr(i, 3)) + "\" in \"" + std::string(text) + "\"");
    }
  }
  return decoded;
}

std::string percent_encode(std::string_view text, std::string_view plain) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string encoded;
  for (const char c : text) {
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
        std::string_view("-_.~").find(c) != std::string_view::npos || plain.find(c) != std::string_view::npos) {
      encoded += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      encoded.append({'%', kHex[byte >> 4], kHex[byte & 15]});
    }
  }
  return encoded;
}

}  // namespace dray
