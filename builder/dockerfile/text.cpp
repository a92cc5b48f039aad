// SPDX-License-Identifier: Apache-2.0
// Text helpers, and the guess what a misspelt word was meant to be: the smallest edit distance, if it is
// small.
#include "dockerfile/text.hpp"

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <numeric>
#include <utility>

namespace dray::builder {

std::size_t space_length(std::string_view text) {
  if (text.empty()) return 0;
  if (static_cast<unsigned char>(text[0]) < 0x80) return is_space(text[0]) ? 1 : 0;
  for (const std::string_view space : {"\u0085", "\u00a0", "\u1680", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000"})
    if (text.starts_with(space)) return space.size();
  if (!text.starts_with("\xe2\x80") || text.size() < 3) return 0;
  const auto last = static_cast<unsigned char>(text[2]);  // U+2000 to U+200A, the typographic ones
  return last >= 0x80 && last <= 0x8a ? 3 : 0;
}

std::string_view trim_left(std::string_view text) {
  while (const std::size_t length = space_length(text)) text.remove_prefix(length);
  return text;
}

std::string_view trim(std::string_view text) {
  text = trim_left(text);
  for (std::size_t length = 1; length <= 3 && length <= text.size();) {
    if (space_length(text.substr(text.size() - length)) != length) {
      ++length;
      continue;
    }
    text.remove_suffix(length);
    length = 1;
  }
  return text;
}

std::string to_upper(std::string_view text) {
  std::string upper(text);
  for (char& c : upper)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return upper;
}

std::vector<std::string> split_whitespace(std::string_view text, std::size_t limit) {
  const auto separates = [](char c) { return is_space(c) && c != '\n'; };
  std::vector<std::string> parts;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size() && parts.size() + 1 != limit;) {
    if (!separates(text[at])) {
      ++at;
      continue;
    }
    parts.emplace_back(text.substr(begin, at - begin));
    while (at < text.size() && separates(text[at])) ++at;
    begin = at;
  }
  parts.emplace_back(text.substr(begin));
  return parts;
}

namespace {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0u);
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t above = row[j + 1];
      row[j + 1] = std::min({above + 1, row[j] + 1, diagonal + (a[i] == b[j] ? 0u : 1u)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

namespace {

/// The character at the beginning of `text` and its length in bytes; length 0: no UTF-8.
std::pair<char32_t, std::size_t> first_rune(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  const std::size_t length = first < 0x80   ? 1
                             : first < 0xC2 ? 0
                             : first < 0xE0 ? 2
                             : first < 0xF0 ? 3
                             : first < 0xF5 ? 4
                                            : 0;
  if (length < 2) return {first, length};
  if (text.size() < length) return {0, 0};
  char32_t rune = first & (0x7Fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    const auto next = static_cast<unsigned char>(text[i]);
    if ((next & 0xC0u) != 0x80u) return {0, 0};
    rune = rune << 6 | (next & 0x3Fu);
  }
  const bool overlong = (length == 3 && rune < 0x800) || (length == 4 && (rune < 0x10000 || rune > 0x10FFFF));
  if (overlong || (rune >= 0xD800 && rune < 0xE000)) return {0, 0};
  return {rune, length};
}

/// White space other than " ", controls, formats and private use; not every code point that is not assigned.
bool is_invisible(char32_t rune) {
  static constexpr std::pair<char32_t, char32_t> kRanges[] = {
      {0x7F, 0xA0},     {0xAD, 0xAD},     {0x600, 0x605},   {0x61C, 0x61C},     {0x1680, 0x1680},
      {0x180E, 0x180E}, {0x2000, 0x200F}, {0x2028, 0x202F}, {0x205F, 0x206F},   {0x3000, 0x3000},
      {0xE000, 0xF8FF}, {0xFEFF, 0xFEFF}, {0xFFF0, 0xFFFB}, {0xE0000, 0x10FFFF}};
  return rune < 0x20 || std::any_of(
                            std::begin(kRanges), std::end(kRanges),
                            [rune](const auto& range) { return rune >= range.first && rune <= range.second; });
}

}  // namespace

std::size_t letter_length(std::string_view text) {
  if (text.empty()) return 0;
  const auto [rune, length] = first_rune(text);
  if (length < 2) return length == 1 && ((rune | 0x20) >= 'a' && (rune | 0x20) <= 'z') ? 1 : 0;
  // Punctuation, symbols, combining marks; not each of those that few fonts have.
  static constexpr std::pair<char32_t, char32_t> kOthers[] = {
      {0x80, 0xA9},     {0xAB, 0xB4},     {0xB6, 0xB9},     {0xBB, 0xBF},      {0xD7, 0xD7},
      {0xF7, 0xF7},     {0x300, 0x36F},   {0x2000, 0x206F}, {0x207A, 0x207E},  {0x20A0, 0x20FF},
      {0x2190, 0x2BFF}, {0x3000, 0x3004}, {0x3008, 0x3030}, {0xE000, 0xF8FF},  {0xFE00, 0xFE6F},
      {0xFEFF, 0xFF20}, {0xFF3B, 0xFF40}, {0xFFE0, 0xFFFF}, {0x1F000, 0x1FAFF}};
  return is_invisible(rune) ||
                 std::any_of(std::begin(kOthers), std::end(kOthers),
                             [rune](const auto& range) { return rune >= range.first && rune <= range.second; })
             ? 0
             : length;
}

std::string go_quote(std::string_view text) {
  static constexpr std::string_view kEscaped = "\"\\\a\b\f\n\r\t\v", kNames = "\"\\abfnrtv";
  std::string quoted = "\"";
  for (std::size_t at = 0; at < text.size();) {
    const auto [rune, length] = first_rune(text.substr(at));
    const std::size_t escape = length == 1 ? kEscaped.find(text[at]) : std::string_view::npos;
    char code[16] = "";
    if (escape != std::string_view::npos) {
      quoted.append("\\").push_back(kNames[escape]);
    } else if (length == 0 || rune < 0x20 || rune == 0x7F) {
      std::snprintf(code, sizeof code, "\\x%02x", static_cast<unsigned>(static_cast<unsigned char>(text[at])));
    } else if (is_invisible(rune)) {
      std::snprintf(code, sizeof code, rune > 0xFFFF ? "\\U%08x" : "\\u%04x", static_cast<unsigned>(rune));
    } else {
      quoted += text.substr(at, length);
    }
    quoted += code;
    at += std::max<std::size_t>(length, 1);
  }
  return quoted + "\"";
}

std::string nearest(std::string_view typed, const std::vector<std::string>& options) {
  if (typed.empty() || typed.size() > 40) return "";
  const std::string wanted = to_lower(typed);
  std::string best;
  std::size_t best_distance = 3;
  for (const std::string& option : options) {
    const std::string candidate = to_lower(option);
    if (candidate == wanted) return "";  // the name is right, something else is wrong
    if (candidate.size() > wanted.size() + 2 || wanted.size() > candidate.size() + 2) continue;
    const std::size_t distance = edit_distance(wanted, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = option;
    }
  }
  const bool upper = best == to_upper(best);
  return upper && wanted == typed ? to_lower(best) : best;
}

std::string nearest_exactly(std::string_view typed, const std::vector<std::string>& options) {
  if (typed.size() > 1000) return "";  // the distance takes time with the product of the lengths
  std::string best;
  std::size_t best_distance = 3;
  for (const std::string& option : options) {
    if (option == typed) return "";
    if (option.size() > typed.size() + 2 || typed.size() > option.size() + 2) continue;
    const std::size_t distance = edit_distance(typed, option);
    if (distance >= best_distance) continue;
    best_distance = distance;
    best = option;
  }
  return best;
}

std::string did_you_mean(std::string_view typed, const std::vector<std::string>& options) {
  const std::string guess = nearest(typed, options);
  return guess.empty() ? "" : " (did you mean " + guess + "?)";
}

}  // namespace dray::builder
