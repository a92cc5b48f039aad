// SPDX-License-Identifier: Apache-2.0
// Puts the instructions into stages; what stands before the first FROM can only be ARG.
#include "dockerfile/dockerfile.hpp"

#include <algorithm>

#include "dockerfile/instruction_parser.hpp"
#include "lint/syntax_checks.hpp"

namespace dray::builder {

namespace {

constexpr std::size_t kMaxStages = 1000;  // planning goes from a stage to those it needs, recursively

/// "docker/dockerfile:1" and its like: what is built in here.
bool is_standard_syntax(std::string_view syntax) {
  if (syntax.starts_with("docker.io/")) syntax.remove_prefix(10);
  const std::string_view name = syntax.substr(0, syntax.find_first_of(":@"));
  return name == "docker/dockerfile" || name == "docker/dockerfile-upstream" || syntax == "dockerfile.v0";
}

std::string at_line(const std::string& file, int line) { return file + ":" + std::to_string(line); }

}  // namespace

Result<Dockerfile> parse_dockerfile(std::string_view text, std::string file, const Linter& linter,
                                    const std::string& syntax) {
  auto dockerfile = [&]() -> Result<Dockerfile> {
    Ast ast = TRY(parse_lines(text, file));
    if (!syntax.empty()) ast.syntax = syntax;
    return read_instructions(ast, std::move(file), linter);
  }();
  const std::string foreign = dockerfile ? "" : foreign_syntax(text);
  if (foreign.empty()) return dockerfile;
  return Failure(
      std::move(dockerfile)
          .error()
          .with_hint("the file is for the frontend \"" + foreign + "\": Dray runs none, and reads Dockerfiles only"));
}

std::string syntax_argument(const std::vector<std::pair<std::string, std::string>>& build_args) {
  const auto found = std::find_if(build_args.rbegin(), build_args.rend(),
                                  [](const auto& argument) { return argument.first == "BUILDKIT_SYNTAX"; });
  return found == build_args.rend() ? "" : found->second;
}

Result<Dockerfile> read_instructions(const Ast& ast, std::string file, const Linter& linter) {
  Dockerfile dockerfile;
  dockerfile.escape = ast.escape;
  dockerfile.extended = ast.syntax == "dray";
  check_lines(ast, linter);
  if (!ast.syntax.empty() && !dockerfile.extended && !is_standard_syntax(ast.syntax))
    dockerfile.warnings.push_back(at_line(file, 1) + ": the frontend \"" + ast.syntax +
                                  "\" is not run: read as an ordinary Dockerfile");

  for (const Node& node : ast.nodes) {
    check_node(node, linter);
    auto parsed = parse_instruction(node, dockerfile.extended);
    if (!parsed) return Failure(std::move(parsed).error().with_location(at_line(file, node.line)));
    check_description(node, linter);
    if (auto* from = std::get_if<FromInstruction>(&*parsed)) {
      if (dockerfile.stages.size() == kMaxStages)
        return Failure(
            Error(ErrorCode::invalid_argument, "more than 1000 stages").with_location(at_line(file, node.line)));
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
                         .with_location(at_line(file, node.line))
                         .with_hint("only ARG may stand before FROM"));
    }
  }
  dockerfile.file = std::move(file);
  if (dockerfile.stages.empty())
    return Failure(Error(ErrorCode::invalid_argument, "dockerfile contains no stages to build")
                       .with_location(dockerfile.file)
                       .with_hint("it has no FROM"));
  check_stages(dockerfile, linter);
  return dockerfile;
}

}  // namespace dray::builder
