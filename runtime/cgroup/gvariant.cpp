// SPDX-License-Identifier: Apache-2.0
// Values in GVariant's text form, in which annotations carry properties of systemd units: basic types and arrays of
// them. https://docs.gtk.org/glib/gvariant-text-format.html
#include <bit>
#include <cerrno>
#include <cstdlib>
#include <limits>

#include "systemd.hpp"

namespace dray::runtime::systemd {
namespace {

struct TypeName {
  std::string_view word;
  char type;
};
constexpr TypeName kTypeNames[] = {{"boolean", 'b'}, {"byte", 'y'},   {"int16", 'n'},      {"uint16", 'q'},
                                   {"int32", 'i'},   {"uint32", 'u'}, {"int64", 'x'},      {"uint64", 't'},
                                   {"double", 'd'},  {"string", 's'}, {"objectpath", 'o'}, {"signature", 'g'}};
constexpr std::string_view kBasic = "bynqiuxtdsog";

bool is_text(char type) { return type == 's' || type == 'o' || type == 'g'; }

void append_utf8(std::string& out, unsigned long letter) {
  auto tail = [&](int shift) { out += static_cast<char>(0x80 | (letter >> shift & 0x3f)); };
  if (letter < 0x80) {
    out += static_cast<char>(letter);
  } else if (letter < 0x800) {
    out += static_cast<char>(0xc0 | letter >> 6);
    tail(0);
  } else if (letter < 0x10000) {
    out += static_cast<char>(0xe0 | letter >> 12);
    tail(6);
    tail(0);
  } else {
    out += static_cast<char>(0xf0 | letter >> 18);
    tail(12);
    tail(6);
    tail(0);
  }
}

class Parser {
 public:
  explicit Parser(const std::string& text) : rest_(text) {}

  Result<dbus::Typed> run() {
    dbus::Typed value = TRY(read_value());
    skip_space();
    if (!rest_.empty()) return wrong("\"" + std::string(rest_) + "\" follows the value");
    return value;
  }

 private:
  static Failure wrong(const std::string& what) { return fail(ErrorCode::invalid_argument, what); }
  void skip_space() { rest_.remove_prefix(std::min(rest_.find_first_not_of(" \t\n"), rest_.size())); }
  bool take(char letter) {
    skip_space();
    if (!rest_.starts_with(letter)) return false;
    rest_.remove_prefix(1);
    return true;
  }
  std::string_view take_word() {
    skip_space();
    const std::string_view word = rest_.substr(0, rest_.find_first_of(" \t\n,]"));
    rest_.remove_prefix(word.size());
    return word;
  }

  /// "@as", or "uint32": what type the value has; "" = it shows.
  Result<std::string> read_type() {
    skip_space();
    if (take('@')) {
      const std::string type(take_word());
      const std::string_view element = std::string_view(type).substr(type.starts_with('a') ? 1 : 0);
      if (element.size() != 1 || kBasic.find(element) == std::string_view::npos)
        return wrong("type \"" + type + "\" is not supported");
      return type;
    }
    const std::string_view before = rest_, word = take_word();
    for (const TypeName& known : kTypeNames)
      if (word == known.word) return std::string(1, known.type);
    rest_ = before;
    return std::string();
  }

  Result<dbus::Typed> read_value() {
    dbus::Typed value;
    value.signature = TRY(read_type());
    if (value.signature.size() == 1 || !take('[')) {
      if (value.signature.size() > 1) return wrong("an array is expected");
      char type = value.signature.empty() ? '\0' : value.signature.front();
      value.items.push_back(TRY(read_item(type)));
      value.signature = type;
      return value;
    }
    char type = value.signature.empty() ? '\0' : value.signature[1];
    while (!take(']')) {
      if (!value.items.empty() && !take(',')) return wrong("\",\" or \"]\" is expected in an array");
      if (type == '\0')
        if (const std::string own = TRY(read_type()); !own.empty()) type = own.front();
      value.items.push_back(TRY(read_item(type)));
    }
    if (type == '\0') return wrong("an empty array needs its type, as in \"@as []\"");
    value.signature = std::string("a") + type;
    return value;
  }

  /// `type` '\0' is found out.
  Result<dbus::Scalar> read_item(char& type) {
    skip_space();
    if (rest_.starts_with('\'') || rest_.starts_with('"')) {
      if (type == '\0') type = 's';
      if (!is_text(type)) return wrong("a text where a number is expected");
      return read_text();
    }
    const std::string word(take_word());
    if (type == '\0') type = guess(word);
    if (is_text(type) || word.empty()) return wrong("\"" + word + "\" is no value");
    if (type != 'b') return read_number(word, type);
    if (word != "true" && word != "false") return wrong("\"" + word + "\" is no boolean");
    return dbus::Scalar{word == "true" ? 1u : 0u, {}};
  }

