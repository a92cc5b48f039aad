// SPDX-License-Identifier: Apache-2.0
// One stage: each instruction changes the config, appends a line of history and, if it changes files, adds a
// vertex. Variables are expanded with what was set before the instruction.
#include "plan/stage_plan.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "dockerfile/instruction_parser.hpp"
#include "dockerfile/parser.hpp"
#include "dockerfile/text.hpp"
#include "lint/plan_checks.hpp"
#include "plan/values.hpp"
#include "plan/wording.hpp"

namespace dray::builder {

void Environment::set(std::string_view key, std::string_view value) {
  std::erase_if(variables_, [key](const auto& variable) { return variable.first == key; });
  variables_.emplace_back(key, value);
}

std::optional<std::string> Environment::get(std::string_view key) const {
  for (const auto& [name, value] : variables_)
    if (name == key) return value;
  return std::nullopt;
}

std::vector<std::string> Environment::list() const {
  std::vector<std::string> list;
  for (const auto& [name, value] : variables_) list.push_back(name + "=" + value);
  return list;
}

std::vector<std::string> Environment::keys() const {
  std::vector<std::string> keys;
  for (const auto& [name, value] : variables_) keys.push_back(name);
  return keys;
}

void set_env(std::vector<std::string>& env, const std::string& key, const std::string& value) {
  for (std::string& variable : env) {
    if (std::string_view(variable).substr(0, variable.find('=')) != key) continue;
    variable = key + "=" + value;
    return;
  }
  env.push_back(key + "=" + value);
}

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
Failure unsupported(std::string message) { return fail(ErrorCode::unsupported, std::move(message)); }

constexpr std::size_t kMaxHistory =
    4u << 20;  // variables that grow by expansion and wide port ranges would have no end
constexpr std::string_view kProxies[] = {"http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"};

void insert_sorted(std::vector<std::string>& list, const std::string& text) {
  const auto place = std::lower_bound(list.begin(), list.end(), text);
  if (place == list.end() || *place != text) list.insert(place, text);
}

bool is_remote(std::string_view source) {
  return source.starts_with("http://") || source.starts_with("https://") || source.starts_with("git@") ||
         source.starts_with("git://") || source.starts_with("ssh://");
}

class Applier {
 public:
  Applier(StageContext& context, StageState& state)
      : context_(context), state_(state), lex_(context.dockerfile.escape) {}

  Result<void> apply(const Instruction& instruction, bool trigger) {
    instruction_ = &instruction;
    checks_.emplace(context_.options.linter.with_comments(instruction.comments), instruction);
    trigger_ = trigger;
    return std::visit([this](const auto& body) { return run(body); }, instruction.body);
  }

  std::size_t history_size() const { return history_size_; }

 private:
  Result<std::string> expand(const std::string& text) const { return expand(lex_, text); }

  Result<std::string> expand(const ShellLex& lex, const std::string& text) const {
    if (!checks_->active()) return lex.word(text, state_.environment.lookup());
    VariableUse use;
    auto word = lex.word(text, use.record(state_.environment.lookup()));
    if (!use.unset.empty()) checks_->undefined_variables(use.unset, state_.build_args, state_.environment.keys());
    return word;
  }

  Result<std::vector<KeyValue>> expand(const std::vector<KeyValue>& pairs) const {
    std::vector<KeyValue> expanded;
    for (const KeyValue& pair : pairs) {
      KeyValue result;
      result.key = TRY(expand(pair.key));
      result.value = TRY(expand(pair.value));
      expanded.push_back(std::move(result));
    }
    return expanded;
  }

  image::ContainerConfig& config() { return state_.image.config; }

  void history(std::string created_by, bool empty_layer = true) {
    history_size_ += created_by.size();
    image::History entry;
    entry.created = context_.options.created;
    entry.created_by = std::move(created_by);
    entry.comment = "buildkit.dockerfile.v0";
    entry.empty_layer = empty_layer;
    state_.image.history.push_back(std::move(entry));
  }

  std::string title(const ShellLex& lex, const std::string& text) {
    std::string shown = lex.word(text, state_.environment.lookup()).value_or(text);
    const std::size_t end = std::min(shown.find(' '), shown.size());
    return step_title(context_, to_upper(std::string_view(shown).substr(0, end)) + shown.substr(end), trigger_);
  }

