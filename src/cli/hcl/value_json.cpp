// SPDX-License-Identifier: Apache-2.0
// Values from and to JSON.
#include <cmath>

#include <nlohmann/json.hpp>

#include "value.hpp"

namespace dray::cli::hcl {
namespace {

using nlohmann::json;

constexpr int kMaxDepth = 200;
constexpr std::size_t kMaxSteps = 200'000'000;  ///< 20,000 names in one object

Result<json> write(const Value& value, std::size_t& left, int depth) {
  if (left-- == 0 || depth > kMaxDepth) return fail(ErrorCode::invalid_argument, "a value is too large");
  switch (value.kind()) {
    case Value::Kind::null:
      return json();
    case Value::Kind::boolean:
      return json(value.truth());
    case Value::Kind::number:
      if (std::floor(value.number()) == value.number() && std::fabs(value.number()) < 0x1p63L)
        return json(static_cast<std::int64_t>(value.number()));
      if (std::floor(value.number()) == value.number() && value.number() > 0 && value.number() < 0x1p64L)
        return json(static_cast<std::uint64_t>(value.number()));
      return json(static_cast<double>(value.number()));
    case Value::Kind::string:
      return json(value.text());
    case Value::Kind::list: {
      json items = json::array();
      for (const Value& item : value.list()) items.push_back(TRY(write(item, left, depth + 1)));
      return items;
    }
    case Value::Kind::object: {
      json items = json::object();
      for (const auto& [name, item] : value.object()) items[name] = TRY(write(item, left, depth + 1));
      return items;
    }
  }
  return json();
}

Result<Value> read(const json& item, int depth) {
  if (depth > kMaxDepth) return fail(ErrorCode::invalid_argument, "the JSON text is nested too deeply");
  if (item.is_boolean()) return Value(item.get<bool>());
  if (item.is_number_unsigned()) return Value(static_cast<Number>(item.get<std::uint64_t>()));
  if (item.is_number_integer()) return Value(static_cast<Number>(item.get<std::int64_t>()));
  if (item.is_number()) return Value(item.get<double>());
  if (item.is_string()) return Value(item.get<std::string>());
  if (item.is_array()) {
    List list;
    for (const json& part : item) list.push_back(TRY(read(part, depth + 1)));
    return Value(std::move(list));
  }
  if (item.is_object()) {
    Object object;
    for (const auto& [name, part] : item.items()) object[name] = TRY(read(part, depth + 1));
    return Value(std::move(object));
  }
  return Value();
}

/// Only looks. (A callback of the parser's would do, but with one the parser looks at all items at each item's end.)
class Scan : public nlohmann::json_sax<json> {
 public:
  explicit Scan(std::size_t depth) : depth_(depth) {}
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(); }
  bool end_array() override { return close(); }
  bool key(string_t&) override {
    steps_ += ++names_.back();
    return steps_ <= kMaxSteps;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override { return false; }

 private:
  bool open() {
    names_.push_back(0);
    return names_.size() <= depth_;
  }
  bool close() {
    names_.pop_back();
    return true;
  }

  std::size_t depth_, steps_ = 0;
  std::vector<std::size_t> names_;  ///< of the objects that are open
};

}  // namespace

bool is_readable_json(std::string_view text, std::size_t depth) {
  Scan scan(depth);
  return json::sax_parse(text, &scan);
}

Result<std::string> to_json(const Value& value, std::size_t limit) {
  const json written = TRY(write(value, limit, 0));
  return written.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<Value> from_json(std::string_view text) {
  if (!is_readable_json(text, kMaxDepth)) return fail(ErrorCode::invalid_argument, "the text is no JSON");
  const json parsed = json::parse(text, nullptr, false);
  return read(parsed, 0);
}

}  // namespace dray::cli::hcl