  static char guess(std::string_view word) {
    if (word == "true" || word == "false") return 'b';
    const bool hexadecimal = word.find("0x") != std::string_view::npos;
    return !hexadecimal && word.find_first_of(".eEni") != std::string_view::npos ? 'd' : 'i';
  }

  static Result<dbus::Scalar> read_number(const std::string& word, char type) {
    char* end = nullptr;
    errno = 0;
    if (type == 'd') {
      const double number = std::strtod(word.c_str(), &end);
      if (*end != '\0') return wrong("\"" + word + "\" is no number");
      return dbus::Scalar{std::bit_cast<std::uint64_t>(number), {}};
    }
    const bool is_signed = type == 'n' || type == 'i' || type == 'x';
    const unsigned bits = type == 'y' ? 8 : type == 'n' || type == 'q' ? 16 : type == 'i' || type == 'u' ? 32 : 64;
    if (!is_signed && word.starts_with('-')) return wrong("\"" + word + "\" is out of range");
    std::uint64_t number = 0;
    bool fits = false;
    if (is_signed) {
      const std::int64_t value = std::strtoll(word.c_str(), &end, 0);
      const std::int64_t most = std::numeric_limits<std::int64_t>::max() >> (64 - bits);
      fits = value <= most && value >= -most - 1;
      number = static_cast<std::uint64_t>(value);
    } else {
      number = std::strtoull(word.c_str(), &end, 0);
      fits = number <= UINT64_MAX >> (64 - bits);
    }
    if (*end != '\0') return wrong("\"" + word + "\" is no number");
    if (errno == ERANGE || !fits) return wrong("\"" + word + "\" is out of range");
    return dbus::Scalar{number, {}};
  }

  Result<dbus::Scalar> read_text() {
    constexpr std::string_view kEscapes = "abfnrtv", kMeanings = "\a\b\f\n\r\t\v";
    const char quote = rest_.front();
    dbus::Scalar value;
    for (std::size_t i = 1; i < rest_.size(); ++i) {
      if (rest_[i] == quote) {
        rest_.remove_prefix(i + 1);
        return value;
      }
      if (rest_[i] != '\\' || i + 1 == rest_.size()) {
        value.text += rest_[i];
        continue;
      }
      const char escape = rest_[++i];
      const std::size_t digits = escape == 'u' ? 4 : escape == 'U' ? 8 : 0;
      if (digits > 0) {
        const std::string number(rest_.substr(i + 1, digits));
        char* end = nullptr;
        const unsigned long letter = std::strtoul(number.c_str(), &end, 16);
        if (number.size() != digits || *end != '\0' || letter == 0 || letter > 0x10ffff)
          return wrong("\"\\" + std::string(1, escape) + number + "\" is no letter");
        append_utf8(value.text, letter);
        i += digits;
      } else if (const std::size_t known = kEscapes.find(escape); known != std::string_view::npos) {
        value.text += kMeanings[known];
      } else {
        value.text += escape;
      }
    }
    return wrong("a text does not end");
  }

  std::string_view rest_;
};

bool is_letter(char letter) { return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z'); }

/// Seconds, in systemd's own unit.
Result<dbus::Value> to_microseconds(const dbus::Typed& value) {
  constexpr double kSecond = 1e6;
  const char type = value.signature.front();
  const std::uint64_t bits = value.items.empty() ? 0 : value.items.front().bits;
  if (type == 'd') {
    const double seconds = std::bit_cast<double>(bits);
    if (seconds >= 0 && seconds < 1e12) return dbus::Value(static_cast<std::uint64_t>(seconds * kSecond));
  } else if (std::string_view("ynqiuxt").find(type) != std::string_view::npos && bits < UINT64_MAX / 1'000'000) {
    return dbus::Value(bits * 1'000'000);
  }
  return fail(ErrorCode::invalid_argument, "not a number of seconds");
}

}  // namespace

Result<dbus::Typed> parse_gvariant(const std::string& text) { return Parser(text).run(); }

Result<dbus::Property> annotated_property(std::string name, const std::string& text) {
  const std::string annotation = "annotation org.systemd.property." + name;
  if (name.size() < 3 || !std::all_of(name.begin(), name.end(), is_letter))
    return fail(ErrorCode::invalid_argument, annotation + " name incorrect: three or more letters are expected");
  const std::string context = annotation + "=" + text + " value parse error";
  dbus::Typed value = TRY_CTX(parse_gvariant(text), context);
  // "TimeoutStopSec" is what unit files have, the bus has "TimeoutStopUSec".
  const bool seconds = name.ends_with("Sec") && name.size() > 3 && name[name.size() - 4] >= 'a';
  if (!seconds) return dbus::Property{std::move(name), std::move(value)};
  name.replace(name.size() - 3, 3, "USec");
  return dbus::Property{std::move(name), TRY_CTX(to_microseconds(value), context)};
}

}  // namespace dray::runtime::systemd
