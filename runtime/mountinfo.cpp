// SPDX-License-Identifier: Apache-2.0
#include "mountinfo.hpp"

#include "fields.hpp"

namespace dray::runtime {
namespace {

/// Space, tab, newline and backslash are written as \ooo.
std::string unescape(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace

std::vector<MountEntry> parse_mountinfo(std::string_view text) {
  std::vector<MountEntry> entries;
  while (!text.empty()) {
    std::string_view line = next_field(text, '\n');
    std::size_t separator = line.find(" - ");
    if (separator == std::string_view::npos) continue;
    std::string_view right = line.substr(separator + 3);
    MountEntry entry;
    entry.filesystem = next_field(right, ' ');
    next_field(right, ' ');  // source
    entry.super_options = right;
    for (int skipped = 0; skipped < 3; ++skipped) next_field(line, ' ');  // id, parent, device
    entry.root = unescape(next_field(line, ' '));
    entry.mount_point = unescape(next_field(line, ' '));
    entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace dray::runtime
