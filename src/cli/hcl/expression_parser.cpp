// SPDX-License-Identifier: Apache-2.0
// Expressions, by precedence.
#include <algorithm>

#include "cursor.hpp"

namespace dray::cli::hcl {
namespace {

constexpr int kMaxDepth = 400;
constexpr std::size_t kMaxNodes = 200'000;

struct Operator {
  std::string_view text;
  int level;
};
// Longer ones first.
constexpr Operator kOperators[] = {{"||", 0}, {"&&", 1}, {"==", 2}, {"!=", 2}, {"<=", 3}, {">=", 3}, {"<", 3},
                                   {">", 3},  {"+", 4},  {"-", 4},  {"*", 5},  {"/", 5},  {"%", 5}};
constexpr int kUnaryLevel = 6;

using Kind = Expression::Kind;

}  // namespace

Result<ExpressionRef> ExpressionParser::make(Expression expression) {
  for (const ExpressionRef& child : expression.children)
    expression.depth = std::max(expression.depth, child->depth + 1);
  if (expression.depth > kMaxDepth) return error_at(expression.place, "the expression is nested too deeply");
  if (++made_ > kMaxNodes) return error_at(expression.place, "the expression is too long");
  return std::make_shared<const Expression>(std::move(expression));
}

Result<void> ExpressionParser::expect(std::string_view word, const char* why) {
  TRY(space());
  if (cursor_.take(word)) return {};
  return cursor_.error("\"" + std::string(word) + "\" is missing " + why);
}

Result<ExpressionRef> ExpressionParser::expression(bool newlines) {
  if (++depth_ > kMaxDepth / 4) return cursor_.error("the expression is nested too deeply");
  const bool outer = std::exchange(newlines_, newlines);
  ExpressionRef result = TRY(binary(0));
  TRY(space());
  const Place place = cursor_.place();
  if (cursor_.take("?")) {
    ExpressionRef yes = TRY(expression(newlines));
    TRY(expect(":", "after \"?\""));
    ExpressionRef no = TRY(expression(newlines));
    result = TRY(make({.kind = Kind::conditional, .place = place, .children = {result, yes, no}}));
  }
  newlines_ = outer;
  --depth_;
  return result;
}

Result<ExpressionRef> ExpressionParser::binary(int level) {
  if (level == kUnaryLevel) return unary();
  ExpressionRef left = TRY(binary(level + 1));
  for (;;) {
    TRY(space());
    const auto found =
        std::ranges::find_if(kOperators, [&](const Operator& candidate) { return cursor_.sees(candidate.text); });
    if (found == std::end(kOperators) || found->level != level) return left;
    const Place place = cursor_.place();
    cursor_.take(found->text);
    ExpressionRef right = TRY(binary(level + 1));
    left =
        TRY(make({.kind = Kind::binary, .place = place, .text = std::string(found->text), .children = {left, right}}));
  }
}

Result<ExpressionRef> ExpressionParser::unary() {
  TRY(space());
  const Place place = cursor_.place();
  const char sign = cursor_.peek();
  if (sign != '-' && sign != '!') return postfix();
  if (++depth_ > kMaxDepth / 4) return cursor_.error("the expression is nested too deeply");
  cursor_.take();
  ExpressionRef operand = TRY(unary());
  --depth_;
  return make({.kind = Kind::unary, .place = place, .text = std::string(1, sign), .children = {operand}});
}

Result<ExpressionRef> ExpressionParser::postfix() {
  ExpressionRef base = TRY(term());
  return accesses(std::move(base), false);
}

Result<ExpressionRef> ExpressionParser::accesses(ExpressionRef base, bool attributes_only) {
  for (;;) {
    const Place place = cursor_.place();
    if (cursor_.take(".*")) {
      base = TRY(splat(std::move(base), true, place));
    } else if (cursor_.peek() == '.' && begins_name(cursor_.peek(1))) {
      cursor_.take();
      base = TRY(make({.kind = Kind::attribute, .place = place, .text = cursor_.take_name(), .children = {base}}));
    } else if (cursor_.peek() == '.' && cursor_.peek(1) >= '0' && cursor_.peek(1) <= '9') {  // the old a.0
      cursor_.take();
      std::string digits;
      while (cursor_.peek() >= '0' && cursor_.peek() <= '9' && digits.size() < 9) digits.push_back(cursor_.take());
      base =
          TRY(make({.kind = Kind::index, .place = place, .children = {base, literal(*parse_number(digits), place)}}));
    } else if (!attributes_only && cursor_.take("[")) {
      TRY(cursor_.skip_space(true));
      if (cursor_.peek() == '*' && cursor_.take("*")) {
        TRY(cursor_.skip_space(true));
        TRY(expect("]", "after \"[*\""));
        base = TRY(splat(std::move(base), false, place));
        continue;
      }
      ExpressionRef key = TRY(expression(true));
      TRY(cursor_.skip_space(true));
      TRY(expect("]", "after an index"));
      base = TRY(make({.kind = Kind::index, .place = place, .children = {base, key}}));
    } else {
      return base;
    }
  }
}

Result<ExpressionRef> ExpressionParser::splat(ExpressionRef base, bool attributes_only, const Place& place) {
  if (++depth_ > kMaxDepth / 4) return cursor_.error("the expression is nested too deeply");
  ExpressionRef each = TRY(make({.kind = Kind::each, .place = place}));
  ExpressionRef applied = TRY(accesses(std::move(each), attributes_only));
  --depth_;
  return make({.kind = Kind::splat, .place = place, .children = {base, applied}});
}

Result<ExpressionRef> ExpressionParser::term() {
  TRY(space());
  const char c = cursor_.peek();
  if (c >= '0' && c <= '9') return number();
  if (cursor_.take("\"")) return quoted();
  if (cursor_.sees("<<")) return heredoc();
  if (cursor_.take("[")) return tuple();
  if (cursor_.take("{")) return object();
  if (cursor_.take("(")) {
    ExpressionRef inner = TRY(expression(true));
    TRY(cursor_.skip_space(true));
    TRY(expect(")", "after an expression in parentheses"));
    return inner;
  }
  if (begins_name(c)) return name_or_call();
  if (cursor_.at_end()) return cursor_.error("an expression is missing at the end");
  return cursor_.error(c == '\n' ? "an expression is missing at the end of the line"
                                 : std::string("unexpected \"") + c + "\" where an expression belongs");
}

Result<ExpressionRef> ExpressionParser::number() {
  const Place place = cursor_.place();
  const auto is_digit = [this](std::size_t ahead) { return cursor_.peek(ahead) >= '0' && cursor_.peek(ahead) <= '9'; };
  std::string digits;
  while (is_digit(0)) digits.push_back(cursor_.take());
  if (cursor_.peek() == '.' && is_digit(1)) {
    digits.push_back(cursor_.take());
    while (is_digit(0)) digits.push_back(cursor_.take());
  }
  const bool has_sign = cursor_.peek(1) == '+' || cursor_.peek(1) == '-';
  if ((cursor_.peek() == 'e' || cursor_.peek() == 'E') && is_digit(has_sign ? 2 : 1)) {
    digits.push_back(cursor_.take());
    if (has_sign) digits.push_back(cursor_.take());
    while (is_digit(0)) digits.push_back(cursor_.take());
  }
  const auto value = parse_number(digits);
  if (!value || begins_name(cursor_.peek())) return error_at(place, "\"" + digits.substr(0, 40) + "\" is no number");
  return make({.kind = Kind::literal, .place = place, .value = *value});
}

Result<ExpressionRef> ExpressionParser::name_or_call() {
  const Place place = cursor_.place();
  std::string name = cursor_.take_name();
  if (name == "true" || name == "false") return make({.kind = Kind::literal, .place = place, .value = name == "true"});
  if (name == "null") return make({.kind = Kind::literal, .place = place});
  TRY(cursor_.skip_space(false));
  if (cursor_.sees("::")) return cursor_.error("names with \"::\" are not supported");
  if (!cursor_.take("(")) return make({.kind = Kind::variable, .place = place, .text = std::move(name)});
  Expression call{.kind = Kind::call, .place = place, .text = std::move(name)};
  for (;;) {
    TRY(cursor_.skip_space(true));
    if (cursor_.take(")")) break;
    call.children.push_back(TRY(expression(true)));
    TRY(cursor_.skip_space(true));
    call.expands = cursor_.take("...");
    TRY(cursor_.skip_space(true));
    if (cursor_.take(")")) break;
    if (call.expands || !cursor_.take(","))
      return cursor_.error("\")\" is missing after the arguments of " + call.text);
  }
  return make(std::move(call));
}

Result<ExpressionRef> ExpressionParser::tuple() {
  Expression list{.kind = Kind::tuple, .place = cursor_.place()};
  TRY(cursor_.skip_space(true));
  if (cursor_.take_keyword("for")) return for_expression(false);
  for (;;) {
    TRY(cursor_.skip_space(true));
    if (cursor_.take("]")) return make(std::move(list));
    list.children.push_back(TRY(expression(true)));
    TRY(cursor_.skip_space(true));
    if (!cursor_.take(",") && cursor_.peek() != ']') return cursor_.error("\",\" or \"]\" is missing in a list");
  }
}

Result<ExpressionRef> ExpressionParser::object() {
  Expression object{.kind = Kind::object, .place = cursor_.place()};
  TRY(cursor_.skip_space(true));
  if (cursor_.take_keyword("for")) return for_expression(true);
  for (;;) {
    TRY(cursor_.skip_space(true));
    if (cursor_.take("}")) return make(std::move(object));
    const Place place = cursor_.place();
    const bool bare = begins_name(cursor_.peek());  // is itself; a variable is written in parentheses
    ExpressionRef key = TRY(expression(false));
    if (bare && key->kind == Kind::variable) key = literal(key->text, place);
    TRY(cursor_.skip_space(true));
    if (!cursor_.take("=") && !cursor_.take(":")) return cursor_.error("\"=\" is missing after a key of an object");
    object.children.push_back(std::move(key));
    object.children.push_back(TRY(expression(false)));
    TRY(cursor_.skip_space(false));
    if (!cursor_.take(",") && cursor_.peek() != '}' && cursor_.peek() != '\n')
      return cursor_.error("\",\", \"}\" or an end of line is missing in an object");
  }
}

Result<std::vector<std::string>> ExpressionParser::loop_names() {
  std::vector<std::string> names;
  do {
    TRY(cursor_.skip_space(true));
    names.push_back(cursor_.take_name());
    if (names.back().empty()) return cursor_.error("a name is missing after \"for\"");
    TRY(cursor_.skip_space(true));
  } while (names.size() < 2 && cursor_.take(","));
  if (!cursor_.take_keyword("in")) return cursor_.error("\"in\" is missing after \"for " + names[0] + "\"");
  return names;
}

Result<ExpressionRef> ExpressionParser::for_expression(bool object) {
  Expression loop{.kind = object ? Kind::for_object : Kind::for_list, .place = cursor_.place()};
  const bool outer = std::exchange(newlines_, true);
  loop.names = TRY(loop_names());
  loop.children.push_back(TRY(expression(true)));
  TRY(expect(":", "in a \"for\""));
  loop.children.push_back(TRY(expression(true)));
  if (object) {
    TRY(expect("=>", "in a \"for\" of an object"));
    loop.children.push_back(TRY(expression(true)));
    TRY(space());
    loop.expands = cursor_.take("...");
  }
  TRY(space());
  if (cursor_.take_keyword("if")) loop.children.push_back(TRY(expression(true)));
  TRY(expect(object ? "}" : "]", "at the end of a \"for\""));
  newlines_ = outer;
  return make(std::move(loop));
}

}  // namespace dray::cli::hcl
