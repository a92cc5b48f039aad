// SPDX-License-Identifier: Apache-2.0
// WWW-Authenticate is a comma-separated list of challenges, each itself a comma-separated list of parameters;
// where one ends and the next begins shows only by whether a token is followed by "=". The parser is a single
// bounded pass over hostile text.
#include "challenge.hpp"

#include <dray/core/text.hpp>

namespace dray::registry {
namespace {

constexpr std::size_t kMaxValue = 8192;
constexpr std::size_t kMaxChallenges = 16;

bool is_token(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

struct Cursor {
  std::string_view text;
  bool done() const { return text.empty(); }
  void skip(std::string_view characters) {
    while (!text.empty() && characters.find(text.front()) != std::string_view::npos) text.remove_prefix(1);
  }
  std::string token() {
    std::size_t size = 0;
    while (size < text.size() && is_token(text[size])) ++size;
    std::string result = to_lower(text.substr(0, size));
    text.remove_prefix(size);
    return result;
  }
  /// After "=": a quoted string or a token (some registries leave the quotes out, so up to the comma). False
  /// if unterminated.
  bool value(std::string& out) {
    if (!text.starts_with('"')) {
      std::size_t size = 0;
      while (size < text.size() && text[size] != ',' && text[size] != ' ') ++size;
      out = text.substr(0, size);
      text.remove_prefix(size);
      return true;
    }
    text.remove_prefix(1);
    while (!text.empty()) {
      char c = text.front();
      text.remove_prefix(1);
      if (c == '"') return true;
      if (c == '\\' && !text.empty()) {
        c = text.front();
        text.remove_prefix(1);
      }
      out += c;
    }
    return false;
  }
};

void parse_value(std::string_view value, std::vector<Challenge>& challenges) {
  Cursor cursor{value.substr(0, kMaxValue)};
  Challenge* current = nullptr;
  while (challenges.size() <= kMaxChallenges) {
    cursor.skip(" \t,");
    if (cursor.done()) return;
    const std::string word = cursor.token();
    if (word.empty()) return;
    const Cursor after = cursor;
    cursor.skip(" \t");
    if (current != nullptr && cursor.text.starts_with('=')) {
      cursor.text.remove_prefix(1);
      cursor.skip(" \t");
      std::string text;
      if (!cursor.value(text)) return;
      current->parameters.emplace(word, std::move(text));
      continue;
    }
    if (challenges.size() == kMaxChallenges) return;
    if (!after.text.empty() && after.text.front() != ' ' && after.text.front() != '\t' && after.text.front() != ',')
      return;
    challenges.push_back({word, {}});
    current = &challenges.back();
  }
}

}  // namespace

std::vector<Challenge> parse_challenges(const std::vector<std::string>& values) {
  std::vector<Challenge> challenges;
  for (const std::string& value : values) parse_value(value, challenges);
  return challenges;
}

}  // namespace dray::registry
