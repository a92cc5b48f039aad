// SPDX-License-Identifier: Apache-2.0
// Values, and the conversions HCL makes by itself.
#include "value.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace dray::cli::hcl {
namespace {

Failure unsuitable(const Value& value, const char* wanted) {
  const std::string shown =
      value.is_string() ? "\"" + value.text().substr(0, 100) + "\"" : std::string(value.kind_name());
  return fail(ErrorCode::invalid_argument, std::string("a ") + wanted + " is required, not " + shown);
}

/// Never over the half of what fits.
std::size_t added(std::size_t a, std::size_t b) { return std::min(a + b, std::size_t{1} << 62); }

}  // namespace

Value::Value(std::string text) : weight_(1 + text.size()) {
  data_ = std::make_shared<const std::string>(std::move(text));
}

void Value::hold(const Value& item) {
  weight_ = added(weight_, item.weight_);
  depth_ = std::max(depth_, item.depth_ + 1);
}

Value::Value(List items) : depth_(1) {
  for (const Value& item : items) hold(item);
  data_ = std::make_shared<const List>(std::move(items));
}

Value::Value(Object items) : depth_(1) {
  for (const auto& [name, item] : items) {
    weight_ = added(weight_, name.size());
    hold(item);
  }
  data_ = std::make_shared<const Object>(std::move(items));
}

const char* Value::kind_name() const {
  static constexpr const char* kNames[] = {"null", "bool", "number", "string", "list", "object"};
  return kNames[data_.index()];
}

bool Value::operator==(const Value& other) const {
  if (kind() != other.kind()) return false;
  if (is_string()) return &text() == &other.text() || text() == other.text();
  if (is_list()) return &list() == &other.list() || list() == other.list();
  if (is_object()) return &object() == &other.object() || object() == other.object();
  return data_ == other.data_;
}

std::string number_text(Number number) {
  char text[64];
  if (std::floor(number) == number && std::fabs(number) < 0x1p64L)
    std::snprintf(text, sizeof text, "%.0Lf", number == 0 ? Number(0) : number);
  else
    std::snprintf(text, sizeof text, "%.18Lg", number);
  return text;
}

std::optional<Number> parse_number(std::string_view text) {
  Number number = 0;
  if (text.starts_with('+')) text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || !std::isfinite(number))
    return std::nullopt;
  return number;
}

std::optional<bool> parse_truth(std::string_view text) {
  if (text == "true" || text == "1") return true;
  if (text == "false" || text == "0") return false;
  return std::nullopt;
}

Result<std::string> to_text(const Value& value) {
  switch (value.kind()) {
    case Value::Kind::string:
      return value.text();
    case Value::Kind::number:
      return number_text(value.number());
    case Value::Kind::boolean:
      return std::string(value.truth() ? "true" : "false");
    default:
      return unsuitable(value, "string");
  }
}

Result<Number> to_number(const Value& value) {
  if (value.kind() == Value::Kind::number) return value.number();
  const auto number = value.is_string() ? parse_number(value.text()) : std::nullopt;
  if (!number) return unsuitable(value, "number");
  return *number;
}

Result<bool> to_truth(const Value& value) {
  if (value.kind() == Value::Kind::boolean) return value.truth();
  const auto truth = value.is_string() ? parse_truth(value.text()) : std::nullopt;
  if (!truth) return unsuitable(value, "bool");
  return *truth;
}

}  // namespace dray::cli::hcl
