// SPDX-License-Identifier: Apache-2.0
// Patterns in ${x#p} ${x%p} ${x/p/r}. A Dockerfile can be hostile, so no backtracking: the set of places the
// pattern can have reached is carried along token by token. Longest and shortest match are the last and the
// first place reached.
#include <algorithm>
#include <cstdint>

#include "dockerfile/shell_lex.hpp"

namespace dray::builder {

namespace {

constexpr std::size_t kMaxPatternValue = 16u << 10;
constexpr std::size_t kMaxReplaced = 1u << 20;

struct Token {
  enum Kind { literal, any, star } kind;
  char32_t rune;
};

/// Runes; a byte that is no UTF-8 becomes a rune of its own above the Unicode range.
std::u32string decode(std::string_view text) {
  std::u32string runes;
  for (std::size_t at = 0; at < text.size();) {
    const auto byte = static_cast<unsigned char>(text[at]);
    const std::size_t length = byte < 0x80 ? 1 : byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC2 ? 2 : 0;
    char32_t rune = length == 1 ? byte : length == 0 ? 0 : byte & (0x7Fu >> length);
    bool valid = length != 0 && at + length <= text.size();
    for (std::size_t i = 1; valid && i < length; ++i) {
      const auto next = static_cast<unsigned char>(text[at + i]);
      valid = (next & 0xC0u) == 0x80u;
      rune = rune << 6 | (next & 0x3Fu);
    }
    if (!valid) {
      runes.push_back(0x110000u + byte);
      ++at;
      continue;
    }
    runes.push_back(rune);
    at += length;
  }
  return runes;
}

std::string encode(std::u32string_view runes) {
  std::string text;
  for (const char32_t rune : runes) {
    if (rune >= 0x110000u) {
      text.push_back(static_cast<char>(rune - 0x110000u));
    } else if (rune < 0x80) {
      text.push_back(static_cast<char>(rune));
    } else if (rune < 0x800) {
      text.push_back(static_cast<char>(0xC0u | rune >> 6));
      text.push_back(static_cast<char>(0x80u | (rune & 0x3Fu)));
    } else if (rune < 0x10000) {
      text.push_back(static_cast<char>(0xE0u | rune >> 12));
      text.push_back(static_cast<char>(0x80u | (rune >> 6 & 0x3Fu)));
      text.push_back(static_cast<char>(0x80u | (rune & 0x3Fu)));
    } else {
      text.push_back(static_cast<char>(0xF0u | rune >> 18));
      text.push_back(static_cast<char>(0x80u | (rune >> 12 & 0x3Fu)));
      text.push_back(static_cast<char>(0x80u | (rune >> 6 & 0x3Fu)));
      text.push_back(static_cast<char>(0x80u | (rune & 0x3Fu)));
    }
  }
  return text;
}

Result<std::vector<Token>> compile(std::string_view pattern) {
  std::vector<Token> tokens;
  const std::u32string runes = decode(pattern);
  for (std::size_t at = 0; at < runes.size(); ++at) {
    char32_t rune = runes[at];
    if (rune == '*') {
      tokens.push_back({Token::star, 0});
    } else if (rune == '?') {
      tokens.push_back({Token::any, 0});
    } else if (rune != '\\') {
      tokens.push_back({Token::literal, rune});
    } else {
      // "\}" and "\/" stand for themselves because of the ${} around them.
      if (at + 1 < runes.size() && (runes[at + 1] == '}' || runes[at + 1] == '/')) continue;
      rune = at + 1 < runes.size() ? runes[++at] : 0;
      if (rune != '*' && rune != '?' && rune != '\\')
        return fail(ErrorCode::invalid_argument,
                    "invalid pattern (" + std::string(pattern) + ") in substitution: invalid escape");
      tokens.push_back({Token::literal, rune});
    }
  }
  return tokens;
}

/// Where a match beginning at `start` ends.
std::optional<std::size_t> match_end(const std::vector<Token>& tokens, std::u32string_view value, std::size_t start,
                                     bool longest) {
  const std::size_t size = value.size() - start + 1;
  std::vector<std::uint8_t> reached(size, 0);
  reached[0] = 1;
  std::size_t low = 0, high = 0;  // the reached places lie in [low, high]
  for (const Token& token : tokens) {
    if (token.kind == Token::star) {
      bool open = false;
      std::size_t new_high = low;
      for (std::size_t at = low; at < size; ++at) {
        open = open || (at <= high && reached[at]);
        if (!open && at > high) break;
        if (open) {
          reached[at] = 1;
          new_high = at;
        }
        if (at + 1 < size && value[start + at] == '\n') open = false;  // "*" does not cross lines
      }
      high = new_high;
      continue;
    }
    bool any = false;
    std::size_t new_low = 0, new_high = 0;
    for (std::size_t at = std::min(high + 1, size - 1) + 1; at-- > low;) {
      bool here = false;
      if (at > low && reached[at - 1]) {
        const char32_t rune = value[start + at - 1];
        here = token.kind == Token::any ? rune != '\n' : rune == token.rune;
      }
      reached[at] = here ? 1 : 0;
      if (here) {
        if (!any) new_high = at;
        new_low = at;
        any = true;
      }
    }
    if (!any) return std::nullopt;
    low = new_low;
    high = new_high;
  }
  if (longest) {
    for (std::size_t at = high + 1; at-- > low;)
      if (reached[at]) return start + at;
  } else {
    for (std::size_t at = low; at <= high; ++at)
      if (reached[at]) return start + at;
  }
  return std::nullopt;
}

Result<void> check_size(std::string_view value) {
  if (value.size() > kMaxPatternValue)
    return fail(ErrorCode::invalid_argument, "value too long for a pattern substitution (over 16 KiB)");
  return {};
}

}  // namespace

Result<std::string> trim_pattern(std::string_view value, std::string_view pattern, TrimEnd end, bool longest) {
  TRY(check_size(value));
  std::vector<Token> tokens = TRY(compile(pattern));
  std::u32string runes = decode(value);
  if (end == TrimEnd::suffix) {  // a suffix is a prefix read backwards
    std::reverse(tokens.begin(), tokens.end());
    std::reverse(runes.begin(), runes.end());
  }
  if (const auto stop = match_end(tokens, runes, 0, longest)) runes.erase(0, *stop);
  if (end == TrimEnd::suffix) std::reverse(runes.begin(), runes.end());
  return encode(runes);
}

Result<std::string> replace_pattern(std::string_view value, std::string_view pattern, std::string_view replacement,
                                    bool all) {
  TRY(check_size(value));
  const std::vector<Token> tokens = TRY(compile(pattern));
  const std::u32string runes = decode(value);
  const std::u32string_view view = runes;
  std::string result;
  std::size_t last_end = 0;
  for (std::size_t search = 0; search <= view.size();) {
    std::size_t begin = search;
    std::optional<std::size_t> stop;
    while (begin <= view.size() && !(stop = match_end(tokens, view, begin, true))) ++begin;
    if (!stop) break;
    result += encode(view.substr(last_end, begin - last_end));
    // An empty match directly after another match does not count.
    if (*stop > last_end || begin == 0) result += replacement;
    last_end = *stop;
    search = std::max(search + 1, *stop);
    if (!all) break;
    if (result.size() > kMaxReplaced)
      return fail(ErrorCode::invalid_argument, "the result of a substitution is over 1 MiB");
  }
  return result + encode(view.substr(last_end));
}

}  // namespace dray::builder
