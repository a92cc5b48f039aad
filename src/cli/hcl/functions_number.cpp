// SPDX-License-Identifier: Apache-2.0
// Functions of numbers and of what is true.
#include <algorithm>
#include <cmath>

#include "functions.hpp"

namespace dray::cli::hcl {
namespace {

Result<Value> finite(Number number) {
  if (!std::isfinite(number)) return wrong("the result is no number");
  return Value(number);
}

template <Number (*f)(Number)>
Result<Value> of_one(Arguments a) {
  return finite(f(TRY(to_number(a[0]))));
}

template <Number (*f)(Number, Number)>
Result<Value> of_two(Arguments a) {
  const Number x = TRY(to_number(a[0])), y = TRY(to_number(a[1]));
  return finite(f(x, y));
}

template <bool (*f)(Number, Number)>
Result<Value> compared(Arguments a) {
  const Number x = TRY(to_number(a[0])), y = TRY(to_number(a[1]));
  return Value(f(x, y));
}

bool greater(Number x, Number y) { return x > y; }
bool at_least(Number x, Number y) { return x >= y; }
bool less(Number x, Number y) { return x < y; }
bool at_most(Number x, Number y) { return x <= y; }
Number add(Number x, Number y) { return x + y; }
Number subtract(Number x, Number y) { return x - y; }
Number multiply(Number x, Number y) { return x * y; }
Number divide(Number x, Number y) { return x / y; }
Number logarithm(Number x, Number base) { return std::log(x) / std::log(base); }
Number negate(Number x) { return -x; }
Number sign(Number x) { return x > 0 ? 1 : x < 0 ? -1 : 0; }

/// Of one list, or of all arguments.
template <bool largest>
Result<Value> extreme(Arguments a) {
  Number result = TRY(to_number(a[0]));
  for (const Value& item : a) {
    const Number number = TRY(to_number(item));
    result = largest ? std::max(result, number) : std::min(result, number);
  }
  return Value(result);
}

Result<Value> parseint(Arguments a) {
  const std::string given = TRY(to_text(a[0]));
  const std::int64_t base = TRY(to_integer(a[1]));
  if (base < 2 || base > 62) return wrong("the base must be 2 to 62");
  std::string_view digits = given;
  const bool negative = digits.starts_with('-');
  if (negative || digits.starts_with('+')) digits.remove_prefix(1);
  Number number = 0;
  bool good = !digits.empty();
  for (const char c : digits) {
    int digit = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'z' ? c - 'a' + 10
                : c >= 'A' && c <= 'Z' ? c - 'A' + (base > 36 ? 36 : 10)
                                       : 99;
    good = good && digit < base;
    number = number * static_cast<Number>(base) + digit;
  }
  if (!good) return wrong("\"" + given.substr(0, 100) + "\" is no whole number in base " + std::to_string(base));
  return finite(negative ? -number : number);
}

Result<Value> both(Arguments a) {
  const bool x = TRY(to_truth(a[0])), y = TRY(to_truth(a[1]));
  return Value(x && y);
}
Result<Value> either(Arguments a) {
  const bool x = TRY(to_truth(a[0])), y = TRY(to_truth(a[1]));
  return Value(x || y);
}
Result<Value> opposite(Arguments a) { return Value(!TRY(to_truth(a[0]))); }
Result<Value> equal(Arguments a) { return Value(a[0] == a[1]); }
Result<Value> notequal(Arguments a) { return Value(!(a[0] == a[1])); }

}  // namespace

const std::vector<Function>& number_functions() {
  static const std::vector<Function> functions = {{"absolute", 1, 1, of_one<std::fabs>},
                                                  {"abs", 1, 1, of_one<std::fabs>},
                                                  {"ceil", 1, 1, of_one<std::ceil>},
                                                  {"floor", 1, 1, of_one<std::floor>},
                                                  {"int", 1, 1, of_one<std::trunc>},
                                                  {"negate", 1, 1, of_one<negate>},
                                                  {"signum", 1, 1, of_one<sign>},
                                                  {"add", 2, 2, of_two<add>},
                                                  {"subtract", 2, 2, of_two<subtract>},
                                                  {"multiply", 2, 2, of_two<multiply>},
                                                  {"divide", 2, 2, of_two<divide>},
                                                  {"modulo", 2, 2, of_two<std::fmod>},
                                                  {"pow", 2, 2, of_two<std::pow>},
                                                  {"log", 2, 2, of_two<logarithm>},
                                                  {"greaterthan", 2, 2, compared<greater>},
                                                  {"greaterthanorequalto", 2, 2, compared<at_least>},
                                                  {"lessthan", 2, 2, compared<less>},
                                                  {"lessthanorequalto", 2, 2, compared<at_most>},
                                                  {"max", 1, kAnyArguments, extreme<true>},
                                                  {"min", 1, kAnyArguments, extreme<false>},
                                                  {"parseint", 2, 2, parseint},
                                                  {"and", 2, 2, both},
                                                  {"or", 2, 2, either},
                                                  {"not", 1, 1, opposite},
                                                  {"equal", 2, 2, equal, true},
                                                  {"notequal", 2, 2, notequal, true}};
  return functions;
}

}  // namespace dray::cli::hcl
