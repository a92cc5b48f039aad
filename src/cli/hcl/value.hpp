// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <dray/core/result.hpp>

// Values of HCL expressions. Lists stand for tuples and sets, too; objects for maps. A copy is cheap: what a text, a
// list or an object holds is shared and does not change.

namespace dray::cli::hcl {

/// HCL's numbers are decimal and exact; these have 64 binary digits or more.
using Number = long double;

class Value;
using List = std::vector<Value>;
using Object = std::map<std::string, Value>;

class Value {
 public:
  enum class Kind { null, boolean, number, string, list, object };

  Value() = default;
  Value(bool truth) : data_(truth) {}
  Value(Number number) : data_(number) {}
  Value(double number) : data_(static_cast<Number>(number)) {}
  Value(std::string text);
  Value(const char* text) : Value(std::string(text)) {}
  Value(List items);
  Value(Object items);

  Kind kind() const { return static_cast<Kind>(data_.index()); }
  bool is_null() const { return kind() == Kind::null; }
  bool is_list() const { return kind() == Kind::list; }
  bool is_object() const { return kind() == Kind::object; }
  bool is_string() const { return kind() == Kind::string; }
  const char* kind_name() const;  ///< "string", "list", …

  // Only of a value of that kind.
  bool truth() const { return std::get<bool>(data_); }
  Number number() const { return std::get<Number>(data_); }
  const std::string& text() const { return *std::get<std::shared_ptr<const std::string>>(data_); }
  const List& list() const { return *std::get<std::shared_ptr<const List>>(data_); }
  const Object& object() const { return *std::get<std::shared_ptr<const Object>>(data_); }

  /// How many values and bytes of text it is when nothing is shared: what looking at all of it takes. A list of a list
  /// of … doubles with each line of a file.
  std::size_t weight() const { return weight_; }
  /// Of lists and objects within each other; 0 of what is neither. Comparing and destroying are recursive.
  std::uint32_t depth() const { return depth_; }

  /// By content; 1 is not "1".
  bool operator==(const Value& other) const;

 private:
  void hold(const Value& item);

  std::variant<std::monostate, bool, Number, std::shared_ptr<const std::string>, std::shared_ptr<const List>,
               std::shared_ptr<const Object>>
      data_;
  std::size_t weight_ = 1;
  std::uint32_t depth_ = 0;
};

/// "12", "0.5": no exponent where none is needed.
std::string number_text(Number number);
std::optional<Number> parse_number(std::string_view text);
std::optional<bool> parse_truth(std::string_view text);  ///< "true", "false", "1", "0"

// As HCL converts: a number or a boolean is also a text, and a text that looks like one is also that.
Result<std::string> to_text(const Value& value);
Result<Number> to_number(const Value& value);
Result<bool> to_truth(const Value& value);

/// Written as JSON; objects by name. At most `limit` values.
Result<std::string> to_json(const Value& value, std::size_t limit = 1'000'000);
Result<Value> from_json(std::string_view text);
/// Whether it is JSON that can be read in time: what keeps an object's order looks at all its names to find one, and
/// nothing may be nested deeper than that.
bool is_readable_json(std::string_view text, std::size_t depth);

}  // namespace dray::cli::hcl
