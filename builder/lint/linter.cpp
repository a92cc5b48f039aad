// SPDX-License-Identifier: Apache-2.0
#include "lint/linter.hpp"

#include <algorithm>
#include <optional>

#include "dockerfile/parser.hpp"
#include "dockerfile/text.hpp"
#include "plan/wording.hpp"

namespace dray::builder {

namespace {

Failure invalid(std::string message) { return fail(ErrorCode::invalid_argument, std::move(message)); }

constexpr std::string_view kPages = "https://docs.docker.com/go/dockerfile/rule/";

void add_rules(std::string_view list, bool& all, std::set<std::string, std::less<>>& rules) {
  list = trim(list);
  if (list == "all") {
    all = true;
    return;
  }
  for (std::size_t begin = 0; begin <= list.size();) {
    const std::size_t end = std::min(list.find(',', begin), list.size());
    rules.emplace(trim(list.substr(begin, end - begin)));
    begin = end + 1;
  }
}

std::string_view first_word(std::string_view text) { return text.substr(0, text.find(' ')); }

/// The value of the directive "# check=", which may also stand below a "#!" line.
std::string check_directive(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  for (bool first = true; !text.empty(); first = false) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (first && line.starts_with("#!")) continue;
    if (!line.starts_with('#')) break;
    const auto directive = parse_directive(line.substr(1));
    if (!directive) break;
    if (directive->name == "check") return std::string(first_word(directive->value));
  }
  return "";
}

Result<CheckOptions> parse_check_options(std::string_view text) {
  CheckOptions options;
  text = trim(text);
  for (int part_number = 1; !text.empty(); ++part_number) {
    const std::size_t end = part_number < 3 ? std::min(text.find(';'), text.size()) : text.size();
    const std::string_view part = text.substr(0, end);
    const bool more = end < text.size();
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::size_t equals = part.find('=');
    if (equals == std::string_view::npos) return invalid("invalid check option " + go_quote(part));
    const std::string_view key = trim(part.substr(0, equals));
    const std::string_view value = part.substr(equals + 1);
    if (key == "skip") {
      options.skip.clear();
      add_rules(value, options.skip_all, options.skip);
    } else if (key == "experimental") {
      options.experimental.clear();
      add_rules(value, options.experimental_all, options.experimental);
    } else if (key == "error") {
      const auto flag = parse_bool(trim(value));
      if (!flag)
        return invalid("failed to parse check option " + go_quote(part) + ": " + go_quote(trim(value)) +
                       " is neither true nor false");
      options.error = *flag;
    } else {
      return invalid("invalid check option " + go_quote(key));
    }
    if (more && text.empty()) return invalid("invalid check option \"\"");
  }
  return options;
}

}  // namespace

std::string LintWarning::to_string() const {
  return rule + ": " + detail + (line > 0 ? " (line " + std::to_string(line) + ")" : "");
}

Result<CheckOptions> check_options(std::string_view dockerfile,
                                   const std::vector<std::pair<std::string, std::string>>& build_args) {
  for (auto arg = build_args.rbegin(); arg != build_args.rend(); ++arg) {
    if (arg->first != "BUILDKIT_DOCKERFILE_CHECK") continue;
    CheckOptions options =
        TRY_CTX(parse_check_options(arg->second), "failed to parse build-arg:BUILDKIT_DOCKERFILE_CHECK");
    return options;
  }
  CheckOptions options = TRY_CTX(parse_check_options(check_directive(dockerfile)), "failed to parse check options");
  return options;
}

Linter::Linter(CheckOptions options)
    : options_(std::move(options)), found_(std::make_shared<std::vector<LintWarning>>()) {}

Linter Linter::with_comments(const std::vector<std::string>& comments) const {
  if (!active()) return *this;
  for (const std::string& comment : comments) {
    const auto directive = parse_directive(comment);
    if (!directive || directive->name != "check") continue;
    auto more = parse_check_options(first_word(directive->value));
    Linter merged = *this;
    if (!more) return merged;
    merged.options_.skip_all |= more->skip_all;
    merged.options_.experimental_all |= more->experimental_all;
    merged.options_.skip.merge(more->skip);
    merged.options_.experimental.merge(more->experimental);
    return merged;
  }
  return *this;
}

void Linter::report(Rule rule, std::string detail, LineRange lines) const {
  if (!active()) return;
  const RuleText& text = rule_text(rule);
  if (text.experimental ? !options_.experimental_all && !options_.experimental.contains(text.name)
                        : options_.skip_all || options_.skip.contains(text.name))
    return;
  LintWarning warning;
  warning.rule = text.name;
  warning.description = text.description;
  if (!text.page.empty()) warning.url = std::string(kPages) + std::string(text.page) + "/";
  warning.detail = std::move(detail);
  warning.line = lines.first;
  warning.end_line = std::max(lines.first, lines.last);
  found_->push_back(std::move(warning));
}

std::vector<LintWarning> Linter::warnings() const { return active() ? *found_ : std::vector<LintWarning>(); }

Result<void> Linter::verdict(const std::string& file) const {
  if (!active() || !options_.error || found_->empty()) return {};
  std::string rules;
  std::set<std::string> named;
  for (const LintWarning& warning : *found_)
    if (named.insert(warning.rule).second) rules += (rules.empty() ? "" : ", ") + warning.rule;
  return Failure(Error(ErrorCode::invalid_argument, "lint violation found for rules: " + rules)
                     .with_location(file + ":" + std::to_string(found_->front().line)));
}

}  // namespace dray::builder
