// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "dockerfile/parser.hpp"

namespace dray::builder {

/// One logical line as a node (without heredocs). ONBUILD holds the node of its trigger.
Result<Node> parse_instruction_line(std::string_view line, char escape, int depth = 0);

}  // namespace dray::builder
