// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "value.hpp"

// HCL as written: blocks, attributes, expressions. https://github.com/hashicorp/hcl/blob/main/hclsyntax/spec.md

namespace dray::cli::hcl {

/// A place in a file; line 0: the file as a whole.
struct Place {
  std::string_view file;  ///< of the Body's owner
  int line = 0;
};

Failure error_at(const Place& place, std::string message);

struct Expression;
using ExpressionRef = std::shared_ptr<const Expression>;

struct Expression {
  enum class Kind {
    literal,    ///< value
    variable,   ///< text
    attribute,  ///< children[0].text
    index,      ///< children[0][children[1]]
    splat,      ///< children[1] for each of children[0], where `each` stands for it
    each,
    call,         ///< text(children…); expands: the last one is a list of arguments
    unary,        ///< text children[0]
    binary,       ///< children[0] text children[1]
    conditional,  ///< children[0] ? children[1] : children[2]
    tuple,
    object,      ///< children: key, value, key, value…
    for_list,    ///< [for names in children[0] : children[1] if children[2]]
    for_object,  ///< {for names in children[0] : children[1] => children[2] if children[3]}; expands: grouped
    join,        ///< texts one after another: a template
    join_each    ///< %{ for names in children[0] } children[1]
  };
  Kind kind = Kind::literal;
  Place place;
  Value value;
  std::string text;
  std::vector<std::string> names;
  std::vector<ExpressionRef> children;
  bool expands = false;
  int depth = 1;  ///< limited when it is made: evaluating and destroying are recursive
};

struct Attribute {
  std::string name;
  Place place;
  ExpressionRef value;
};

struct Block {
  std::string type;
  std::vector<std::string> labels;
  Place place;
  std::vector<Attribute> attributes;
  std::vector<Block> blocks;

  const Attribute* find(std::string_view name) const;
};

/// A whole file, as a block without a type. `file` must live as long as what is made of it.
Result<Block> parse_file(std::string_view text, std::string_view file);
/// An expression or, with `template_text`, what could stand between quotes (after its escapes).
Result<ExpressionRef> parse_expression(std::string_view text, const Place& place);
Result<ExpressionRef> parse_template(std::string_view text, const Place& place);

ExpressionRef literal(Value value, const Place& place);

}  // namespace dray::cli::hcl
