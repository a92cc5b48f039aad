// SPDX-License-Identifier: Apache-2.0
// Characters, names, comments and places.
#include "cursor.hpp"

namespace dray::cli::hcl {

namespace {
bool in_name(char c) { return begins_name(c) || (c >= '0' && c <= '9') || c == '-'; }
}  // namespace

bool begins_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80) != 0; }

Failure error_at(const Place& place, std::string message) {
  Error error(ErrorCode::invalid_argument, std::move(message));
  std::string where(place.file);
  if (place.line > 0) where += ":" + std::to_string(place.line);
  return Failure(std::move(error).with_location(std::move(where)));
}

char Cursor::take() {
  const char c = peek();
  if (at_ < text_.size()) ++at_;
  if (c == '\n' && place_.line > 0) ++place_.line;
  return c;
}

bool Cursor::take(std::string_view word) {
  if (!sees(word)) return false;
  skip(word.size());
  return true;
}

Result<void> Cursor::skip_space(bool newlines) {
  for (;;) {
    if (peek() == ' ' || peek() == '\t' || peek() == '\r' || (newlines && peek() == '\n')) {
      take();
    } else if (peek() == '#' || sees("//")) {
      while (!at_end() && peek() != '\n') take();
    } else if (sees("/*")) {
      const Place begin = place_;
      while (!at_end() && !sees("*/")) take();
      if (!take("*/")) return error_at(begin, "a comment is not closed: \"*/\" is missing");
    } else {
      return {};
    }
  }
}

std::string_view Cursor::peek_name() const {
  if (at_end() || !begins_name(peek())) return "";
  std::size_t length = 1;
  while (at_ + length < text_.size() && in_name(text_[at_ + length])) ++length;
  return text_.substr(at_, length);
}

std::string Cursor::take_name() {
  std::string name(peek_name());
  skip(name.size());
  return name;
}

bool Cursor::take_keyword(std::string_view word) { return peek_name() == word && take(word); }

}  // namespace dray::cli::hcl
