// SPDX-License-Identifier: Apache-2.0
// Types of variables, and what the environment says about them.
#include "types.hpp"

#include <algorithm>

#include "functions.hpp"

namespace dray::cli::hcl {
namespace {

using Kind = Expression::Kind;

constexpr std::size_t kMaxFields = 100'000;

Failure no_type(const Expression& expression) {
  return error_at(
      expression.place,
      "this is no type: there are string, number, bool, any, list(T), set(T), map(T), tuple([…]), object({…})");
}

Result<Type> simple_type(const std::string& name, const Expression& expression) {
  Type type;
  if (name == "string")
    type.kind = Type::Kind::string;
  else if (name == "number")
    type.kind = Type::Kind::number;
  else if (name == "bool")
    type.kind = Type::Kind::boolean;
  else if (name != "any")
    return no_type(expression);
  return type;
}

Result<Type> object_type(const Expression& items) {
  Type type{.kind = Type::Kind::object};
  if (items.kind != Kind::object) return no_type(items);
  for (std::size_t i = 0; i + 1 < items.children.size(); i += 2) {
    const Expression& key = *items.children[i];
    const Expression* item = items.children[i + 1].get();
    if (key.kind != Kind::literal || !key.value.is_string()) return no_type(key);
    const bool optional = item->kind == Kind::call && item->text == "optional" && !item->children.empty();
    std::optional<Value> otherwise;
    if (optional && item->children.size() > 1) {
      if (item->children[1]->kind != Kind::literal)
        return error_at(item->place, "the default of an optional item must be a plain value");
      otherwise = item->children[1]->value;
    }
    Type inner = TRY(read_type(optional ? *item->children[0] : *item));
    inner.optional = optional;
    inner.otherwise = std::move(otherwise);
    type.items.emplace(key.value.text(), std::move(inner));
  }
  return type;
}

void make_set(List& items) {
  std::ranges::stable_sort(items, [](const Value& a, const Value& b) {
    if (a.kind() != b.kind()) return a.kind() < b.kind();
    if (a.is_string()) return a.text() < b.text();
    if (a.kind() == Value::Kind::number) return a.number() < b.number();
    return a.kind() == Value::Kind::boolean && a.truth() < b.truth();
  });
  List distinct;
  for (const Value& item : items)
    if (distinct.empty() || !(distinct.back() == item)) distinct.push_back(item);
  items = std::move(distinct);
}

Result<Value> convert_object(const Value& value, const Type& type, Budget& budget) {
  const Object given = TRY(to_object(value));
  Object items;
  for (const auto& [name, inner] : type.items) {
    TRY(budget.make(1 + name.size()));
    const auto found = given.find(name);
    if (found == given.end() && !inner.optional) return wrong("\"" + name + "\" is missing");
    if (found == given.end())
      items[name] = inner.otherwise.value_or(Value());
    else
      items[name] = TRY_CTX(convert(found->second, inner, budget), "\"" + name + "\"");
  }
  return Value(std::move(items));
}

}  // namespace

Result<Type> read_type(const Expression& expression) {
  if (expression.kind == Kind::variable) return simple_type(expression.text, expression);
  if (expression.kind == Kind::literal && expression.value.is_string())  // a JSON file's
    return read_type(*TRY(parse_expression(expression.value.text(), expression.place)));
  if (expression.kind != Kind::call || expression.children.size() != 1) return no_type(expression);
  const Expression& inner = *expression.children[0];
  if (expression.text == "object") return object_type(inner);
  Type type;
  if (expression.text == "tuple") {
    type.kind = Type::Kind::tuple;
    if (inner.kind != Kind::tuple) return no_type(inner);
    for (const ExpressionRef& item : inner.children) type.inner.push_back(TRY(read_type(*item)));
    return type;
  }
  if (expression.text == "list")
    type.kind = Type::Kind::list;
  else if (expression.text == "set")
    type.kind = Type::Kind::set;
  else if (expression.text == "map")
    type.kind = Type::Kind::map;
  else
    return no_type(expression);
  type.inner.push_back(TRY(read_type(inner)));
  return type;
}

std::string to_text(const Type& type) {
  std::string inner;
  const auto add = [&inner](const std::string& text) { inner += (inner.empty() ? "" : ", ") + text; };
  for (const Type& item : type.inner) add(to_text(item));
  for (const auto& [name, item] : type.items)
    add(name + " = " + (item.optional ? "optional(" + to_text(item) + ")" : to_text(item)));
  switch (type.kind) {
    case Type::Kind::any:
      return "any";
    case Type::Kind::string:
      return "string";
    case Type::Kind::number:
      return "number";
    case Type::Kind::boolean:
      return "bool";
    case Type::Kind::list:
      return "list(" + inner + ")";
    case Type::Kind::set:
      return "set(" + inner + ")";
    case Type::Kind::map:
      return "map(" + inner + ")";
    case Type::Kind::tuple:
      return "tuple([" + inner + "])";
    case Type::Kind::object:
      return "object({" + inner + "})";
  }
  return "";
}

Result<Value> convert(const Value& value, const Type& type, Budget& budget) {
  TRY(budget.make(1 + (value.is_string() ? value.text().size() : 0)));
  if (value.is_null()) return Value();
  switch (type.kind) {
    case Type::Kind::any:
      return value;
    case Type::Kind::string:
      return Value(TRY(to_text(value)));
    case Type::Kind::number:
      return Value(TRY(to_number(value)));
    case Type::Kind::boolean:
      return Value(TRY(to_truth(value)));
    case Type::Kind::list:
    case Type::Kind::set: {
      List items;
      for (const Value& item : TRY(to_list(value))) items.push_back(TRY(convert(item, type.inner[0], budget)));
      if (type.kind == Type::Kind::set) make_set(items);
      return Value(std::move(items));
    }
    case Type::Kind::map: {
      Object items;
      for (const auto& [name, item] : TRY(to_object(value))) {
        TRY(budget.make(name.size()));
        items[name] = TRY_CTX(convert(item, type.inner[0], budget), "\"" + name + "\"");
      }
      return Value(std::move(items));
    }
    case Type::Kind::tuple: {
      const List given = TRY(to_list(value));
      if (given.size() != type.inner.size())
        return wrong("a tuple of " + std::to_string(type.inner.size()) + " items is required, not of " +
                     std::to_string(given.size()));
      List items;
      for (std::size_t i = 0; i < given.size(); ++i) items.push_back(TRY(convert(given[i], type.inner[i], budget)));
      return Value(std::move(items));
    }
    case Type::Kind::object:
      return convert_object(value, type, budget);
  }
  return Value();
}

Result<Value> read_override(const std::string& text, const Type& type, Budget& budget) {
  using enum Type::Kind;
  if (type.kind == string || type.kind == number || type.kind == boolean || type.kind == any)
    return convert(Value(text), type, budget);
  const auto is_simple = [](const Type& inner) {
    return inner.kind == string || inner.kind == number || inner.kind == boolean || inner.kind == any;
  };
  bool simple = std::ranges::all_of(type.inner, is_simple);
  for (const auto& [name, inner] : type.items) simple = simple && is_simple(inner);
  if (!simple)
    return wrong("lists of lists and the like cannot be given as CSV; give JSON in the variable's name with _JSON");
  const auto records = TRY(read_csv(text));
  if (records.size() > 1) return wrong("one line of CSV is required");
  const std::vector<std::string> fields = records.empty() ? std::vector<std::string>() : records[0];
  if (type.kind == map || type.kind == object) {
    Object items;
    for (const std::string& field : fields) {
      const std::size_t equals = field.find('=');
      if (equals == std::string::npos) return wrong("\"" + field.substr(0, 100) + "\" is not of the form KEY=VALUE");
      items[field.substr(0, equals)] = field.substr(equals + 1);
    }
    return convert(Value(std::move(items)), type, budget);
  }
  List items(fields.begin(), fields.end());
  return convert(Value(std::move(items)), type, budget);
}

Result<std::vector<std::vector<std::string>>> read_csv(const std::string& text) {
  std::vector<std::vector<std::string>> records;
  std::size_t count = 0, at = 0;
  while (at < text.size()) {
    if (text[at] == '\n' || text.compare(at, 2, "\r\n") == 0) {  // an empty line
      at += text[at] == '\n' ? 1 : 2;
      continue;
    }
    records.emplace_back();
    for (;;) {
      if (++count > kMaxFields) return wrong("there are too many fields of CSV");
      std::string field;
      if (at < text.size() && text[at] == '"') {
        for (++at;; ++at) {
          if (at == text.size()) return wrong("a quoted field of CSV is not closed");
          if (text[at] != '"')
            field.push_back(text[at]);
          else if (at + 1 < text.size() && text[at + 1] == '"')
            field.push_back(text[++at]);
          else
            break;
        }
        ++at;
        if (at < text.size() && text[at] != ',' && text[at] != '\n' && text[at] != '\r')
          return wrong("a quote within a field of CSV");
      } else {
        while (at < text.size() && text[at] != ',' && text[at] != '\n') field.push_back(text[at++]);
        if (field.ends_with('\r')) field.pop_back();
        if (field.contains('"')) return wrong("a quote within a field of CSV");
      }
      records.back().push_back(std::move(field));
      if (at < text.size() && text[at] == '\r') ++at;
      if (at >= text.size() || text[at++] == '\n') break;
    }
  }
  return records;
}

}  // namespace dray::cli::hcl
