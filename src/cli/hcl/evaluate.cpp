// SPDX-License-Identifier: Apache-2.0
// Expressions become values.
#include "evaluate.hpp"

#include <algorithm>
#include <cmath>

#include "functions.hpp"
#include "types.hpp"

namespace dray::cli::hcl {
namespace {

using Kind = Expression::Kind;

constexpr int kMaxDepth = 1500;
constexpr std::uint32_t kMaxNesting = 1000;  ///< of lists and objects in each other
constexpr std::size_t kMaxText = 1u << 20;

Failure with_place(Error error, const Place& place) {
  if (!error.location().empty()) return Failure(std::move(error));
  const std::string hint = error.hint();
  auto failure = error_at(place, error.message());
  return hint.empty() ? failure : Failure(std::move(failure).error().with_hint(hint));
}

#define TRY_AT(expression, where)                                             \
  __extension__({                                                             \
    auto result_at = (expression);                                            \
    if (!result_at) return with_place(std::move(result_at).error(), (where)); \
    ::dray::detail::take(result_at);                                          \
  })

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t i = 0; i < row.size(); ++i) row[i] = i;
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t above = row[j + 1];
      row[j + 1] = std::min({above + 1, row[j] + 1, diagonal + (a[i] == b[j] ? 0u : 1u)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

Failure unknown(const Place& place, const std::string& what, const std::string& name,
                const std::vector<std::string>& known, Budget& budget) {
  std::string nearest;
  std::size_t least = 3;
  for (const std::string& candidate : known) {
    if (name.size() > 60 || candidate.size() > 60) continue;
    if (auto paid = budget.work(1 + name.size() * candidate.size() / 4); !paid)  // `can` may ask again and again
      return with_place(std::move(paid).error(), place);
    const std::size_t distance = edit_distance(name, candidate);
    if (distance < least) least = distance, nearest = candidate;
  }
  auto failure = error_at(place, "there is no " + what + " \"" + name.substr(0, 100) + "\"");
  return nearest.empty() ? failure : Failure(std::move(failure).error().with_hint("did you mean " + nearest + "?"));
}

}  // namespace

Result<Value> item_of(const Value& collection, const Value& key) {
  if (collection.is_object()) {
    const std::string name = TRY(to_text(key));
    const auto found = collection.object().find(name);
    if (found == collection.object().end()) return wrong("the object has no \"" + name.substr(0, 100) + "\"");
    return found->second;
  }
  if (!collection.is_list()) return wrong(std::string("a ") + collection.kind_name() + " has no items");
  const Number index = TRY(to_number(key));
  if (index < 0 || std::floor(index) != index || index >= static_cast<Number>(collection.list().size()))
    return wrong("there is no item " + number_text(index) + " in a list of " +
                 std::to_string(collection.list().size()));
  return collection.list()[static_cast<std::size_t>(index)];
}

Result<Value> Evaluator::evaluate(const Expression& expression, const Locals* locals) {
  if (++depth_ > kMaxDepth)
    return error_at(expression.place, "the evaluation is nested too deeply: does a function call itself?");
  auto value = step(expression, locals);
  --depth_;
  if (value) TRY(charge(*value, expression.place));
  return value;
}

Result<void> Evaluator::charge(const Value& value, const Place& place) {
  const std::size_t size = value.is_string()   ? value.text().size()
                           : value.is_list()   ? value.list().size()
                           : value.is_object() ? value.object().size()
                                               : 1;
  if (value.depth() > kMaxNesting) return error_at(place, "lists and objects are nested too deeply");
  if (size > kMaxText || value.weight() > Budget::kMaxMade)
    return error_at(place, "the file's values take too much room");
  return spend(size + 1, place);
}

Result<void> Evaluator::spend(std::size_t amount, const Place& place) {
  if (auto left = budget_.make(amount); !left) return with_place(std::move(left).error(), place);
  return {};
}

Result<Value> Evaluator::step(const Expression& expression, const Locals* locals) {
  switch (expression.kind) {
    case Kind::literal:
      return expression.value;
    case Kind::variable:
      return variable(expression, locals);
    case Kind::attribute:
    case Kind::index:
      return access(expression, locals);
    case Kind::splat:
      return splat(expression, locals);
    case Kind::each:
      while (locals != nullptr && locals->each == nullptr) locals = locals->outer;
      return locals != nullptr ? *locals->each : Value();
    case Kind::call:
      return call(expression, locals);
    case Kind::unary:
      return unary(expression, locals);
    case Kind::binary:
      return binary(expression, locals);
    case Kind::conditional:
      return conditional(expression, locals);
    case Kind::tuple: {
      List items;
      for (const ExpressionRef& child : expression.children) items.push_back(TRY(evaluate(*child, locals)));
      return Value(std::move(items));
    }
    case Kind::object:
      return object(expression, locals);
    case Kind::for_list:
    case Kind::for_object:
    case Kind::join_each:
      return loop(expression, locals);
    case Kind::join:
      return join(expression, locals);
  }
  return Value();
}

Result<Value> Evaluator::variable(const Expression& expression, const Locals* locals) {
  for (; locals != nullptr; locals = locals->outer)
    if (const auto found = locals->values.find(expression.text); found != locals->values.end()) return found->second;
  auto value = TRY_AT(globals_.variable(expression.text, expression.place), expression.place);
  if (!value) return unknown(expression.place, "variable", expression.text, globals_.names(), budget_);
  return *std::move(value);
}

Result<Value> Evaluator::access(const Expression& expression, const Locals* locals) {
  const Expression& base = *expression.children[0];
  // target.app.args: of a block, which is no variable.
  if (expression.kind == Kind::attribute && (base.kind == Kind::attribute || base.kind == Kind::index) &&
      base.children[0]->kind == Kind::variable) {
    const Expression& root = *base.children[0];
    const bool literal_key =
        base.kind == Kind::index && base.children[1]->kind == Kind::literal && base.children[1]->value.is_string();
    bool local = false;
    for (const Locals* at = locals; at != nullptr; at = at->outer) local = local || at->values.contains(root.text);
    if (!local && (base.kind == Kind::attribute || literal_key)) {
      const std::string label = literal_key ? base.children[1]->value.text() : base.text;
      auto value =
          TRY_AT(globals_.attribute_of_block(root.text, label, expression.text, expression.place), expression.place);
      if (value) return *std::move(value);
    }
  }
  const Value collection = TRY(evaluate(base, locals));
  const Value key =
      expression.kind == Kind::attribute ? Value(expression.text) : TRY(evaluate(*expression.children[1], locals));
  if (collection.is_null()) return error_at(expression.place, "null has no items");
  if (expression.kind == Kind::attribute && !collection.is_object())
    return error_at(expression.place,
                    std::string("a ") + collection.kind_name() + " has no attribute \"" + expression.text + "\"");
  return TRY_AT(item_of(collection, key), expression.place);
}

Result<Value> Evaluator::splat(const Expression& expression, const Locals* locals) {
  const Value source = TRY(evaluate(*expression.children[0], locals));
  List items;
  const auto add = [&](const Value& item) -> Result<void> {
    const Locals inner{.outer = locals, .values = {}, .each = &item};
    items.push_back(TRY(evaluate(*expression.children[1], &inner)));
    return {};
  };
  if (source.is_list()) {
    for (const Value& item : source.list()) TRY(add(item));
  } else if (!source.is_null()) {
    TRY(add(source));
  }
  return Value(std::move(items));
}

Result<Value> Evaluator::unary(const Expression& expression, const Locals* locals) {
  const Value operand = TRY(evaluate(*expression.children[0], locals));
  if (expression.text == "!") return Value(!TRY_AT(to_truth(operand), expression.place));
  return Value(-TRY_AT(to_number(operand), expression.place));
}

Result<Value> Evaluator::binary(const Expression& expression, const Locals* locals) {
  const std::string& sign = expression.text;
  const Value left = TRY(evaluate(*expression.children[0], locals));
  if (sign == "&&" || sign == "||") {
    if (TRY_AT(to_truth(left), expression.place) == (sign == "||")) return Value(sign == "||");
    const Value right = TRY(evaluate(*expression.children[1], locals));
    return Value(TRY_AT(to_truth(right), expression.place));
  }
  const Value right = TRY(evaluate(*expression.children[1], locals));
  if (sign == "==" || sign == "!=") TRY(spend(std::min(left.weight(), right.weight()), expression.place));
  if (sign == "==") return Value(left == right);
  if (sign == "!=") return Value(!(left == right));
  const Number a = TRY_AT(to_number(left), expression.place), b = TRY_AT(to_number(right), expression.place);
  if (sign == "<") return Value(a < b);
  if (sign == ">") return Value(a > b);
  if (sign == "<=") return Value(a <= b);
  if (sign == ">=") return Value(a >= b);
  if ((sign == "/" || sign == "%") && b == 0) return error_at(expression.place, "division by zero");
  const Number result = sign == "+"   ? a + b
                        : sign == "-" ? a - b
                        : sign == "*" ? a * b
                        : sign == "/" ? a / b
                                      : std::fmod(a, b);
  if (!std::isfinite(result)) return error_at(expression.place, "the number is too large");
  return Value(result);
}

Result<Value> Evaluator::conditional(const Expression& expression, const Locals* locals) {
  const Value condition = TRY(evaluate(*expression.children[0], locals));
  const bool yes = TRY_AT(to_truth(condition), expression.children[0]->place);
  return evaluate(*expression.children[yes ? 1 : 2], locals);
}

Result<Value> Evaluator::object(const Expression& expression, const Locals* locals) {
  Object items;
  for (std::size_t i = 0; i + 1 < expression.children.size(); i += 2) {
    const Expression& key = *expression.children[i];
    const Value name = TRY(evaluate(key, locals));
    items[TRY_AT(to_text(name), key.place)] = TRY(evaluate(*expression.children[i + 1], locals));
  }
  return Value(std::move(items));
}

Result<Value> Evaluator::loop(const Expression& expression, const Locals* locals) {
  const bool into_object = expression.kind == Kind::for_object;
  const std::size_t filter = into_object ? 3 : 2;
  const Value source = TRY(evaluate(*expression.children[0], locals));
  List items;
  std::map<std::string, List> grouped;
  Object named;
  std::string text;
  const auto turn = [&](const Value& key, const Value& value) -> Result<void> {
    Locals inner{.outer = locals, .values = {}};
    if (expression.names.size() == 2) inner.values[expression.names[0]] = key;
    inner.values[expression.names.back()] = value;
    if (expression.children.size() > filter) {
      const Value wanted = TRY(evaluate(*expression.children[filter], &inner));
      if (!TRY_AT(to_truth(wanted), expression.place)) return {};
    }
    Value first = TRY(evaluate(*expression.children[1], &inner));
    if (expression.kind == Kind::join_each) {
      text += TRY_AT(to_text(first), expression.place);
      if (text.size() > kMaxText) return error_at(expression.place, "the text is too long");
    } else if (!into_object) {
      items.push_back(std::move(first));
    } else {
      const std::string name = TRY_AT(to_text(first), expression.place);
      Value second = TRY(evaluate(*expression.children[2], &inner));
      if (expression.expands)
        grouped[name].push_back(std::move(second));
      else if (!named.emplace(name, std::move(second)).second)
        return error_at(expression.place,
                        "the key \"" + name.substr(0, 100) + "\" occurs twice (\"...\" after the value gathers them)");
    }
    return {};
  };
  if (source.is_list()) {
    for (std::size_t i = 0; i < source.list().size(); ++i) TRY(turn(static_cast<Number>(i), source.list()[i]));
  } else if (source.is_object()) {
    for (const auto& [name, value] : source.object()) TRY(turn(name, value));
  } else {
    return error_at(expression.place, std::string("\"for\" needs a list or an object, not a ") + source.kind_name());
  }
  if (expression.kind == Kind::join_each) return Value(std::move(text));
  if (!into_object) return Value(std::move(items));
  for (auto& [name, list] : grouped) named[name] = Value(std::move(list));
  return Value(std::move(named));
}

Result<Value> Evaluator::join(const Expression& expression, const Locals* locals) {
  std::string text;
  for (const ExpressionRef& child : expression.children) {
    const Value part = TRY(evaluate(*child, locals));
    text += TRY_AT(to_text(part), child->place);
    if (text.size() > kMaxText) return error_at(expression.place, "the text is too long");
  }
  return Value(std::move(text));
}

Result<Value> Evaluator::call(const Expression& expression, const Locals* locals) {
  const Place& place = expression.place;
  const std::string& name = expression.text;
  if (name == "try" || name == "can") {
    Result<Value> last = error_at(place, name + "() needs an argument");
    for (const ExpressionRef& child : expression.children) {
      const int depth = depth_;
      last = evaluate(*child, locals);
      depth_ = depth;
      if (last || budget_.exhausted()) break;
    }
    if (name == "try" || budget_.exhausted()) return last;
    return Value(last.has_value());
  }
  if (name == "convert") {
    if (expression.children.size() != 2) return error_at(place, "convert() takes a value and a type");
    const Value value = TRY(evaluate(*expression.children[0], locals));
    const Type type = TRY(read_type(*expression.children[1]));
    return TRY_AT(convert(value, type, budget_), place);
  }
  List arguments;
  for (const ExpressionRef& child : expression.children) arguments.push_back(TRY(evaluate(*child, locals)));
  if (expression.expands) {
    const Value last = arguments.back();
    if (!last.is_list()) return error_at(place, "\"...\" is for a list of arguments");
    arguments.pop_back();
    arguments.insert(arguments.end(), last.list().begin(), last.list().end());
  }
  TRY(spend(arguments.size(), place));
  if (const UserFunction* function = globals_.function(name))
    return call_user(*function, expression, std::move(arguments));
  for (const Value& argument : arguments) TRY(spend(argument.weight(), place));
  const Function* function = find_function(name);
  if (function == nullptr) return unknown(place, "function", name, function_names(), budget_);
  const int count = static_cast<int>(std::min<std::size_t>(arguments.size(), kAnyArguments + 1));
  if (count < function->least || count > function->most)
    return error_at(place, name + "() takes " +
                               (count < function->least ? "at least " + std::to_string(function->least)
                                                        : "at most " + std::to_string(function->most)) +
                               " arguments, not " + std::to_string(arguments.size()));
  if (!function->takes_null)
    for (const Value& argument : arguments)
      if (argument.is_null()) return error_at(place, name + "() takes no null");
  auto result = function->call(Call(arguments, budget_));
  if (!result) return with_place(std::move(result).error().with_context(name + "()"), place);
  return result;
}

Result<Value> Evaluator::call_user(const UserFunction& function, const Expression& expression, List arguments) {
  const std::size_t wanted = function.parameters.size();
  if (arguments.size() < wanted || (arguments.size() > wanted && function.variadic.empty()))
    return error_at(expression.place, expression.text + "() takes " + std::to_string(wanted) + " arguments, not " +
                                          std::to_string(arguments.size()));
  Locals parameters;
  for (std::size_t i = 0; i < wanted; ++i) parameters.values[function.parameters[i]] = arguments[i];
  if (!function.variadic.empty())
    parameters.values[function.variadic] =
        List(arguments.begin() + static_cast<std::ptrdiff_t>(wanted), arguments.end());
  return evaluate(*function.result, &parameters);
}

}  // namespace dray::cli::hcl
