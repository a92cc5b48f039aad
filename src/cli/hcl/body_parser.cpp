// SPDX-License-Identifier: Apache-2.0
// Blocks and attributes.
#include <set>

#include "cursor.hpp"

namespace dray::cli::hcl {
namespace {

constexpr int kMaxDepth = 20;
constexpr std::size_t kMaxBlocks = 20'000;

class BodyParser {
 public:
  explicit BodyParser(Cursor& cursor) : cursor_(cursor) {}

  /// To the closing brace, or to the end of the file.
  Result<void> body(Block& block, bool in_braces, int depth) {
    if (depth > kMaxDepth) return cursor_.error("blocks are nested too deeply");
    std::set<std::string> names;
    for (;;) {
      TRY(cursor_.skip_space(true));
      if (cursor_.at_end() && !in_braces) return {};
      if (in_braces && cursor_.take("}")) return {};
      if (cursor_.at_end()) return error_at(block.place, "the block is not closed: \"}\" is missing");
      const Place place = cursor_.place();
      const std::string name = cursor_.take_name();
      if (name.empty())
        return cursor_.error(std::string("unexpected \"") + cursor_.peek() +
                             "\": the name of a block or an attribute belongs here");
      TRY(cursor_.skip_space(false));
      if (cursor_.peek() == '=' && cursor_.peek(1) != '=') {
        cursor_.take();
        if (!names.insert(name).second) return error_at(place, "\"" + name + "\" is given twice");
        ExpressionParser expressions(cursor_);
        block.attributes.push_back({name, place, TRY(expressions.expression(false))});
      } else {
        TRY(nested(block, name, place, depth));
      }
      TRY(end_of_line());
    }
  }

 private:
  Result<void> nested(Block& block, const std::string& name, const Place& place, int depth) {
    if (++blocks_ > kMaxBlocks) return cursor_.error("there are too many blocks");
    Block child;
    child.type = name;
    child.place = place;
    while (!cursor_.take("{")) {
      std::string label = cursor_.take_name();
      if (label.empty() && cursor_.take("\"")) {
        ExpressionParser expressions(cursor_);
        const ExpressionRef text = TRY(expressions.quoted());
        if (text->kind != Expression::Kind::literal || !text->value.is_string())
          return error_at(place, "the label of a block must be a plain text");
        label = text->value.text();
      } else if (label.empty()) {
        return cursor_.error("\"=\" or \"{\" is missing after \"" + name + "\"");
      }
      child.labels.push_back(std::move(label));
      TRY(cursor_.skip_space(false));
    }
    TRY(body(child, true, depth + 1));
    block.blocks.push_back(std::move(child));
    return {};
  }

  Result<void> end_of_line() {
    TRY(cursor_.skip_space(false));
    if (cursor_.at_end() || cursor_.peek() == '\n' || cursor_.peek() == '}') return {};
    return cursor_.error(std::string("unexpected \"") + cursor_.peek() + "\": an end of line is missing before it");
  }

  Cursor& cursor_;
  std::size_t blocks_ = 0;
};

}  // namespace

const Attribute* Block::find(std::string_view name) const {
  for (const Attribute& attribute : attributes)
    if (attribute.name == name) return &attribute;
  return nullptr;
}

Result<Block> parse_file(std::string_view text, std::string_view file) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  Cursor cursor(text, {file, 1});
  Block block;
  block.place = {file, 0};
  BodyParser parser(cursor);
  TRY(parser.body(block, false, 0));
  return block;
}

Result<ExpressionRef> parse_expression(std::string_view text, const Place& place) {
  Cursor cursor(text, place);
  ExpressionParser parser(cursor);
  ExpressionRef expression = TRY(parser.expression(true));
  TRY(cursor.skip_space(true));
  if (!cursor.at_end()) return cursor.error("unexpected \"" + std::string(cursor.rest().substr(0, 40)) + "\"");
  return expression;
}

Result<ExpressionRef> parse_template(std::string_view text, const Place& place) {
  Cursor cursor(text, place);
  return ExpressionParser(cursor).template_to_end();
}

ExpressionRef literal(Value value, const Place& place) {
  Expression expression;
  expression.place = place;
  expression.value = std::move(value);
  return std::make_shared<const Expression>(std::move(expression));
}

}  // namespace dray::cli::hcl
