// SPDX-License-Identifier: Apache-2.0
// build --check and --call: what BuildKit's frontend answers, printed as buildx prints it.
#include <algorithm>

#include <dray/core/text.hpp>

#include "../command.hpp"
#include "../progress.hpp"
#include "build_command.hpp"

namespace dray::cli {
namespace {

std::string mounts_text(const char* head, const std::vector<builder::Outline::Mount>& mounts) {
  if (mounts.empty()) return "";
  std::vector<std::vector<std::string>> rows = {{head, "REQUIRED"}};
  for (const auto& mount : mounts) rows.push_back({mount.id, mount.required ? "true" : ""});
  return align_columns(rows, 3) + "\n";
}

std::string check_text(const builder::LintReport& report) {
  std::string text;
  const std::size_t count = report.warnings.size();
  if (count == 1) text = "Check complete, 1 warning has been found!\n";
  if (count > 1) text = "Check complete, " + std::to_string(count) + " warnings have been found!\n";
  std::vector<builder::LintWarning> warnings = report.warnings;
  std::ranges::stable_sort(warnings, {}, &builder::LintWarning::line);
  for (const builder::LintWarning& warning : warnings) {
    text += "\nWARNING: " + warning.rule + (warning.url.empty() ? "" : " - " + warning.url) + "\n" + warning.detail +
            "\n" + builder::source_excerpt(report.text, report.file, warning.line, warning.end_line);
  }
  if (count == 0 && !report.error) text = "Check complete, no warnings found.\n";
  return text;
}

std::string targets_text(const std::vector<builder::TargetDescription>& targets) {
  std::vector<std::vector<std::string>> rows = {{"TARGET", "DESCRIPTION"}};
  for (const auto& target : targets) {
    std::string name = target.name;
    if (target.is_default) name += name.empty() ? "(default)" : " (default)";
    rows.push_back({name, target.description});
  }
  return align_columns(rows, 1);
}

std::string outline_text(const builder::Outline& outline) {
  std::string text;
  if (!outline.name.empty() || !outline.description.empty()) {
    std::vector<std::vector<std::string>> rows = {{"TARGET:", outline.name.empty() ? "(default)" : outline.name}};
    if (!outline.description.empty()) rows.push_back({"DESCRIPTION:", outline.description});
    text += align_columns(rows, 1) + "\n";
  }
  if (!outline.arguments.empty()) {
    std::vector<std::vector<std::string>> rows = {{"BUILD ARG", "VALUE", "DESCRIPTION"}};
    for (const auto& argument : outline.arguments)
      rows.push_back({argument.name, argument.value, argument.description});
    text += align_columns(rows, 3) + "\n";
  }
  return text + mounts_text("SECRET", outline.secrets) + mounts_text("SSH", outline.ssh);
}

}  // namespace

Result<CallWords> parse_call(const std::string& call) {
  const std::size_t comma = call.find(',');
  std::string name = call.substr(0, comma);
  const std::string format = comma == std::string::npos ? "" : call.substr(comma + 1);
  if (name == "lint") name = "check";
  if (name != "build" && name != "check" && name != "outline" && name != "targets")
    return fail(ErrorCode::invalid_argument, "unknown --call \"" + name + "\": use build, check, outline or targets");
  if (!format.empty() && format != "format=json" && format != "format=text")
    return fail(ErrorCode::invalid_argument, "unknown option \"" + format + "\" of --call: use format=json");
  return CallWords{name, format == "format=json"};
}

Result<CallAnswer> answer_call(engine::Context& context, const BuildCommand& command, ProgressSink& progress,
                               const CancelToken& cancel) {
  const CallWords& call = command.call;
  CallAnswer answer;
  if (call.question == "targets") {
    const auto targets = TRY(builder::list_targets(*context.store, command.request, cancel));
    answer.text = call.json ? targets_json(targets) : printable(targets_text(targets));
    return answer;
  }
  if (call.question == "outline") {
    const auto outline = TRY(engine::outline_build(context, command.request, progress, cancel));
    answer.text = call.json ? outline_json(outline) : printable(outline_text(outline));
    return answer;
  }
  const builder::LintReport report = TRY(engine::check_build(context, command.request, progress, cancel));
  answer.text = call.json ? check_json(report) : printable(check_text(report));
  if (report.error && !call.json) {
    if (!report.warnings.empty()) answer.text += "\n";
    answer.error = printable("ERROR: " + report.error->message() + "\n" +
                             builder::source_excerpt(report.text, report.file, report.error_line, report.error_line));
  }
  answer.exit_code = report.warnings.empty() && !report.error ? 0 : 1;
  return answer;
}

void print(const CallAnswer& answer) {
  print(answer.text);
  if (!answer.error.empty()) print_error(answer.error);
}

}  // namespace dray::cli
