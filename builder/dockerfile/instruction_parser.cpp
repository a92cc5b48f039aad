// SPDX-License-Identifier: Apache-2.0
// From nodes to typed instructions: which flags and how many arguments each takes. Wording of errors follows
// BuildKit's.
#include "dockerfile/instruction_parser.hpp"

#include <algorithm>
#include <charconv>

#include "dockerfile/flags.hpp"
#include "dockerfile/text.hpp"
#include "dockerfile/words.hpp"

namespace dray::builder {

namespace {

Failure invalid(std::string message) { return fail(ErrorCode::invalid_argument, std::move(message)); }

using Body = Result<InstructionBody>;

Result<void> no_flags(const Node& node) {
  Flags flags;
  TRY(flags.parse(node.flags));
  return {};
}

Result<std::string> only_argument(const Node& node) {
  TRY(no_flags(node));
  if (node.args.size() != 1) return invalid(to_upper(node.name) + " requires exactly one argument");
  return node.args[0];
}

Result<void> some_arguments(const Node& node) {
  TRY(no_flags(node));
  if (node.args.empty()) return invalid(to_upper(node.name) + " requires at least one argument");
  return {};
}

CommandLine command_line(const std::vector<std::string>& args, bool json) {
  CommandLine command;
  command.shell_form = !json;
  command.args = args;
  return command;
}

Result<std::vector<KeyValue>> key_values(const Node& node) {
  TRY(some_arguments(node));
  std::vector<KeyValue> pairs;
  for (std::size_t i = 0; i + 2 < node.args.size(); i += 3) {
    if (node.args[i].empty()) return invalid(to_upper(node.name) + " names can not be blank");
    pairs.push_back({node.args[i], node.args[i + 1], true, node.args[i + 2].empty()});
  }
  return pairs;
}

Body parse_arg(const Node& node) {
  TRY(some_arguments(node));
  ArgInstruction arg;
  for (const std::string& word : node.args) {
    const std::size_t equals = word.find('=');
    if (equals == 0) return invalid("ARG names can not be blank");
    KeyValue pair;
    pair.key = word.substr(0, equals);
    pair.has_value = equals != std::string::npos;
    if (pair.has_value) pair.value = word.substr(equals + 1);
    arg.args.push_back(std::move(pair));
  }
  return arg;
}

Body parse_run(const Node& node) {
  Flags flags;
  flags.list("mount").text("network").text("security").list("device");
  TRY(flags.parse(node.flags));
  RunInstruction run;
  run.command = command_line(node.args, node.json);
  run.heredocs = node.heredocs;
  run.mounts = flags.values("mount");
  for (const std::string& mount : run.mounts) run.mount_sources.push_back(TRY(mount_source(mount)));
  run.network = flags.value("network");
  if (!run.network.empty() && run.network != "default" && run.network != "none" && run.network != "host")
    return invalid("invalid network mode \"" + run.network + "\"" +
                   did_you_mean(run.network, {"default", "none", "host"}));
  run.security = flags.value("security");
  if (!run.security.empty() && run.security != "sandbox" && run.security != "insecure")
    return invalid("security \"" + run.security + "\" is not valid" +
                   did_you_mean(run.security, {"sandbox", "insecure"}));
  for (const std::string& device : flags.values("device")) run.devices.push_back(TRY(parse_device(device)));
  return run;
}

Body parse_copy(const Node& node, bool is_add, bool extended) {
  const std::string name = is_add ? "ADD" : "COPY";
  if (node.args.size() < 2)
    return invalid(name +
                   " requires at least two arguments, but only one was provided. Destination could not be determined");
  Flags flags;
  flags.text("chown").text("chmod").boolean("link").list("exclude");
  if (is_add)
    flags.boolean("keep-git-dir").text("checksum").boolean("unpack");
  else
    flags.text("from").boolean("parents");
  if (extended && !is_add) flags.boolean("if-exists");
  TRY(flags.parse(node.flags));
  CopyInstruction copy;
  copy.is_add = is_add;
  copy.from = flags.value("from");
  copy.chown = flags.value("chown");
  copy.chmod = flags.value("chmod");
  copy.exclude = flags.values("exclude");
  copy.link = flags.is_true("link");
  copy.parents = flags.is_true("parents");
  copy.if_exists = flags.is_true("if-exists");
  if (flags.given("unpack")) copy.unpack = flags.is_true("unpack");
  if (flags.given("keep-git-dir")) copy.keep_git_dir = flags.is_true("keep-git-dir");
  copy.checksum = flags.value("checksum");
  copy.destination = node.args.back();
  if (const auto heredoc = parse_heredoc(copy.destination); heredoc && *heredoc)
    return invalid(name + " cannot accept a heredoc as a destination");
  for (std::size_t i = 0; i + 1 < node.args.size(); ++i) {
    const auto heredoc = parse_heredoc(node.args[i]);
    if (!heredoc || !*heredoc) {
      copy.sources.push_back(node.args[i]);
      continue;
    }
    Heredoc found = **heredoc;
    for (const Heredoc& body : node.heredocs)  // the last of a name wins
      if (body.name == found.name) found.content = body.content;
    if (found.chomp) found.content = chomp_heredoc(found.content);
    copy.heredocs.push_back(std::move(found));
  }
  return copy;
}

Result<long long> interval(const Flags& flags, const std::string& name) {
  const std::string text = flags.value(name);
  if (text.empty()) return 0;
  const long long duration = TRY(parse_duration(text));
  if (duration != 0 && duration < 1'000'000) return invalid("interval \"" + name + "\" cannot be less than 1ms");
  return duration;
}

Body parse_healthcheck(const Node& node) {
  if (node.args.empty()) return invalid("HEALTHCHECK requires at least one argument");
  HealthcheckInstruction health;
  const std::string type = to_upper(node.args[0]);
  const std::vector<std::string> rest(node.args.begin() + 1, node.args.end());
  if (type == "NONE") {
    if (!rest.empty()) return invalid("HEALTHCHECK NONE takes no arguments");
    health.test = {"NONE"};
    return health;
  }
  Flags flags;
  flags.text("interval").text("timeout").text("start-period").text("start-interval").text("retries");
  TRY(flags.parse(node.flags));
  if (type != "CMD") return invalid("Unknown type \"" + type + "\" in HEALTHCHECK (try CMD)");
  if (rest.empty()) return invalid("Missing command after HEALTHCHECK CMD");
  health.test = {node.json ? "CMD" : "CMD-SHELL"};
  health.test.insert(health.test.end(), rest.begin(), rest.end());
  health.interval_ns = TRY(interval(flags, "interval"));
  health.timeout_ns = TRY(interval(flags, "timeout"));
  health.start_period_ns = TRY(interval(flags, "start-period"));
  health.start_interval_ns = TRY(interval(flags, "start-interval"));
  const std::string retries = flags.value("retries");
  if (!retries.empty()) {
    const auto [end, error] = std::from_chars(retries.data(), retries.data() + retries.size(), health.retries);
    if (error != std::errc() || end != retries.data() + retries.size() || health.retries < 0)
      return invalid("invalid --retries \"" + retries + "\": it must be a number that is not negative");
  }
  return health;
}

Body parse_onbuild(const Node& node) {
  TRY(some_arguments(node));
  const std::string inner = to_upper(trim(node.args[0]));
  if (inner == "ONBUILD") return invalid("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
  if (inner == "MAINTAINER" || inner == "FROM") return invalid(inner + " isn't allowed as an ONBUILD trigger");
  OnbuildInstruction onbuild;
  onbuild.expression = trim_left(trim_left(node.original).substr(7));
  for (const Heredoc& heredoc : node.heredocs) onbuild.expression += "\n" + heredoc.content + heredoc.name;
  return onbuild;
}

Body parse_volume(const Node& node) {
  TRY(some_arguments(node));
  VolumeInstruction volume;
  for (const std::string& path : node.args) {
    if (trim(path).empty()) return invalid("VOLUME specified can not be an empty string");
    volume.paths.emplace_back(trim(path));
  }
  return volume;
}

Body parse_shell(const Node& node) {
  TRY(some_arguments(node));
  if (!node.json) return invalid("SHELL requires the arguments to be in JSON form");
  ShellInstruction shell;
  shell.shell = node.args;
  return shell;
}

Body parse_workdir(const Node& node, bool extended) {
  if (node.args.size() != 1) return invalid("WORKDIR requires exactly one argument");
  Flags flags;
  if (extended) flags.text("chown");
  TRY(flags.parse(node.flags));
  WorkdirInstruction workdir;
  workdir.path = node.args[0];
  workdir.chown = flags.value("chown");
  return workdir;
}

Body parse_body(const Node& node, bool extended) {
  const std::string name = to_lower(node.name);
  if (name == "run") return parse_run(node);
  if (name == "copy") return parse_copy(node, false, extended);
  if (name == "add") return parse_copy(node, true, extended);
  if (name == "arg") return parse_arg(node);
  if (name == "healthcheck") return parse_healthcheck(node);
  if (name == "onbuild") return parse_onbuild(node);
  if (name == "volume") return parse_volume(node);
  if (name == "shell") return parse_shell(node);
  if (name == "env") {
    EnvInstruction env;
    env.variables = TRY(key_values(node));
    return env;
  }
  if (name == "label") {
    LabelInstruction label;
    label.labels = TRY(key_values(node));
    return label;
  }
  if (name == "workdir") return parse_workdir(node, extended);
  if (name == "user") {
    UserInstruction user;
    user.user = TRY(only_argument(node));
    return user;
  }
  if (name == "stopsignal") {
    StopsignalInstruction stopsignal;
    stopsignal.signal = TRY(only_argument(node));
    return stopsignal;
  }
  if (name == "maintainer") {
    MaintainerInstruction maintainer;
    maintainer.name = TRY(only_argument(node));
    return maintainer;
  }
  if (name == "expose") {
    TRY(some_arguments(node));
    ExposeInstruction expose;
    expose.ports = node.args;
    std::sort(expose.ports.begin(), expose.ports.end());
    return expose;
  }
  if (name == "cmd" || name == "entrypoint") {
    TRY(no_flags(node));
    CommandLine command = command_line(node.args, node.json);
    if (name == "cmd") return CmdInstruction{std::move(command)};
    return EntrypointInstruction{std::move(command)};
  }
  static const std::vector<std::string> kNames = {"ARG",     "ADD",   "CMD",   "COPY",   "ENTRYPOINT",  "ENV",
                                                  "EXPOSE",  "FROM",  "LABEL", "RUN",    "HEALTHCHECK", "MAINTAINER",
                                                  "ONBUILD", "SHELL", "USER",  "VOLUME", "WORKDIR",     "STOPSIGNAL"};
  // A file that is no Dockerfile may be one word of megabytes.
  const std::string shown = node.name.size() > 100 ? node.name.substr(0, 100) + "…" : node.name;
  return invalid("unknown instruction: " + shown + did_you_mean(shown, kNames));
}

Result<FromInstruction> parse_from(const Node& node) {
  FromInstruction from;
  if (node.args.size() == 3 && to_lower(node.args[1]) == "as") {
    from.alias = to_lower(node.args[2]);
    const bool valid = from.alias[0] >= 'a' && from.alias[0] <= 'z' &&
                       from.alias.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-_.") == std::string::npos;
    if (!valid)
      return invalid("invalid name for build stage: \"" + node.args[2] +
                     "\", name can't start with a number or contain symbols");
  } else if (node.args.size() != 1) {
    return invalid("FROM requires either one or three arguments");
  }
  Flags flags;
  flags.text("platform");
  TRY(flags.parse(node.flags));
  from.image = node.args[0];
  from.platform = flags.value("platform");
  for (const std::string& comment : node.comments) {
    if (from.alias.empty() || !comment.starts_with(from.alias + " ")) continue;
    from.description = comment.substr(from.alias.size() + 1);
    break;
  }
  return from;
}

}  // namespace

Result<ParsedNode> parse_instruction(const Node& node, bool extended) {
  if (to_lower(node.name) == "from") {
    FromInstruction from = TRY(parse_from(node));
    return ParsedNode(std::move(from));
  }
  Instruction instruction;
  instruction.body = TRY(parse_body(node, extended));
  instruction.name = node.name;
  instruction.comments = node.comments;
  instruction.line = node.line;
  instruction.end_line = node.end_line;
  instruction.original = trim(node.original);
  return ParsedNode(std::move(instruction));
}

Result<Instruction> parse_trigger(std::string_view text, char escape, int line, bool extended) {
  // The trigger was cut out of a Dockerfile with its own escape; one in an image's config has BuildKit's
  // default.
  const std::string directive = escape == '`' ? "# escape=`\n" : "";
  Ast ast = TRY(parse_lines(directive + std::string(text), "ONBUILD"));
  if (ast.nodes.size() != 1) return invalid("an ONBUILD trigger should be a single instruction");
  ParsedNode parsed = TRY(parse_instruction(ast.nodes[0], extended));
  Instruction* instruction = std::get_if<Instruction>(&parsed);
  if (instruction == nullptr || std::holds_alternative<OnbuildInstruction>(instruction->body))
    return invalid(ast.nodes[0].name + " isn't allowed as an ONBUILD trigger");
  instruction->line = line;
  return std::move(*instruction);
}

}  // namespace dray::builder