  void layer(Op op, std::vector<int> inputs, std::string title, std::string created_by) {
    Vertex vertex;
    vertex.op = std::move(op);
    vertex.inputs = std::move(inputs);
    vertex.title = std::move(title);
    vertex.location = {context_.dockerfile.file, instruction_->line};
    vertex.history_created_by = created_by;
    state_.vertex = context_.builder.add(std::move(vertex));
    history(std::move(created_by), false);
  }

  std::vector<std::string> with_shell(const std::vector<std::string>& text) {
    std::vector<std::string> args = config().shell;
    if (args.empty()) args = {"/bin/sh", "-c"};
    args.push_back(join(text, " "));
    return args;
  }

  std::string working_directory() { return join_path("/", config().working_dir); }

  Result<void> run(const ArgInstruction& arg) {
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
      } else if (const auto global = context_.global_args.get(pair.key)) {
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

  void note_argument(const KeyValue& pair, bool from_global) {
    ArgumentUse& use = *context_.options.arguments;
    use.used.insert(pair.key);
    if (from_global) return;
    std::string description;
    for (const std::string& comment : instruction_->comments)
      if (description.empty() && comment.starts_with(pair.key + " ")) description = comment.substr(pair.key.size() + 1);
    use.defined[pair.key] = {pair.key, std::move(description), pair.value, instruction_->line};
  }

  Result<void> run(const EnvInstruction& env) {
    const std::vector<KeyValue> pairs = TRY(expand(env.variables));
    std::string text = "ENV";
    checks_->legacy_form(env.variables);
    for (const KeyValue& pair : pairs) {
      checks_->secret_name("ENV", pair.key);
      if (pair.key.empty()) return invalid("ENV names can not be blank");
      text += " " + pair.key + "=" + pair.value;
      state_.environment.set(pair.key, pair.value);
      set_env(config().env, pair.key, pair.value);
    }
    history(std::move(text));
    return {};
  }

  Result<void> run(const LabelInstruction& label) {
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

  Result<void> run(const MaintainerInstruction& maintainer) {
    state_.image.author = maintainer.name;
    history("MAINTAINER " + maintainer.name);
    return {};
  }

  Result<void> run(const RunInstruction& run) {
    if (!run.mounts.empty()) return unsupported("RUN --mount is not supported yet");
    if (run.security == "insecure") return unsupported("RUN --security=insecure is not supported");
    if (!run.devices.empty()) return unsupported("RUN --device is not supported");
    std::string shown = instruction_->original;
    std::vector<std::string> args = run.command.args;
    std::vector<std::string> script;  // runs instead of args
    if (!run.heredocs.empty()) {
      if (args.size() != 1 || !run.command.shell_form)
        return invalid("a heredoc cannot be given to the exec form of RUN");
      const Heredoc& first = run.heredocs[0];
      const auto alone = parse_heredoc(args[0]);
      if (alone && *alone) {
        const std::string content = first.chomp ? chomp_heredoc(first.content) : first.content;
        if (content.starts_with("#!")) {
          args = {"/dev/pipes/" + first.name};
          script = shebang_command(content);
        } else {
          args = {content};
        }
        shown += " (" + summarize_heredoc(first.content) + ")";
      } else {  // the shell reads it
        for (const Heredoc& heredoc : run.heredocs) args[0] += "\n" + heredoc.content + heredoc.name;
      }
    }
    if (run.command.shell_form) args = with_shell(args);
    if (args.empty()) return invalid("RUN has no command");

    RunOp op;
    op.args = script.empty() ? args : script;
    for (const std::string& arg : op.args)
      if (arg.contains('\0')) return invalid("RUN has a NUL byte in an argument");
    op.env = state_.environment.list();
    op.proxy_env = proxies();
    op.working_dir = working_directory();
    op.user = config().user;
    op.network = run.network.empty() || run.network == "default" ? context_.options.network : run.network;
    ShellLex lex = lex_;
    lex.raw_quotes = lex.skip_unset = true;
    std::string shown_title = title(lex, shown);
    layer(std::move(op), {state_.vertex}, std::move(shown_title),
          "RUN " + arguments_text() + join(args, " ") + " # buildkit");
    return {};
  }

  /// A heredoc with an interpreter of its own: the kernel's rule for "#!" (one argument at most), the text on
  /// a descriptor.
  static std::vector<std::string> shebang_command(const std::string& content) {
    const std::string line(trim(std::string_view(content).substr(2, content.find('\n') - 2)));
    std::vector<std::string> interpreter = split_whitespace(line, 2);
    std::string end = "DRAY_HEREDOC";
    while (content.contains(end)) end += "_";
    const std::string text = content.ends_with('\n') ? content : content + "\n";
    std::vector<std::string> command = {"/bin/sh", "-c", "exec \"$@\" /dev/fd/9 9<<'" + end + "'\n" + text + end + "\n",
                                        "sh"};
    command.insert(command.end(), interpreter.begin(), interpreter.end());
    return command;
  }

  /// "|2 A=x B=y ", the build arguments in scope.
  std::string arguments_text() const {
    std::vector<std::pair<std::string, std::string>> arguments;
    for (const KeyValue& arg : state_.build_args) {
      const std::string value = state_.environment.get(arg.key).value_or(arg.value);
      const auto found =
          std::find_if(arguments.begin(), arguments.end(), [&](const auto& entry) { return entry.first == arg.key; });
      if (found != arguments.end())
        found->second = value;
      else
        arguments.emplace_back(arg.key, value);
    }
    if (arguments.empty()) return "";
    std::string text = "|" + std::to_string(arguments.size()) + " ";
    for (const auto& [key, value] : arguments) text += key + "=" + value + " ";
    return text;
  }

  std::vector<std::string> proxies() const {
    std::vector<std::string> list;
    for (const std::string_view name : kProxies) {
      const auto& given = context_.options.build_args;
      const auto found =
          std::find_if(given.rbegin(), given.rend(), [&](const auto& entry) { return to_lower(entry.first) == name; });
      if (found == given.rend()) continue;
      for (const std::string& key : {to_upper(name), std::string(name)})
        if (!state_.environment.get(key)) list.push_back(key + "=" + found->second);
    }
    return list;
  }

  Result<void> run(const CopyInstruction& copy) {
    const std::string name = copy.is_add ? "ADD" : "COPY";
    if (copy.parents) return unsupported("COPY --parents is not supported yet");
    if (!copy.checksum.empty() || copy.keep_git_dir)
      return unsupported("ADD of remote sources (--checksum, --keep-git-dir) is not supported yet");
    CopyOp op;
    op.is_add = copy.is_add && copy.unpack;
    op.chown = TRY(expand(copy.chown));
    op.chmod = TRY(expand(copy.chmod));
    TRY(parse_mode(op.chmod));
    op.exclude = copy.exclude;
    std::string text = name;
    if (!op.chown.empty()) text += " --chown=" + op.chown;
    if (!op.chmod.empty()) text += " --chmod=" + op.chmod;

    for (const std::string& source : copy.sources) {
      const std::string path = TRY(expand(source));
      text += " " + path;
      if (is_remote(path) && !copy.is_add) return invalid("source can't be a URL for COPY: \"" + path + "\"");
      if (is_remote(path))
        return unsupported("ADD \"" + path + "\": remote sources are not supported yet, use curl in RUN");
      if (copy.from.empty() && context_.options.ignore != nullptr)
        checks_->copy_source(path, copy.is_add, *context_.options.ignore);
      op.paths.push_back(clean_path(path));
    }
    ShellLex content_lex('\\');
    content_lex.skip_quotes = true;
    for (const Heredoc& heredoc : copy.heredocs) {
      text += " <<" + heredoc.name;
      std::string content = heredoc.content;
      if (heredoc.expand) content = TRY(expand(content_lex, content));
      const std::string file_name = clean_path(heredoc.name).substr(1);
      if (file_name.empty()) return invalid("\"" + heredoc.name + "\" is no name for a file");
      op.files.push_back({file_name, std::move(content)});
    }
    const std::string destination = TRY(expand(copy.destination));
    text += " " + destination;
    op.destination = join_path(working_directory(), destination);
    const bool directory =
        destination.empty() || destination == "." || destination.ends_with('/') || destination.ends_with("/.");
    if (directory && op.destination != "/") op.destination += "/";

    std::vector<int> inputs = {state_.vertex};
    if (!copy.from.empty())
      inputs.push_back(TRY(context_.builder.copy_source(copy.from, context_.index)));
    else if (!op.paths.empty())
      inputs.push_back(context_.builder.local_source("context"));
    std::string shown_title = title(lex_, instruction_->original);
    layer(std::move(op), std::move(inputs), std::move(shown_title), text + " # buildkit");
    return {};
  }

  Result<void> run(const WorkdirInstruction& workdir) {
    const std::string path = TRY(expand(workdir.path));
    if (!std::exchange(state_.workdir_set, true) && !path.starts_with('/')) checks_->relative_workdir(path);
    // An absolute path stays in the config as it was written.
    config().working_dir = path.starts_with('/') ? path : join_path(working_directory(), path);
    const std::string text = "WORKDIR " + config().working_dir;
    const std::string directory = working_directory();
    if (directory == "/") {
      history(text);
      return {};
    }
    layer(WorkdirOp{directory, config().user}, {state_.vertex}, title(lex_, instruction_->original), text);
    return {};
  }

  Result<void> run(const UserInstruction& user) {
    config().user = TRY(expand(user.user));
    history("USER " + config().user);
    return {};
  }

  Result<void> run(const ExposeInstruction& expose) {
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

  Result<void> run(const CmdInstruction& cmd) {
    cmd_set_ = true;
    cmds_.use(*instruction_, checks_->linter());
    if (cmd.command.shell_form && config().shell.empty()) checks_->shell_form();
    config().cmd = cmd.command.shell_form ? with_shell(cmd.command.args) : cmd.command.args;
    config().args_escaped = true;
    history("CMD " + go_quote_list(config().cmd));
    return {};
  }

  Result<void> run(const EntrypointInstruction& entrypoint) {
    entrypoints_.use(*instruction_, checks_->linter());
    if (entrypoint.command.shell_form && config().shell.empty()) checks_->shell_form();
    config().entrypoint = entrypoint.command.shell_form ? with_shell(entrypoint.command.args) : entrypoint.command.args;
    if (!cmd_set_) config().cmd.clear();  // the base's CMD were arguments of another program
    history("ENTRYPOINT " + go_quote_list(config().entrypoint));
    return {};
  }

  Result<void> run(const VolumeInstruction& volume) {
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

  Result<void> run(const ShellInstruction& shell) {
    config().shell = shell.shell;
    history("SHELL " + go_list(shell.shell));
    return {};
  }

  Result<void> run(const StopsignalInstruction& stopsignal) {
    const std::string signal = TRY(expand(stopsignal.signal));
    TRY(check_signal(signal));
    config().stop_signal = signal;
    history("STOPSIGNAL " + signal);
    return {};
  }

  Result<void> run(const HealthcheckInstruction& health) {
    healthchecks_.use(*instruction_, checks_->linter());
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

  Result<void> run(const OnbuildInstruction& onbuild) {
    config().on_build.push_back(onbuild.expression);
    state_.triggers.push_back(onbuild.expression);
    return {};
  }

  StageContext& context_;
  StageState& state_;
  ShellLex lex_;
  const Instruction* instruction_ = nullptr;
  std::optional<InstructionChecks> checks_;
  UsedOnce cmds_, entrypoints_, healthchecks_;
  bool trigger_ = false;
  bool cmd_set_ = false;
  std::size_t history_size_ = 0;
};

}  // namespace

Result<void> apply_instructions(StageContext& context, StageState& state, const std::vector<Instruction>& triggers,
                                const std::vector<Instruction>& instructions) {
  Applier applier(context, state);
  const auto apply = [&](const Instruction& instruction, bool trigger) -> Result<void> {
    auto result = applier.apply(instruction, trigger);
    if (result && applier.history_size() > kMaxHistory)
      result = invalid("the image's history would be larger than 4 MiB");
    if (result) return {};
    const SourceLocation location{context.dockerfile.file, instruction.line};
    return Failure(std::move(result).error().with_location(location.to_string()));
  };
  for (const Instruction& instruction : triggers) TRY(apply(instruction, true));
  for (const Instruction& instruction : instructions) TRY(apply(instruction, false));
  return {};
}

}  // namespace dray::builder
