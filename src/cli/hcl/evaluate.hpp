// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "budget.hpp"
#include "syntax.hpp"

namespace dray::cli::hcl {

/// A function of the file's own.
struct UserFunction {
  std::vector<std::string> parameters;
  std::string variadic;  ///< gets the other arguments, as a list; or ""
  ExpressionRef result;
};

/// What an expression's names mean outside of it.
class Globals {
 public:
  virtual ~Globals() = default;
  virtual Result<std::optional<Value>> variable(const std::string& name, const Place& place) = 0;
  /// TYPE.LABEL.NAME, such as target.app.args; nullopt: there is no block of that type and label.
  virtual Result<std::optional<Value>> attribute_of_block(const std::string& type, const std::string& label,
                                                          const std::string& name, const Place& place) = 0;
  virtual const UserFunction* function(const std::string& name) = 0;
  virtual std::vector<std::string> names() const = 0;  ///< for guesses
};

/// Names that are known only within: of loops, of parameters, of a matrix.
struct Locals {
  const Locals* outer = nullptr;
  Object values;
  const Value* each = nullptr;
};

/// Evaluates with limits on depth and on what is made and done altogether.
class Evaluator {
 public:
  explicit Evaluator(Globals& globals) : globals_(globals) {}
  Result<Value> evaluate(const Expression& expression, const Locals* locals = nullptr);
  Budget& budget() { return budget_; }

 private:
  Result<Value> step(const Expression& expression, const Locals* locals);
  Result<Value> variable(const Expression& expression, const Locals* locals);
  Result<Value> access(const Expression& expression, const Locals* locals);
  Result<Value> splat(const Expression& expression, const Locals* locals);
  Result<Value> unary(const Expression& expression, const Locals* locals);
  Result<Value> binary(const Expression& expression, const Locals* locals);
  Result<Value> conditional(const Expression& expression, const Locals* locals);
  Result<Value> object(const Expression& expression, const Locals* locals);
  Result<Value> loop(const Expression& expression, const Locals* locals);
  Result<Value> join(const Expression& expression, const Locals* locals);
  Result<Value> call(const Expression& expression, const Locals* locals);
  Result<Value> call_user(const UserFunction& function, const Expression& expression, List arguments);
  Result<void> charge(const Value& value, const Place& place);
  Result<void> spend(std::size_t amount, const Place& place);

  Globals& globals_;
  int depth_ = 0;
  Budget budget_;
};

/// A list's item or an object's; errors have no place.
Result<Value> item_of(const Value& collection, const Value& key);

}  // namespace dray::cli::hcl
