// SPDX-License-Identifier: Apache-2.0
// The instructions that only change the image's config. RUN is in run_plan.cpp, COPY and ADD in copy_plan.cpp.
#include "plan/stage_builder.hpp"

#include <algorithm>
#include <utility>

#include "dockerfile/text.hpp"
#include "plan/values.hpp"
#include "plan/wording.hpp"

namespace dray::builder {

std::string step_title(StageContext& context, const std::string& text, bool trigger) {
  if (context.steps == 0) return text;
  std::string number = std::to_string(++context.step);
  const std::string total = std::to_string(context.steps);
  if (number.size() < total.size()) number.insert(0, total.size() - number.size(), ' ');
  return "[" + (context.name.empty() ? "" : context.name + " ") + number + "/" + total + "] " +
         (trigger ? "ONBUILD " : "") + text;
}

namespace {

Failure invalid(std::string message) { return fail(ErrorCode::invalid_argument, std::move(message)); }

// Variables that grow by expansion, and wide port ranges, would have no end.
constexpr std::size_t kMaxHistory = 4u << 20;

void insert_sorted(std::vector<std::string>& list, const std::string& text) {
  const auto place = std::lower_bound(list.begin(), list.end(), text);
  if (place == list.end() || *place != text) list.insert(place, text);
}

}  // namespace

StageBuilder::StageBuilder(StageContext& context, StageState& state)
    : context_(context), state_(state), lex_(context.dockerfile.escape) {}

Result<void> StageBuilder::apply(const StageCommand& command) {
  command_ = &command;
  checks_.emplace(context_.options.linter.with_comments(command.instruction->comments), *command.instruction);
  auto result = std::visit([this](const auto& body) { return run(body); }, command.instruction->body);
  if (result && history_size_ > kMaxHistory) result = invalid("the image's history would be larger than 4 MiB");
  if (result) return {};
  return Failure(std::move(result).error().with_location(context_.graph.location(command.instruction->line)));
}

Result<std::string> StageBuilder::expand(const ShellLex& lex, const std::string& text) const {
  if (!checks_->active()) return lex.word(text, state_.environment.lookup());
  VariableUse use;
  auto word = lex.word(text, use.record(state_.environment.lookup()));
  if (!use.unset.empty()) checks_->undefined_variables(use.unset, state_.build_args, state_.environment.keys());
  return word;
}

Result<std::vector<KeyValue>> StageBuilder::expand(const std::vector<KeyValue>& pairs) const {
  std::vector<KeyValue> expanded;
  for (const KeyValue& pair : pairs) {
    KeyValue result;
    result.key = TRY(expand(pair.key));
    result.value = TRY(expand(pair.value));
    expanded.push_back(std::move(result));
  }
  return expanded;
}

void StageBuilder::history(std::string created_by, bool empty_layer) {
  history_size_ += created_by.size();
  image::History entry;
  entry.created = context_.options.created;
  entry.created_by = std::move(created_by);
  entry.comment = "buildkit.dockerfile.v0";
  entry.empty_layer = empty_layer;
  state_.image.history.push_back(std::move(entry));
}

std::string StageBuilder::title(const ShellLex& lex, const std::string& text,
                                const std::map<std::string, std::string>& masked) {
  const Lookup lookup = [&](std::string_view name) {
    const auto hidden = masked.find(std::string(name));
    return hidden != masked.end() ? std::optional<std::string>(hidden->second) : state_.environment.get(name);
  };
  std::string shown = lex.word(text, lookup).value_or(text);
  const std::size_t end = std::min(shown.find(' '), shown.size());
  return step_title(context_, to_upper(std::string_view(shown).substr(0, end)) + shown.substr(end), command_->trigger);
}

Result<void> StageBuilder::layer(Op op, std::vector<int> inputs, std::string title, std::string created_by) {
  Vertex vertex;
  vertex.op = std::move(op);
  vertex.inputs = std::move(inputs);
  vertex.stage = context_.name;
  vertex.title = std::move(title);
  vertex.location = {context_.dockerfile.file, command_->instruction->line};
  vertex.history_created_by = created_by;
  state_.vertex = TRY(context_.builder.add(std::move(vertex)));
  history(std::move(created_by), false);
  return {};
}

std::vector<std::string> StageBuilder::with_shell(const std::vector<std::string>& text) {
  std::vector<std::string> args = config().shell;
  if (args.empty()) args = {"/bin/sh", "-c"};
  args.push_back(join(text, " "));
  return args;
}

std::string StageBuilder::working_directory() { return join_path("/", config().working_dir); }

Result<void> StageBuilder::run(const ArgInstruction& arg) {
  std::vector<std::string> written;
  for (KeyValue pair : arg.args) {
    checks_->secret_name("ARG", pair.key);
    bool from_global = false;
    const auto& given = context_.options.build_args;
    const auto found =
        std::find_if(given.rbegin(), given.rend(), [&](const auto& entry) { return entry.first == pair.key; });
    if (found != given.rend()) {
      pair.value = found->second;
      pair.has_value = true;
    } else if (pair.has_value) {
      pair.value = TRY(expand(pair.value));
    } else if (const auto global = context_.graph.global_args.get(pair.key)) {
      from_global = true;
      pair.value = *global;
      pair.has_value = true;
    }
    if (context_.options.arguments != nullptr) note_argument(pair, from_global);
    const bool for_scanners = pair.key == "BUILDKIT_SBOM_SCAN_STAGE" || pair.key == "BUILDKIT_SBOM_SCAN_CONTEXT";
    if (pair.has_value && !for_scanners) state_.environment.set(pair.key, pair.value);
    written.push_back(pair.has_value ? pair.key + "=" + pair.value : pair.key);
    state_.build_args.push_back(std::move(pair));
  }
  history("ARG " + join(written, " "));
  return {};
}

void StageBuilder::note_argument(const KeyValue& pair, bool from_global) {
  ArgumentUse& use = *context_.options.arguments;
  use.used.insert(pair.key);
  if (from_global) return;
  std::string description;
  for (const std::string& comment : command_->instruction->comments)
    if (description.empty() && comment.starts_with(pair.key + " ")) description = comment.substr(pair.key.size() + 1);
  use.defined[pair.key] = {pair.key, std::move(description), pair.value, command_->instruction->line};
}

Result<void> StageBuilder::run(const EnvInstruction& env) {
  const std::vector<KeyValue> pairs = TRY(expand(env.variables));
  std::string text = "ENV";
  checks_->legacy_form(env.variables);
  for (const KeyValue& pair : pairs) {
    checks_->secret_name("ENV", pair.key);
    text += " " + pair.key + "=" + pair.value;
    state_.environment.set(pair.key, pair.value);
    state_.config_env.set(pair.key, pair.value);
  }
  history(std::move(text));
  return {};
}

Result<void> StageBuilder::run(const LabelInstruction& label) {
  const std::vector<KeyValue> pairs = TRY(expand(label.labels));
  std::string text = "LABEL";
  checks_->legacy_form(label.labels);
  for (const KeyValue& pair : pairs) {
    config().labels[pair.key] = pair.value;
    text += " " + pair.key + "=" + pair.value;
  }
  history(std::move(text));
  return {};
}

Result<void> StageBuilder::run(const MaintainerInstruction& maintainer) {
  state_.image.author = maintainer.name;
  history("MAINTAINER " + maintainer.name);
  return {};
}

Result<void> StageBuilder::run(const WorkdirInstruction& workdir) {
  const std::string path = TRY(expand(workdir.path));
  if (!std::exchange(state_.workdir_set, true) && !path.starts_with('/')) checks_->relative_workdir(path);
  // An absolute path stays in the config as it was written, also when an empty one repeats it.
  if (path.starts_with('/'))
    config().working_dir = path;
  else if (!path.empty() || !config().working_dir.starts_with('/'))
    config().working_dir = join_path(working_directory(), path);
  const std::string text = "WORKDIR " + config().working_dir;
  const std::string directory = working_directory();
  if (config().working_dir == "/") {
    history(text);
    return {};
  }
  std::string owner = config().user;
  if (!workdir.chown.empty()) owner = TRY(expand(workdir.chown));
  return layer(WorkdirOp{directory, std::move(owner)}, {state_.vertex}, title(lex_, command_->instruction->original),
               text);
}

Result<void> StageBuilder::run(const UserInstruction& user) {
  config().user = TRY(expand(user.user));
  history("USER " + config().user);
  return {};
}

Result<void> StageBuilder::run(const ExposeInstruction& expose) {
  std::vector<std::string> words;
  for (const std::string& port : expose.ports) {
    Expansion expansion = TRY(lex_.expand(port, state_.environment.lookup()));
    words.insert(words.end(), expansion.words.begin(), expansion.words.end());
  }
  checks_->ports(words);
  const std::vector<std::string> ports = TRY(parse_ports(words));
  for (const std::string& port : ports) insert_sorted(config().exposed_ports, port);
  history("EXPOSE " + go_list(ports));
  return {};
}

Result<void> StageBuilder::run(const CmdInstruction& cmd) {
  cmd_set_ = true;
  cmds_.use(*command_->instruction, checks_->linter());
  if (cmd.command.shell_form && config().shell.empty()) checks_->shell_form();
  config().cmd = cmd.command.shell_form ? with_shell(cmd.command.args) : cmd.command.args;
  config().args_escaped = true;
  history("CMD " + go_quote_list(config().cmd));
  return {};
}

Result<void> StageBuilder::run(const EntrypointInstruction& entrypoint) {
  entrypoints_.use(*command_->instruction, checks_->linter());
  if (entrypoint.command.shell_form && config().shell.empty()) checks_->shell_form();
  config().entrypoint = entrypoint.command.shell_form ? with_shell(entrypoint.command.args) : entrypoint.command.args;
  if (!cmd_set_) config().cmd.clear();  // the base's CMD were arguments of another program
  history("ENTRYPOINT " + go_quote_list(config().entrypoint));
  return {};
}

Result<void> StageBuilder::run(const VolumeInstruction& volume) {
  std::vector<std::string> paths;
  for (const std::string& path : volume.paths) {
    std::string expanded = TRY(expand(path));
    if (expanded.empty()) return invalid("VOLUME specified can not be an empty string");
    paths.push_back(std::move(expanded));
  }
  for (const std::string& path : paths) insert_sorted(config().volumes, path);
  history("VOLUME " + go_list(paths));
  return {};
}

Result<void> StageBuilder::run(const ShellInstruction& shell) {
  config().shell = shell.shell;
  history("SHELL " + go_list(shell.shell));
  return {};
}

Result<void> StageBuilder::run(const StopsignalInstruction& stopsignal) {
  const std::string signal = TRY(expand(stopsignal.signal));
  TRY(check_signal(signal));
  config().stop_signal = signal;
  history("STOPSIGNAL " + signal);
  return {};
}

Result<void> StageBuilder::run(const HealthcheckInstruction& health) {
  healthchecks_.use(*command_->instruction, checks_->linter());
  image::Healthcheck check;
  check.test = health.test;
  check.interval_ns = health.interval_ns;
  check.timeout_ns = health.timeout_ns;
  check.start_period_ns = health.start_period_ns;
  check.start_interval_ns = health.start_interval_ns;
  check.retries = health.retries;
  config().healthcheck = std::move(check);
  history("HEALTHCHECK " + health_text(health));
  return {};
}

Result<void> StageBuilder::run(const OnbuildInstruction& onbuild) {
  config().on_build.push_back(onbuild.expression);
  state_.triggers.push_back(onbuild.expression);
  return {};
}

}  // namespace dray::builder
