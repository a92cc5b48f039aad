// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "dockerfile/dockerfile.hpp"
#include "dockerfile/parser.hpp"
#include "lint/linter.hpp"

// The checks that need no expansion of variables.

namespace dray::builder {

/// NoEmptyContinuation.
void check_lines(const Ast& ast, const Linter& linter);
/// Casing within a FROM, MAINTAINER; before the node is known to be right.
void check_node(const Node& node, const Linter& linter);
/// InvalidDefinitionDescription, of a node that is right.
void check_description(const Node& node, const Linter& linter);
/// Names of stages, and one casing for all instructions.
void check_stages(const Dockerfile& dockerfile, const Linter& linter);

}  // namespace dray::builder
