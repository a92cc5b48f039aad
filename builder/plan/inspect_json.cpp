// SPDX-License-Identifier: Apache-2.0
// The documents of `dray builder ast` and `dray builder plan`, in the words of BuildKit's own tools so that the two can
// be compared.
#include <dray/builder/inspect.hpp>

#include <algorithm>

#include <nlohmann/json.hpp>

#include "dockerfile/dockerfile.hpp"
#include "dockerfile/text.hpp"
#include "lint/excerpt.hpp"
#include "lint/lint.hpp"
#include "plan/llb_json.hpp"
#include "plan/planner.hpp"
#include "plan/wording.hpp"

namespace dray::builder {

namespace {

using Json = nlohmann::json;

std::string node_text(const Node& node) {
  std::string text = to_lower(node.name);
  if (!node.flags.empty()) text += " " + go_quote_list(node.flags);
  if (node.trigger) return text + " (" + node_text(node.sub[0]) + ")";
  for (const std::string& arg : node.args) text += (text.empty() ? "" : " ") + go_quote(arg);
  return text;
}

Json instructions_json(const Ast& ast) {
  Json list = Json::array();
  for (const Node& node : ast.nodes) {
    Json json = {{"name", node.name}};
    json["line"] = Json::array({node.line, node.end_line});
    if (!node.flags.empty()) json["flags"] = node.flags;
    for (const Heredoc& heredoc : node.heredocs)
      json["heredocs"].push_back({{"name", heredoc.name},
                                  {"content", heredoc.content},
                                  {"expand", heredoc.expand},
                                  {"chomp", heredoc.chomp},
                                  {"fd", heredoc.fd}});
    list.push_back(std::move(json));
  }
  return list;
}

Json targets_json(const Dockerfile& dockerfile) {
  Json list = Json::array();
  for (const Stage& stage : dockerfile.stages) {
    Json target = {{"base", stage.from.image}};
    if (!stage.from.alias.empty()) target["name"] = stage.from.alias;
    if (!stage.from.platform.empty()) target["platform"] = stage.from.platform;
    if (!stage.from.description.empty()) target["description"] = stage.from.description;
    list.push_back(std::move(target));
  }
  list.back()["default"] = true;
  return list;
}

Json set_json(const std::vector<std::string>& names) {
  Json set = Json::object();
  for (const std::string& name : names) set[name] = Json::object();
  return set;
}

Json config_json(const image::ContainerConfig& config) {
  Json json = Json::object();
  if (!config.user.empty()) json["User"] = config.user;
  if (!config.exposed_ports.empty()) json["ExposedPorts"] = set_json(config.exposed_ports);
  if (!config.env.empty()) json["Env"] = config.env;
  if (!config.entrypoint.empty()) json["Entrypoint"] = config.entrypoint;
  if (!config.cmd.empty()) json["Cmd"] = config.cmd;
  if (!config.volumes.empty()) json["Volumes"] = set_json(config.volumes);
  if (!config.working_dir.empty()) json["WorkingDir"] = config.working_dir;
  if (!config.labels.empty()) json["Labels"] = config.labels;
  if (!config.stop_signal.empty()) json["StopSignal"] = config.stop_signal;
  if (!config.shell.empty()) json["Shell"] = config.shell;
  if (!config.on_build.empty()) json["OnBuild"] = config.on_build;
  if (config.args_escaped) json["ArgsEscaped"] = true;
  if (config.healthcheck) {
    const image::Healthcheck& check = *config.healthcheck;
    Json health = Json::object();
    if (!check.test.empty()) health["Test"] = check.test;
    const std::pair<const char*, std::int64_t> times[] = {{"Interval", check.interval_ns},
                                                          {"Timeout", check.timeout_ns},
                                                          {"StartPeriod", check.start_period_ns},
                                                          {"StartInterval", check.start_interval_ns},
                                                          {"Retries", check.retries}};
    for (const auto& [name, value] : times)
      if (value != 0) health[name] = value;
    json["Healthcheck"] = std::move(health);
  }
  return json;
}

Json history_json(const std::vector<image::History>& history) {
  Json list;
  for (const image::History& entry : history) {
    Json json = {{"created_by", entry.created_by}};
    if (entry.empty_layer) json["empty_layer"] = true;
    list.push_back(std::move(json));
  }
  return list;
}

int line_of(const std::string& location) {
  const std::size_t colon = location.rfind(':');
  return colon == std::string::npos ? 0 : std::atoi(location.c_str() + colon + 1);
}

/// BuildKit names the line in the message of an instruction it cannot read.
std::string instruction_error(const Error& error) {
  const int line = line_of(error.location());
  if (error.message() == "no build stage in current context" || line == 0) return error.message();
  return "dockerfile parse error on line " + std::to_string(line) + ": " + error.message();
}

Json lint_json(const std::vector<LintWarning>& warnings) {
  Json list = Json::array();
  for (const LintWarning& warning : warnings)
    list.push_back({{"rule", warning.rule}, {"detail", warning.detail}, {"line", warning.line}});
  return list;
}

Json error_json(int line, const std::string& message) {
  Json json = {{"message", message}};
  if (line > 0) json["line"] = line;
  return json;
}

image::ImageConfig stub_config(const image::Platform& platform) {
  image::ImageConfig config;
  config.platform = platform;
  config.config.env = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"};
  config.config.cmd = {"/bin/sh"};
  config.config.working_dir = "/";
  return config;
}

PlanOptions plan_options(const InspectRequest& request) {
  PlanOptions options;
  options.build_args = request.build_args;
  options.target = request.target;
  options.platform = request.platform;
  return options;
}

std::optional<IgnorePatterns> ignore_patterns(const InspectRequest& request) {
  if (!request.dockerignore) return std::nullopt;
  auto parsed = IgnorePatterns::parse(*request.dockerignore);
  return parsed ? std::optional(std::move(*parsed)) : std::nullopt;
}

/// The plan, unless the checks of what is built refuse it.
Result<Plan> checked_plan(const InspectRequest& request, const Dockerfile& dockerfile, const ResolveBase& resolve) {
  const CheckOptions checks = TRY(check_options(request.text, request.build_args));
  Plan plan = TRY(plan_build(dockerfile, plan_options(request), resolve));
  if (!checks.error) return plan;
  const std::optional<IgnorePatterns> ignore = ignore_patterns(request);
  PlanOptions options = plan_options(request);
  if (ignore) options.ignore = &*ignore;
  LintReport report = lint(request.text, request.file, std::move(options), resolve);
  if (report.error) return Failure(std::move(*report.error));
  return plan;
}

void plan_json(const InspectRequest& request, const Dockerfile& dockerfile, const ResolveBase& resolve, Json& json,
               std::optional<Error>& error) {
  const auto plan = checked_plan(request, dockerfile, resolve);
  if (!plan) {
    json["error"] = plan.error().message();
    error = plan.error();
    return;
  }
  bool cache_namespace = false;
  for (const auto& [name, value] : request.build_args)
    cache_namespace = cache_namespace || (name == "BUILDKIT_CACHE_MOUNT_NS" && !value.empty());
  json["config"] = config_json(plan->config.config);
  json["history"] = history_json(plan->config.history);
  json["ops"] = llb_operations(*plan, request.stub_bases, cache_namespace);
  if (!plan->config.author.empty()) json["author"] = plan->config.author;
  if (!plan->warnings.empty()) json["warnings"] = plan->warnings;
}

}  // namespace

Result<std::string> dockerfile_ast(std::string_view text, const std::string& file) {
  const Ast ast = TRY(parse_lines(text, file));
  std::string tree;
  for (const Node& node : ast.nodes) tree += "(" + node_text(node) + ")\n";
  return tree;
}

Inspection inspect_dockerfile(
    const InspectRequest& request,
    const std::function<Result<image::ImageConfig>(const Reference&, const image::Platform&)>& resolve) {
  Json json = Json::object();
  Inspection inspection;
  auto ast = parse_lines(request.text, request.file);
  json["parse_ok"] = ast.has_value();
  if (ast) {
    json["escape"] = std::string(1, ast->escape);
    json["parser_warnings"] = Json::array();
    for (const Ast::Warning& warning : ast->warnings) json["parser_warnings"].push_back(warning.text);
    json["instructions"] = instructions_json(*ast);
    const ResolveBase stub = [](const Reference&, const image::Platform& platform) {
      return Result<image::ImageConfig>(stub_config(platform));
    };
    const ResolveBase& bases = request.stub_bases ? stub : resolve;
    if (std::string syntax = syntax_argument(request.build_args); !syntax.empty()) ast->syntax = std::move(syntax);
    const auto dockerfile = read_instructions(*ast, request.file);
    if (dockerfile) {
      json["targets"] = targets_json(*dockerfile);
      plan_json(request, *dockerfile, bases, json, inspection.error);
    } else {
      inspection.error = dockerfile.error();
      json["error"] = json["targets_error"] = instruction_error(*inspection.error);
    }
    const std::optional<IgnorePatterns> ignore = ignore_patterns(request);
    PlanOptions checked = plan_options(request);
    checked.all_stages = request.target.empty();
    if (ignore) checked.ignore = &*ignore;
    const LintReport report = lint(request.text, request.file, std::move(checked), bases);
    json["lint"] = lint_json(report.warnings);
    if (report.error) json["lint_error"] = error_json(report.error_line, report.error->message());
  } else {
    inspection.error = ast.error();
    json["error"] = inspection.error->message();
  }
  // What is not UTF-8 in the Dockerfile cannot be in JSON.
  inspection.json = json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  return inspection;
}

std::string dockerfile_excerpt(std::string_view text, const Error& error, const std::string& file) {
  const int line = error_line(error, file);
  if (line == 0) return "";
  const LineRange lines = instruction_lines(text, line);
  return source_excerpt(text, file, lines.first, lines.last);
}

}  // namespace dray::builder
