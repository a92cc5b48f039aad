// SPDX-License-Identifier: Apache-2.0
#include "json_writer.hpp"

namespace dray::runtime {
namespace {

/// Bytes of the well-formed UTF-8 sequence at the start of `text`, 0 if there is none.
std::size_t sequence_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(0);
  std::size_t length = 0;
  if (first < 0x80) length = 1;
  if (first >= 0xc2 && first < 0xe0) length = 2;
  if (first >= 0xe0 && first < 0xf0) length = 3;
  if (first >= 0xf0 && first < 0xf5) length = 4;
  if (length == 0 || length > text.size()) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  if (length < 3) return length;
  const unsigned second = byte(1);
  if (first == 0xe0 && second < 0xa0) return 0;         // overlong
  if (first == 0xed && second >= 0xa0) return 0;        // surrogates
  if (first == 0xf0 && second < 0x90) return 0;         // overlong
  return first == 0xf4 && second >= 0x90 ? 0 : length;  // above U+10FFFF
}

}  // namespace

void JsonWriter::quote(std::string_view text) {
  out_ += '"';
  while (!text.empty()) {
    const auto letter = static_cast<unsigned char>(text[0]);
    std::size_t length = sequence_length(text);
    if (letter == '"' || letter == '\\') {
      out_ += '\\';
      out_ += text[0];
    } else if (letter < 0x20) {
      constexpr char digits[] = "0123456789abcdef";
      out_ += "\\u00";
      out_ += digits[letter >> 4];
      out_ += digits[letter & 15];
    } else if (length == 0) {
      out_ += "\xef\xbf\xbd";  // U+FFFD, as Go does
      length = 1;
    } else {
      out_ += text.substr(0, length);
    }
    text.remove_prefix(length);
  }
  out_ += '"';
}

void JsonWriter::start(std::string_view name) {
  if (brackets_.empty()) return;
  if (!empty_) out_ += ',';
  empty_ = false;
  out_ += '\n';
  for (std::size_t i = 0; i < brackets_.size(); ++i) out_ += indent_;
  if (brackets_.back() == '[') return;
  quote(name);
  out_ += ": ";
}

void JsonWriter::open(std::string_view name, char bracket) {
  start(name);
  out_ += bracket;
  brackets_ += bracket;
  empty_ = true;
}

void JsonWriter::close(char bracket) {
  brackets_.pop_back();
  if (!empty_) {
    out_ += '\n';
    for (std::size_t i = 0; i < brackets_.size(); ++i) out_ += indent_;
  }
  out_ += bracket;
  empty_ = false;
}

void JsonWriter::raw(std::string_view name, std::string_view text) {
  start(name);
  out_ += text;
}

void JsonWriter::write(std::string_view name, std::string_view value) {
  start(name);
  quote(value);
}

void JsonWriter::write(std::string_view name, const std::map<std::string, std::string>& values) {
  open_object(name);
  for (const auto& [key, value] : values) write(key, value);
  close_object();
}

}  // namespace dray::runtime
