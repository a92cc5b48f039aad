// SPDX-License-Identifier: Apache-2.0
// The checks happen where the Dockerfile is read and planned; here that is done for the findings alone.
#include "lint/lint.hpp"

#include "dockerfile/parser.hpp"
#include "lint/excerpt.hpp"

namespace dray::builder {

namespace {

Result<void> run(std::string_view text, const std::string& file, PlanOptions& options, const ResolveBase& resolve) {
  options.linter = Linter(TRY(check_options(text, options.build_args)));
  TRY(parse_lines(text, file));
  auto dockerfile = parse_dockerfile(text, file, options.linter, syntax_argument(options.build_args));
  if (!dockerfile) {
    const int line = error_line(dockerfile.error(), file);
    if (line == 0 || dockerfile.error().message().starts_with("no build stage")) return Failure(dockerfile.error());
    return Failure(
        std::move(dockerfile).error().with_context("dockerfile parse error on line " + std::to_string(line)));
  }
  TRY(plan_build(*dockerfile, options, resolve));
  return options.linter.verdict(file);
}

}  // namespace

LintReport lint(std::string_view dockerfile, const std::string& file, PlanOptions options, const ResolveBase& resolve) {
  LintReport report;
  report.file = file;
  report.text = dockerfile;
  auto result = run(dockerfile, file, options, resolve);
  report.warnings = options.linter.warnings();
  if (!result) {
    report.error_line = error_line(result.error(), file);
    report.error = std::move(result).error();
  }
  return report;
}

}  // namespace dray::builder
