// SPDX-License-Identifier: Apache-2.0
// Puts the instructions into stages; what stands before the first FROM can only be ARG.
#include "dockerfile/dockerfile.hpp"

#include "dockerfile/instruction_parser.hpp"
#include "dockerfile/parser.hpp"
#include "lint/syntax_checks.hpp"

namespace dray::builder {

namespace {
constexpr std::size_t kMaxStages = 1000;  // planning goes from a stage to those it needs, recursively
}

Result<Dockerfile> parse_dockerfile(std::string_view text, std::string file, const Linter& linter) {
  Ast ast = TRY(parse_lines(text, file));
  Dockerfile dockerfile;
  dockerfile.escape = ast.escape;
  const auto at = [&file](int line) { return file + ":" + std::to_string(line); };
  check_lines(ast, linter);
  std::string_view syntax = ast.syntax;
  if (syntax.starts_with("docker.io/")) syntax.remove_prefix(10);
  if (!syntax.empty() && syntax != "docker/dockerfile" && !syntax.starts_with("docker/dockerfile:") &&
      !syntax.starts_with("docker/dockerfile-upstream") && !syntax.starts_with("docker/dockerfile@"))
    dockerfile.warnings.push_back(at(1) + ": the frontend \"" + ast.syntax +
                                  "\" is not run: read as an ordinary Dockerfile");

  for (const Node& node : ast.nodes) {
    check_node(node, linter);
    auto parsed = parse_instruction(node);
    if (!parsed) return Failure(std::move(parsed).error().with_location(at(node.line)));
    check_description(node, linter);
    if (auto* from = std::get_if<FromInstruction>(&*parsed)) {
      if (dockerfile.stages.size() == kMaxStages)
        return Failure(Error(ErrorCode::invalid_argument, "more than 1000 stages").with_location(at(node.line)));
      dockerfile.stages.push_back({std::move(*from), node.name, node.comments, node.line, node.end_line, {}});
      continue;
    }
    Instruction& instruction = std::get<Instruction>(*parsed);
    if (!dockerfile.stages.empty()) {
      dockerfile.stages.back().instructions.push_back(std::move(instruction));
    } else if (std::holds_alternative<ArgInstruction>(instruction.body)) {
      dockerfile.global_args.push_back(std::move(instruction));
    } else {
      return Failure(Error(ErrorCode::invalid_argument, "no build stage in current context")
                         .with_hint("only ARG may stand before the first FROM")
                         .with_location(at(node.line)));
    }
  }
  dockerfile.file = std::move(file);
  if (dockerfile.stages.empty())
    return fail(ErrorCode::invalid_argument, "\"" + dockerfile.file + "\" has no FROM: there is nothing to build");
  check_stages(dockerfile, linter);
  return dockerfile;
}

}  // namespace dray::builder
