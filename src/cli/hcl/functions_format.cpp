// SPDX-License-Identifier: Apache-2.0
// format() and formatlist(), with printf's verbs as go-cty reads them.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "functions.hpp"

namespace dray::cli::hcl {
namespace {

constexpr std::size_t kMaxText = 1u << 20;

struct Verb {
  bool plus = false, minus = false, zero = false, space = false, sharp = false;
  int width = 0, precision = -1;
  char letter = 'v';
};

std::size_t characters(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string padded(std::string text, const Verb& verb, bool number) {
  const std::size_t count = characters(text), width = static_cast<std::size_t>(verb.width);
  if (count >= width) return text;
  if (verb.minus) return text + std::string(width - count, ' ');
  const bool zeros = verb.zero && number;
  const std::size_t at = zeros && !text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0;
  return text.insert(at, width - count, zeros ? '0' : ' ');
}

Result<std::string> whole_number(Number number, const Verb& verb) {
  if (std::fabs(number) > 9e18) return wrong("the number is too large");
  auto rest = static_cast<std::uint64_t>(std::trunc(std::fabs(number)));
  const unsigned base = verb.letter == 'b'                         ? 2
                        : verb.letter == 'o'                       ? 8
                        : verb.letter == 'x' || verb.letter == 'X' ? 16
                                                                   : 10;
  std::string digits;
  do {
    digits.insert(digits.begin(), (verb.letter == 'X' ? "0123456789ABCDEF" : "0123456789abcdef")[rest % base]);
    rest /= base;
  } while (rest > 0);
  return (number < 0 ? "-" : verb.plus ? "+" : verb.space ? " " : "") + digits;
}

Result<std::string> shown(const Value& value, const Verb& verb) {
  switch (verb.letter) {
    case 'v': {
      if (verb.sharp || value.is_null() || value.is_list() || value.is_object())
        return padded(TRY(to_json(value)), verb, false);
      return padded(TRY(to_text(value)), verb, value.kind() == Value::Kind::number);
    }
    case 't':
      return padded(TRY(to_truth(value)) ? "true" : "false", verb, false);
    case 's':
    case 'q': {
      std::string text = TRY(to_text(value));
      if (verb.precision >= 0) {  // characters
        std::size_t end = 0;
        for (int left = verb.precision; end < text.size(); ++end)
          if ((text[end] & 0xC0) != 0x80 && left-- == 0) break;
        text.resize(end);
      }
      return padded(verb.letter == 'q' ? TRY(to_json(Value(text))) : text, verb, false);
    }
    case 'b':
    case 'd':
    case 'o':
    case 'x':
    case 'X': {
      if (value.is_string() && (verb.letter == 'x' || verb.letter == 'X') && !parse_number(value.text()))
        return wrong("a number is required");
      return padded(TRY(whole_number(TRY(to_number(value)), verb)), verb, true);
    }
    case 'e':
    case 'E':
    case 'f':
    case 'g':
    case 'G': {
      const std::string format =
          std::string("%") + (verb.plus ? "+" : "") + (verb.space ? " " : "") + ".*L" + verb.letter;
      char text[1500];
      std::snprintf(text, sizeof text, format.c_str(), verb.precision < 0 ? 6 : verb.precision, TRY(to_number(value)));
      return padded(text, verb, true);
    }
    default:
      return wrong(std::string("there is no verb \"%") + verb.letter + "\"");
  }
}

Result<std::string> formatted(const std::string& pattern, Arguments values) {
  TRY(values.budget.work(pattern.size()));
  std::string result;
  std::size_t next = 0, highest = 0;
  bool numbered = false;
  for (std::size_t at = 0; at < pattern.size();) {
    if (pattern[at] != '%') {
      result.push_back(pattern[at++]);
      continue;
    }
    if (++at < pattern.size() && pattern[at] == '%') {
      result.push_back(pattern[at++]);
      continue;
    }
    Verb verb;
    for (; at < pattern.size(); ++at) {
      if (pattern[at] == '+')
        verb.plus = true;
      else if (pattern[at] == '-')
        verb.minus = true;
      else if (pattern[at] == '0')
        verb.zero = true;
      else if (pattern[at] == ' ')
        verb.space = true;
      else if (pattern[at] == '#')
        verb.sharp = true;
      else
        break;
    }
    const auto number = [&] {
      int value = 0;
      while (at < pattern.size() && pattern[at] >= '0' && pattern[at] <= '9')
        value = std::min(value * 10 + (pattern[at++] - '0'), 100'000);
      return value;
    };
    verb.width = number();
    if (at < pattern.size() && pattern[at] == '.') {
      ++at;
      verb.precision = number();
    }
    if (at < pattern.size() && pattern[at] == '[') {
      ++at;
      next = static_cast<std::size_t>(std::max(number() - 1, 0));
      numbered = true;
      if (at == pattern.size() || pattern[at++] != ']') return wrong("\"]\" is missing in the format");
    }
    if (at == pattern.size()) return wrong("the format ends within a verb");
    if (verb.width > 1000 || verb.precision > 1000) return wrong("a width in the format is over 1000");
    verb.letter = pattern[at++];
    if (next >= values.size()) return wrong("there are fewer values than verbs");
    TRY(values.budget.work(values[next].weight()));  // it may show little of it
    result += TRY(shown(values[next++], verb));
    highest = std::max(highest, next);
    if (result.size() > kMaxText) return wrong("the result is too long");
  }
  if (highest < values.size() && !numbered) return wrong("there are more values than verbs");
  return result;
}

Result<Value> format(Arguments a) {
  return Value(TRY(formatted(TRY(to_text(a[0])), Call(List(a.begin() + 1, a.end()), a.budget))));
}

/// Once for each item; what is no list is the same each time.
Result<Value> formatlist(Arguments a) {
  const std::string pattern = TRY(to_text(a[0]));
  std::size_t count = 1;
  bool any = false;
  for (std::size_t i = 1; i < a.size(); ++i) {
    if (!a[i].is_list()) continue;
    if (any && a[i].list().size() != count) return wrong("the lists have different lengths");
    any = true;
    count = a[i].list().size();
  }
  List texts;
  for (std::size_t turn = 0; turn < count; ++turn) {
    List values;
    for (std::size_t i = 1; i < a.size(); ++i) values.push_back(a[i].is_list() ? a[i].list()[turn] : a[i]);
    texts.emplace_back(TRY(formatted(pattern, Call(values, a.budget))));
    TRY(a.budget.make(texts.back().weight()));
  }
  return Value(std::move(texts));
}

}  // namespace

const std::vector<Function>& format_functions() {
  static const std::vector<Function> functions = {{"format", 1, kAnyArguments, format, true},
                                                  {"formatlist", 1, kAnyArguments, formatlist, true}};
  return functions;
}

}  // namespace dray::cli::hcl
