// SPDX-License-Identifier: Apache-2.0
#include "lint/plan_checks.hpp"

#include <algorithm>
#include <filesystem>

#include <dray/core/reference.hpp>

#include "dockerfile/text.hpp"
#include "plan/wording.hpp"

namespace dray::builder {

namespace {

LineRange lines_of(const Stage& stage) { return {stage.line, stage.end_line}; }

std::string guess(std::string_view typed, const std::vector<std::string>& options, std::string_view sign) {
  const std::string near = nearest_exactly(typed, options);
  return near.empty() ? "" : " (did you mean " + std::string(sign) + near + "?)";
}

/// Is one of the words between "_" in the list?
bool has_word(std::string_view name, std::initializer_list<std::string_view> list) {
  const std::string lower = to_lower(name);
  for (std::size_t begin = 0; begin <= lower.size();) {
    const std::size_t end = std::min(lower.find('_', begin), lower.size());
    if (std::find(list.begin(), list.end(), std::string_view(lower).substr(begin, end - begin)) != list.end())
      return true;
    begin = end + 1;
  }
  return false;
}

/// filepath.Clean.
std::string clean(const std::string& path) {
  std::string text = std::filesystem::path(path).lexically_normal().string();
  while (text.size() > 1 && text.ends_with('/')) text.pop_back();
  return text.empty() ? "." : text;
}

}  // namespace

void check_from_variables(const VariableUse& use, const std::vector<std::string>& declared, const Stage& stage,
                          const Linter& outer) {
  if (!outer.active()) return;
  const Linter linter = outer.with_comments(stage.comments);
  for (const std::string& name : use.unset)
    if (std::find(declared.begin(), declared.end(), name) == declared.end())
      linter.report(Rule::undefined_arg_in_from,
                    "FROM argument '" + name + "' is not declared" + guess(name, declared, ""), lines_of(stage));
}

void check_from_platform(const std::string& text, const VariableUse& use, const std::string& target_platform,
                         const Stage& stage, const Linter& outer) {
  if (!outer.active()) return;
  const Linter linter = outer.with_comments(stage.comments);
  if (use.set.size() == 1 && use.unset.empty() && use.set[0] == "TARGETPLATFORM" && text == target_platform)
    linter.report(Rule::redundant_target_platform,
                  "Setting platform to predefined " + stage.from.platform +
                      " in FROM is redundant as this is the default behavior",
                  lines_of(stage));
  if (!use.set.empty() || !use.unset.empty()) return;
  const auto platform = image::Platform::parse(text);
  // A stage that is named for its platform is meant to be for that one.
  if (!platform || stage.from.alias.contains(platform->os) || stage.from.alias.contains(platform->architecture)) return;
  linter.report(Rule::from_platform_flag_const_disallowed,
                "FROM --platform flag should not use constant value " + go_quote(text), lines_of(stage));
}

void check_base_platform(const std::string& name, const image::Platform& wanted, const image::Platform& found,
                         const Stage& stage, const Linter& linter) {
  if (!linter.active() || (wanted.os == found.os && wanted.architecture == found.architecture)) return;
  linter.report(Rule::invalid_base_image_platform,
                "Base image " + name + " was pulled with platform " + go_quote(found.to_string()) + ", expected " +
                    go_quote(wanted.to_string()) + " for current build",
                lines_of(stage));
}

void check_default_base(const std::string& expanded, const Stage& stage, const Linter& linter) {
  if (Reference::parse(expanded)) return;
  linter.report(Rule::invalid_default_arg_in_from,
                "Default value for ARG " + stage.from.image + " results in empty or invalid base image name",
                lines_of(stage));
}

void UsedOnce::use(const Instruction& instruction, const Linter& linter) {
  if (last_)  // the earlier one is what is ignored
    linter.report(Rule::multiple_instructions_disallowed,
                  "Multiple " + instruction.name +
                      " instructions should not be used in the same stage because only the last one will be used",
                  *last_);
  last_ = LineRange{instruction.line, instruction.end_line};
}

void InstructionChecks::undefined_variables(const std::vector<std::string>& unset,
                                            const std::vector<KeyValue>& build_args,
                                            const std::vector<std::string>& known) const {
  for (const std::string& name : unset) {
    if (name == "BUILDKIT_SBOM_SCAN_CONTEXT" || name == "BUILDKIT_SBOM_SCAN_STAGE") continue;
    if (std::any_of(build_args.begin(), build_args.end(), [&](const KeyValue& arg) { return arg.key == name; }))
      continue;
    linter_.report(Rule::undefined_var, "Usage of undefined variable '$" + name + "'" + guess(name, known, "$"),
                   lines_);
  }
}

void InstructionChecks::legacy_form(const std::vector<KeyValue>& pairs) const {
  const std::string& name = instruction_.name;
  for (const KeyValue& pair : pairs)
    if (pair.legacy)
      linter_.report(Rule::legacy_key_value_format,
                     "\"" + name + " key=value\" should be used instead of legacy \"" + name + " key value\" format",
                     lines_);
}

void InstructionChecks::secret_name(std::string_view keyword, const std::string& key) const {
  if (!linter_.active() ||
      !has_word(key, {"apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret",
                      "token"}) ||
      has_word(key, {"public", "file", "version"}))
    return;
  linter_.report(
      Rule::secrets_used_in_arg_or_env,
      "Do not use ARG or ENV instructions for sensitive data (" + std::string(keyword) + " " + go_quote(key) + ")",
      lines_);
}

void InstructionChecks::shell_form() const {
  linter_.report(
      Rule::json_args_recommended,
      "JSON arguments recommended for " + instruction_.name + " to prevent unintended behavior related to OS signals",
      lines_);
}

void InstructionChecks::relative_workdir(const std::string& path) const {
  linter_.report(Rule::workdir_relative_path,
                 "Relative workdir " + go_quote(path) + " can have unexpected results if the base image changes",
                 lines_);
}

void InstructionChecks::ports(const std::vector<std::string>& ports) const {
  for (const std::string& port : ports) {
    const std::size_t colon = port.rfind(':');
    const std::string_view container = std::string_view(port).substr(colon == std::string::npos ? 0 : colon + 1);
    const std::size_t slash = std::min(container.find('/'), container.size());
    const std::string_view protocol = container.substr(std::min(slash + 1, container.size()));
    const std::string lower = to_lower(protocol);
    const bool known = lower.empty() || lower == "tcp" || lower == "udp" || lower == "sctp";
    if (slash == 0 || !known) return;  // an error of its own
    if (protocol != lower)
      linter_.report(Rule::expose_proto_casing,
                     "Defined protocol '" + port + "' in EXPOSE instruction should be lowercase", lines_);
    if (colon != std::string::npos && colon > 0 && port.find_first_not_of(':') < colon)
      linter_.report(Rule::expose_invalid_format,
                     "EXPOSE instruction should not define an IP address or host-port mapping, found '" + port + "'",
                     lines_);
  }
}

void InstructionChecks::copy_source(const std::string& source, bool is_add, const IgnorePatterns& ignore) const {
  // What "!" takes back cannot be told without the files: a directory may be excluded and a file in it not.
  if (!linter_.active() || ignore.has_exceptions()) return;
  const std::string path = clean(source);
  if ((path == "." || path == "/") && !ignore.excludes_everything()) return;
  // The part above an absolute path's first "/" is a name, too, for BuildKit: "*" matches it.
  if (!ignore.excluded(path) && !(path.starts_with('/') && ignore.excluded(""))) return;
  linter_.report(Rule::copy_ignored_file,
                 std::string("Attempting to ") + (is_add ? "Add" : "Copy") + " file " + go_quote(path) +
                     " that is excluded by .dockerignore",
                 lines_);
}

}  // namespace dray::builder
