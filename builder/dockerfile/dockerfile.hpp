// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <dray/core/result.hpp>

#include "dockerfile/instruction.hpp"
#include "dockerfile/parser.hpp"
#include "lint/linter.hpp"

namespace dray::builder {

/// One FROM and what follows it. Variables are not expanded yet.
struct Stage {
  FromInstruction from;
  std::string keyword;                ///< FROM as written
  std::vector<std::string> comments;  ///< directly above it, without "#"
  int line = 0, end_line = 0;
  std::vector<Instruction> instructions;
};

/// A Dockerfile as typed instructions.
struct Dockerfile {
  std::string file = "Dockerfile";  ///< for locations: "Dockerfile:12"
  char escape = '\\';
  bool extended = false;                 ///< "# syntax=dray": Dray's own flags are known
  std::vector<Instruction> global_args;  ///< the ARGs before the first FROM
  std::vector<Stage> stages;             ///< at least one
  std::vector<std::string> warnings;     ///< "Dockerfile:3: …"
};

/// At most 16 MiB of text. `file` is its name in locations; `syntax` stands for the directive of that name.
Result<Dockerfile> parse_dockerfile(std::string_view text, std::string file = "Dockerfile", const Linter& linter = {},
                                    const std::string& syntax = "");
/// The build argument BUILDKIT_SYNTAX, or "".
std::string syntax_argument(const std::vector<std::pair<std::string, std::string>>& build_args);
/// The second half of that.
Result<Dockerfile> read_instructions(const Ast& ast, std::string file, const Linter& linter = {});

}  // namespace dray::builder
