// SPDX-License-Identifier: Apache-2.0
// Functions of texts. Letters that change their case are ASCII's.
#include <algorithm>

#include "functions.hpp"

namespace dray::cli::hcl {
namespace {

constexpr std::size_t kMaxText = 1u << 20;

/// Refuses a text that grows too long, before it does.
Result<void> fits(const std::string& text, std::size_t more) {
  if (text.size() + more <= kMaxText) return {};
  return wrong("the result is too long");
}

bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
bool is_word(char c) { return is_upper(c) || is_lower(c) || (c >= '0' && c <= '9') || (c & 0x80) != 0; }
char to_upper(char c) { return is_lower(c) ? static_cast<char>(c - 32) : c; }
char to_lower(char c) { return is_upper(c) ? static_cast<char>(c + 32) : c; }

/// UTF-8's characters.
std::vector<std::string_view> characters(std::string_view text) {
  std::vector<std::string_view> parts;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t length = 1;
    while (at + length < text.size() && (text[at + length] & 0xC0) == 0x80) ++length;
    parts.push_back(text.substr(at, length));
    at += length;
  }
  return parts;
}

template <char (*change)(char)>
Result<Value> each_letter(Arguments a) {
  std::string text = TRY(to_text(a[0]));
  std::ranges::transform(text, text.begin(), change);
  return Value(std::move(text));
}

Result<Value> title(Arguments a) {
  std::string text = TRY(to_text(a[0]));
  for (std::size_t i = 0; i < text.size(); ++i)
    if (i == 0 || (!is_word(text[i - 1]) && text[i - 1] != '_')) text[i] = to_upper(text[i]);
  return Value(std::move(text));
}

std::string trimmed(std::string text, std::string_view set) {
  text.erase(0, std::min(text.find_first_not_of(set), text.size()));
  text.erase(text.find_last_not_of(set) + 1);
  return text;
}

Result<Value> trim(Arguments a) { return Value(trimmed(TRY(to_text(a[0])), TRY(to_text(a[1])))); }
Result<Value> trimspace(Arguments a) { return Value(trimmed(TRY(to_text(a[0])), " \t\n\v\f\r")); }

Result<Value> trimprefix(Arguments a) {
  const std::string text = TRY(to_text(a[0])), prefix = TRY(to_text(a[1]));
  return Value(text.starts_with(prefix) ? text.substr(prefix.size()) : text);
}

Result<Value> trimsuffix(Arguments a) {
  const std::string text = TRY(to_text(a[0])), suffix = TRY(to_text(a[1]));
  return Value(text.ends_with(suffix) ? text.substr(0, text.size() - suffix.size()) : text);
}

Result<Value> chomp(Arguments a) {
  std::string text = TRY(to_text(a[0]));
  text.erase(text.find_last_not_of("\r\n") + 1);
  return Value(std::move(text));
}

Result<Value> replace(Arguments a) {
  const std::string text = TRY(to_text(a[0])), old = TRY(to_text(a[1])), instead = TRY(to_text(a[2]));
  std::string result;
  if (old.empty()) {  // between all characters
    for (const std::string_view part : characters(text)) {
      TRY(fits(result, instead.size() + part.size()));
      result.append(instead).append(part);
    }
    return Value(result + instead);
  }
  for (std::size_t at = 0;;) {
    const std::size_t found = text.find(old, at);
    TRY(fits(result, std::min(found, text.size()) - at + instead.size()));
    result += text.substr(at, found - at);
    if (found == std::string::npos) return Value(std::move(result));
    result += instead;
    at = found + old.size();
  }
}

Result<Value> split(Arguments a) {
  const std::string separator = TRY(to_text(a[0])), text = TRY(to_text(a[1]));
  List parts;
  if (separator.empty()) {
    for (const std::string_view part : characters(text)) {
      TRY(a.budget.make(1));
      parts.emplace_back(std::string(part));
    }
    return Value(std::move(parts));
  }
  for (std::size_t at = 0;;) {
    const std::size_t found = text.find(separator, at);
    TRY(a.budget.make(1));
    parts.emplace_back(text.substr(at, found - at));
    if (found == std::string::npos) return Value(std::move(parts));
    at = found + separator.size();
  }
}

Result<Value> join(Arguments a) {
  const std::string separator = TRY(to_text(a[0]));
  std::string text;
  bool first = true;
  for (std::size_t i = 1; i < a.size(); ++i)
    for (const std::string& part : TRY(to_texts(a[i]))) {
      TRY(fits(text, separator.size() + part.size()));
      if (!std::exchange(first, false)) text += separator;
      text += part;
    }
  return Value(std::move(text));
}

Result<Value> indent(Arguments a) {
  const auto count = TRY(to_integer(a[0]));
  const std::string text = TRY(to_text(a[1]));
  if (count < 0 || count > 1000) return wrong("the number of spaces must be 0 to 1000");
  std::string result;
  for (const char c : text) {
    result.push_back(c);
    if (c == '\n') result.append(static_cast<std::size_t>(count), ' ');
    if (result.size() > kMaxText) return wrong("the result is too long");
  }
  return Value(std::move(result));
}

Result<Value> strlen(Arguments a) { return Value(static_cast<Number>(characters(TRY(to_text(a[0]))).size())); }
Result<Value> byteslen(Arguments a) { return Value(static_cast<Number>(TRY(to_text(a[0])).size())); }

Result<Value> reverse(Arguments a) {
  const std::string text = TRY(to_text(a[0]));
  std::string result;
  result.reserve(text.size());
  const auto parts = characters(text);
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) result.append(*part);
  return Value(std::move(result));
}

