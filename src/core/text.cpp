// SPDX-License-Identifier: Apache-2.0
#include <dray/core/text.hpp>

#include <algorithm>

namespace dray {
namespace {

std::size_t width(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

}  // namespace

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (std::size_t start = 0; start <= text.size();) {
    const std::size_t end = std::min(text.find(separator, start), text.size());
    parts.emplace_back(text.substr(start, end - start));
    start = end + 1;
  }
  return parts;
}

Result<std::vector<std::string>> split_csv(std::string_view text) {
  if (text.empty()) return fail(ErrorCode::invalid_argument, "the value is empty");
  std::vector<std::string> fields;
  for (std::size_t at = 0;;) {
    std::string field;
    if (at < text.size() && text[at] == '"') {
      for (++at;; ++at) {
        if (at >= text.size()) return fail(ErrorCode::invalid_argument, "extraneous or missing \" in quoted-field");
        if (text[at] != '"') {
          field.push_back(text[at]);
        } else if (text.substr(at + 1).starts_with('"')) {
          field.push_back(text[++at]);
        } else {
          break;
        }
      }
      ++at;
      if (at < text.size() && text[at] != ',')
        return fail(ErrorCode::invalid_argument, "extraneous or missing \" in quoted-field");
    } else {
      const std::size_t end = std::min(text.find(',', at), text.size());
      field = text.substr(at, end - at);
      if (field.contains('"')) return fail(ErrorCode::invalid_argument, "bare \" in non-quoted-field");
      at = end;
    }
    fields.push_back(std::move(field));
    if (at >= text.size()) return fields;
    ++at;
  }
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\n\v\f\r";
  text.remove_prefix(std::min(text.find_first_not_of(kSpace), text.size()));
  return text.substr(0, text.find_last_not_of(kSpace) + 1);
}

std::string to_lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return lower;
}

std::optional<bool> parse_bool(std::string_view text) {
  for (const std::string_view yes : {"1", "t", "T", "TRUE", "true", "True"})
    if (text == yes) return true;
  for (const std::string_view no : {"0", "f", "F", "FALSE", "false", "False"})
    if (text == no) return false;
  return std::nullopt;
}

std::string align_columns(const std::vector<std::vector<std::string>>& rows, std::size_t gap, std::size_t least) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max({widths[i], width(row[i]) + gap, least});
  }
  std::string text;
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      text += row[i];
      if (i + 1 < row.size()) text.append(widths[i] - width(row[i]), ' ');
    }
    text += '\n';
  }
  return text;
}

}  // namespace dray
