// SPDX-License-Identifier: Apache-2.0
// By hand: std::regex recurses once a character, so a long name would exhaust a thread's stack.
#include "names.hpp"

#include <algorithm>

namespace dray::registry_server {
namespace {

constexpr std::size_t kMaxName = 255;
constexpr std::size_t kMaxTag = 128;

bool is_lower_alnum(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool is_word(char c) { return is_lower_alnum(c) || (c >= 'A' && c <= 'Z') || c == '_'; }

/// One path component: runs of letters and digits, joined by ".", "_", "__" or any number of "-".
bool is_component(std::string_view text) {
  std::size_t at = 0;
  for (;;) {
    const std::size_t run = at;
    while (at < text.size() && is_lower_alnum(text[at])) ++at;
    if (at == run) return false;
    if (at == text.size()) return true;
    if (text[at] == '.') {
      ++at;
    } else if (text[at] == '_') {
      at += at + 1 < text.size() && text[at + 1] == '_' ? 2 : 1;
    } else if (text[at] == '-') {
      while (at < text.size() && text[at] == '-') ++at;
    } else {
      return false;
    }
  }
}

}  // namespace

bool is_repository_name(std::string_view name) {
  if (name.empty() || name.size() > kMaxName) return false;
  for (;;) {
    const std::size_t slash = name.find('/');
    if (!is_component(name.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    name.remove_prefix(slash + 1);
  }
}

bool is_tag(std::string_view tag) {
  if (tag.empty() || tag.size() > kMaxTag || !is_word(tag.front())) return false;
  return std::ranges::all_of(tag, [](char c) { return is_word(c) || c == '.' || c == '-'; });
}

bool is_media_type(std::string_view type) {
  if (type.empty() || type.size() > kMaxName || std::ranges::count(type, '/') != 1) return false;
  if (type.front() == '/' || type.back() == '/') return false;
  return std::ranges::all_of(
      type, [](char c) { return is_word(c) || std::string_view("!#$&-^.+/").find(c) != std::string_view::npos; });
}

}  // namespace dray::registry_server