/// A negative offset counts from the end, a negative length is all the rest.
Result<Value> substr(Arguments a) {
  const std::string text = TRY(to_text(a[0]));
  const auto parts = characters(text);
  const auto size = static_cast<std::int64_t>(parts.size());
  std::int64_t offset = TRY(to_integer(a[1]));
  const std::int64_t length = TRY(to_integer(a[2]));
  if (offset < 0) offset = std::max<std::int64_t>(size + offset, 0);
  std::string result;
  for (std::int64_t i = offset; i < size && (length < 0 || i < offset + length); ++i)
    result += parts[static_cast<std::size_t>(i)];
  return Value(std::move(result));
}

Result<Value> bytesslice(Arguments a) {
  const std::string text = TRY(to_text(a[0]));
  const std::int64_t offset = TRY(to_integer(a[1])), length = TRY(to_integer(a[2])),
                     size = static_cast<std::int64_t>(text.size());
  if (offset < 0 || length < 0 || offset > size || length > size - offset)
    return wrong("the range is not within the text");
  return Value(text.substr(static_cast<std::size_t>(offset), static_cast<std::size_t>(length)));
}

Result<Value> sanitize(Arguments a) {
  std::string text;
  const std::string given = TRY(to_text(a[0]));
  for (const std::string_view part : characters(given)) {
    const bool kept = part.size() == 1 && (is_word(part[0]) || part[0] == '-' || part[0] == '_');
    text += kept ? part : "_";
  }
  return Value(std::move(text));
}

Result<Value> basename(Arguments a) {
  std::string text = TRY(to_text(a[0]));
  while (text.size() > 1 && text.ends_with('/')) text.pop_back();
  if (text.empty()) return Value(".");
  return Value(text == "/" ? text : text.substr(text.rfind('/') + 1));
}

Result<Value> dirname(Arguments a) {
  std::string text = TRY(to_text(a[0]));
  const std::size_t slash = text.rfind('/');
  if (slash == std::string::npos) return Value(".");
  text.resize(slash);
  while (text.ends_with('/')) text.pop_back();
  return Value(text.empty() ? "/" : text);
}

}  // namespace

const std::vector<Function>& text_functions() {
  static const std::vector<Function> functions = {{"upper", 1, 1, each_letter<to_upper>},
                                                  {"lower", 1, 1, each_letter<to_lower>},
                                                  {"title", 1, 1, title},
                                                  {"trim", 2, 2, trim},
                                                  {"trimspace", 1, 1, trimspace},
                                                  {"trimprefix", 2, 2, trimprefix},
                                                  {"trimsuffix", 2, 2, trimsuffix},
                                                  {"chomp", 1, 1, chomp},
                                                  {"replace", 3, 3, replace},
                                                  {"split", 2, 2, split},
                                                  {"join", 2, kAnyArguments, join},
                                                  {"indent", 2, 2, indent},
                                                  {"strlen", 1, 1, strlen},
                                                  {"byteslen", 1, 1, byteslen},
                                                  {"reverse", 1, 1, reverse},
                                                  {"substr", 3, 3, substr},
                                                  {"bytesslice", 3, 3, bytesslice},
                                                  {"sanitize", 1, 1, sanitize},
                                                  {"basename", 1, 1, basename},
                                                  {"dirname", 1, 1, dirname}};
  return functions;
}

}  // namespace dray::cli::hcl
