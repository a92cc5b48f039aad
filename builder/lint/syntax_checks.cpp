// SPDX-License-Identifier: Apache-2.0
#include "lint/syntax_checks.hpp"

#include <algorithm>
#include <set>

#include "dockerfile/text.hpp"
#include "plan/wording.hpp"

namespace dray::builder {

namespace {

bool is_lower(std::string_view text) { return text == to_lower(text); }
bool is_upper(std::string_view text) { return text == to_upper(text); }

/// Does "as" fit "FROM"? Where FROM itself is of mixed case, that is another rule's finding.
bool as_fits(std::string_view from, std::string_view as) {
  if (is_lower(from)) return is_lower(as);
  return !is_upper(from) || is_upper(as);
}

class Casing {
 public:
  void count(std::string_view name) {
    if (is_lower(name))
      ++lower_;
    else if (is_upper(name))
      ++upper_;
  }
  void check(std::string_view name, LineRange lines, const Linter& linter) const {
    const bool lower = lower_ > upper_;
    if (lower ? is_lower(name) : is_upper(name)) return;
    linter.report(Rule::consistent_instruction_casing,
                  "Command '" + std::string(name) + "' should match the case of the command majority (" +
                      (lower ? "lowercase" : "uppercase") + ")",
                  lines);
  }

 private:
  int lower_ = 0, upper_ = 0;
};

}  // namespace

void check_lines(const Ast& ast, const Linter& linter) {
  for (const Ast::Warning& warning : ast.warnings)
    linter.report(Rule::no_empty_continuation, "Empty continuation line", {warning.line, warning.line});
}

void check_node(const Node& node, const Linter& outer) {
  if (!outer.active()) return;
  const Linter linter = outer.with_comments(node.comments);
  const LineRange lines{node.line, node.end_line};
  const std::string name = to_lower(node.name);
  if (name == "maintainer")
    linter.report(Rule::maintainer_deprecated, "Maintainer instruction is deprecated in favor of using label", lines);
  if (name != "from" || node.args.size() < 3) return;
  if (node.args.size() == 3 && !is_lower(node.args[2]))
    linter.report(Rule::stage_name_casing, "Stage name '" + node.args[2] + "' should be lowercase", lines);
  if (!as_fits(node.name, node.args[1]))
    linter.report(Rule::from_as_casing, "'" + node.args[1] + "' and '" + node.name + "' keywords' casing do not match",
                  lines);
}

void check_description(const Node& node, const Linter& outer) {
  if (!outer.active() || node.comments.empty()) return;
  const std::string instruction = to_upper(node.name);
  std::vector<std::string> names;
  if (instruction == "FROM" && node.args.size() == 3) names.push_back(to_lower(node.args[2]));
  if (instruction == "ARG")
    for (const std::string& arg : node.args) names.push_back(arg.substr(0, arg.find('=')));
  if (names.empty()) return;
  const std::string described = node.comments.back().substr(0, node.comments.back().find(' '));
  if (std::find(names.begin(), names.end(), described) != names.end()) return;
  const std::string example = names.size() > 1 ? "<arg_key>" : names[0];
  outer.with_comments(node.comments)
      .report(Rule::invalid_definition_description,
              "Comment for " + instruction + " should follow the format: `# " + example + " <description>`",
              {node.line, node.end_line});
}

void check_stages(const Dockerfile& dockerfile, const Linter& linter) {
  if (!linter.active()) return;
  std::set<std::string> names;
  Casing casing;
  for (const Stage& stage : dockerfile.stages) {
    const LineRange lines{stage.line, stage.end_line};
    const std::string& name = stage.from.alias;
    if (name == "scratch" || name == "context")
      linter.report(Rule::reserved_stage_name,
                    "Stage name should not use the same name as reserved stage " + go_quote(name), lines);
    if (!name.empty() && !names.insert(name).second)
      linter.report(Rule::duplicate_stage_name,
                    "Duplicate stage name " + go_quote(name) + ", stage names should be unique", lines);
    casing.count(stage.keyword);
    for (const Instruction& instruction : stage.instructions) casing.count(instruction.name);
  }
  for (const Stage& stage : dockerfile.stages) {
    casing.check(stage.keyword, {stage.line, stage.end_line}, linter);
    for (const Instruction& instruction : stage.instructions)
      casing.check(instruction.name, {instruction.line, instruction.end_line}, linter);
  }
}

}  // namespace dray::builder
