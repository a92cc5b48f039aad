// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <variant>

#include "dockerfile/parser.hpp"

namespace dray::builder {

using ParsedNode = std::variant<FromInstruction, Instruction>;

/// Checks a node's flags and arguments. Errors have no location. `extended`: with Dray's own flags.
Result<ParsedNode> parse_instruction(const Node& node, bool extended = false);

/// A trigger's text (ONBUILD) as an instruction; FROM is refused.
Result<Instruction> parse_trigger(std::string_view text, char escape, int line, bool extended = false);

}  // namespace dray::builder
