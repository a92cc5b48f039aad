// SPDX-License-Identifier: Apache-2.0
// Names are looked up as BuildKit does: FROM sees the stages above it, --from any. What is no stage is an image, a
// named context or scratch; each mention makes a node of its own.
#include "plan/stage_graph.hpp"

#include <algorithm>
#include <charconv>

#include "dockerfile/instruction_parser.hpp"
#include "dockerfile/text.hpp"
#include "lint/plan_checks.hpp"
#include "source/git_reference.hpp"

namespace dray::builder {

namespace {

constexpr std::string_view kScratch = "scratch";
constexpr std::size_t kMaxNodes = 20'000;

Failure invalid(std::string message) { return fail(ErrorCode::invalid_argument, std::move(message)); }

std::optional<int> stage_number(std::string_view name) {
  int number = 0;
  if (name.starts_with('+')) name.remove_prefix(1);
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (name.empty() || error != std::errc() || end != name.data() + name.size()) return std::nullopt;
  return number;
}

/// The base name is no reference.
Error bad_reference(const std::string& name, const Error& error) {
  std::string message = "failed to parse stage name \"" + name + "\": invalid reference format";
  if (const auto lower = Reference::parse(to_lower(name))) {  // as its specification says it
    std::string repository = lower->repository();
    std::size_t at = to_lower(name).find(repository);
    std::string prefix;
    if (at == std::string::npos && repository.starts_with("library/")) {
      prefix = "library/";
      repository.erase(0, prefix.size());
      at = to_lower(name).find(repository);
    }
    if (at != std::string::npos)
      message += ": repository name (" + prefix + name.substr(at, repository.size()) + ") must be lowercase";
  }
  return Error(ErrorCode::invalid_argument, std::move(message)).with_hint(error.message());
}

}  // namespace

std::optional<std::string> StageGraph::build_arg(std::string_view name) const {
  for (auto arg = options_.build_args.rbegin(); arg != options_.build_args.rend(); ++arg)
    if (arg->first == name) return arg->second;
  return std::nullopt;
}

Result<void> StageGraph::read() {
  if (linter_.active()) check_defaults();
  global_args = TRY(read_global_args(true));
  TRY(read_epoch());
  for (std::size_t i = 0; i < dockerfile_.stages.size(); ++i) {
    auto added = add_stage(dockerfile_.stages[i], static_cast<int>(i));
    if (!added) return Failure(std::move(added).error().with_location(location(dockerfile_.stages[i].line)));
  }
  target = TRY(find_target());
  for (std::size_t i = 0; i < dockerfile_.stages.size(); ++i) {
    for (const Instruction& instruction : dockerfile_.stages[i].instructions) {
      auto command = link(instruction);
      if (!command) return Failure(std::move(command).error().with_location(location(instruction.line)));
      for (const int source : command->sources)
        if (source >= 0) nodes[i].needs.insert(source);
      nodes[i].commands.push_back(std::move(*command));
    }
  }
  TRY(check_cycles());
  return {};
}

Result<Environment> StageGraph::read_global_args(bool with_build_args) const {
  Environment arguments;
  const image::Platform& build = options_.build_platform;
  const image::Platform& wanted = options_.platform;
  std::string stage = options_.target.empty() ? dockerfile_.stages.back().from.alias : options_.target;
  if (stage.empty()) stage = "default";
  const std::pair<const char*, std::string> automatic[] = {{"BUILDPLATFORM", build.to_string()},
                                                           {"BUILDOS", build.os},
                                                           {"BUILDOSVERSION", build.os_version},
                                                           {"BUILDARCH", build.architecture},
                                                           {"BUILDVARIANT", build.variant},
                                                           {"TARGETPLATFORM", wanted.to_string()},
                                                           {"TARGETOS", wanted.os},
                                                           {"TARGETOSVERSION", wanted.os_version},
                                                           {"TARGETARCH", wanted.architecture},
                                                           {"TARGETVARIANT", wanted.variant},
                                                           {"TARGETSTAGE", stage}};
  for (const auto& [name, value] : automatic) arguments.set(name, build_arg(name).value_or(value));
  const ShellLex lex(dockerfile_.escape);
  for (const Instruction& instruction : dockerfile_.global_args) {
    for (const KeyValue& arg : std::get<ArgInstruction>(instruction.body).args) {
      const auto given = with_build_args ? build_arg(arg.key) : std::nullopt;
      if (given) {
        arguments.set(arg.key, *given);
      } else if (arg.has_value) {
        auto value = lex.word(arg.value, arguments.lookup());
        if (!value) return Failure(std::move(value).error().with_location(location(instruction.line)));
        arguments.set(arg.key, *value);
      }
    }
  }
  return arguments;
}

/// Would the bases have names if no build argument were given?
void StageGraph::check_defaults() const {
  const auto defaults = read_global_args(false);
  if (!defaults) return;
  const ShellLex lex(dockerfile_.escape);
  for (const Stage& stage : dockerfile_.stages) {
    const auto name = lex.word(stage.from.image, defaults->lookup());
    if (!name) return;
    check_default_base(*name, stage, linter_);
  }
}

std::vector<std::string> StageGraph::declared_args() const {
  std::vector<std::string> names = global_args.keys();
  for (const Instruction& instruction : dockerfile_.global_args)
    for (const KeyValue& arg : std::get<ArgInstruction>(instruction.body).args) names.push_back(arg.key);
  return names;
}

/// SOURCE_DATE_EPOCH is seconds; or "context", or the name of a context or of a stage with one remote ADD: then the
/// time of that source, which is not known here.
Result<void> StageGraph::read_epoch() {
  const std::string name = "SOURCE_DATE_EPOCH";
  const std::optional<std::string> given = build_arg(name);
  const std::string value = given ? *given : global_args.get(name).value_or("");
  if (value.empty()) {
    if (given) global_args.erase(name);
    return {};
  }
  std::int64_t seconds = 0;
  const std::size_t sign = value.starts_with('+') ? 1 : 0;
  const auto [end, error] = std::from_chars(value.data() + sign, value.data() + value.size(), seconds);
  if (error == std::errc() && end == value.data() + value.size()) {
    source_date_epoch = seconds;
    if (global_args.get(name)) global_args.set(name, std::to_string(seconds));
    return {};
  }
  global_args.erase(name);
  if (value == "context" || options_.named_contexts.contains(value)) return {};
  for (const Stage& stage : dockerfile_.stages) {
    if (stage.from.alias.empty() || stage.from.alias != to_lower(value)) continue;
    auto checked = check_epoch_stage(stage, global_args);
    if (!checked) return Failure(std::move(checked).error().with_location(location(stage.line)));
    return {};
  }
  return invalid("invalid SOURCE_DATE_EPOCH: " + value);
}

Result<void> StageGraph::check_epoch_stage(const Stage& stage, const Environment& globals) const {
  const ShellLex lex(dockerfile_.escape);
  Environment environment = globals;
  if (TRY(lex.word(stage.from.image, globals.lookup())) != kScratch)
    return invalid("SOURCE_DATE_EPOCH stage must use FROM scratch");
  int sources = 0;
  for (const Instruction& instruction : stage.instructions) {
    if (const auto* arg = std::get_if<ArgInstruction>(&instruction.body)) {
      for (const KeyValue& pair : arg->args) {
        if (const auto given = build_arg(pair.key))
          environment.set(pair.key, *given);
        else if (pair.has_value)
          environment.set(pair.key, TRY(lex.word(pair.value, environment.lookup())));
      }
      continue;
    }
    const auto* add = std::get_if<CopyInstruction>(&instruction.body);
    if (add == nullptr || !add->is_add)
      return invalid("SOURCE_DATE_EPOCH stage does not meet source-only requirements: unsupported " +
                     to_upper(split_whitespace(instruction.original, 2).at(0)) + " instruction");
    if (++sources > 1) return invalid("SOURCE_DATE_EPOCH stage must contain exactly one remote ADD");
    if (!add->heredocs.empty() || add->sources.size() != 1)
      return invalid("SOURCE_DATE_EPOCH stage must contain exactly one remote ADD source");
    const std::string source = TRY(lex.word(add->sources[0], environment.lookup()));
    const auto git = TRY(parse_git_reference(source));
    if ((!git || git->looks_local) && !source.starts_with("http://") && !source.starts_with("https://"))
      return invalid("SOURCE_DATE_EPOCH stage source must be a single HTTP(S) or Git ADD");
  }
  if (sources == 0) return invalid("SOURCE_DATE_EPOCH stage must contain exactly one remote ADD");
  return {};
}

Result<void> StageGraph::add_stage(const Stage& stage, int index) {
  const ShellLex lex(dockerfile_.escape);
  StageNode node;
  node.stage = &stage;
  node.line = stage.line;
  node.name = stage.from.alias.empty() ? "stage-" + std::to_string(index) : stage.from.alias;
  VariableUse use, in_platform;
  auto expanded = lex.word(stage.from.image, use.record(global_args.lookup()));
  if (linter_.active()) check_from_variables(use, declared_args(), stage, linter_);
  node.base_name = TRY(std::move(expanded));
  if (node.base_name.empty()) return invalid("base name (" + stage.from.image + ") should not be blank");
  if (!stage.from.platform.empty()) {
    auto platform = lex.word(stage.from.platform, in_platform.record(global_args.lookup()));
    if (linter_.active()) check_from_variables(in_platform, declared_args(), stage, linter_);
    const std::string text = TRY(std::move(platform));
    check_from_platform(text, in_platform, global_args.get("TARGETPLATFORM").value_or(""), stage, linter_);
    auto parsed = image::Platform::parse(text);
    if (text.empty() || !parsed) {
      std::string guess;
      for (const std::string& unset : in_platform.unset)
        if (guess.empty()) guess = nearest_exactly(unset, global_args.keys());
      if (!guess.empty()) guess = " (did you mean " + guess + "?)";
      if (text.empty()) return invalid("empty platform value from expression " + stage.from.platform + guess);
      return invalid("failed to parse platform " + stage.from.platform + ": " + parsed.error().message() + guess);
    }
    node.platform = std::move(*parsed);
  }
  node.arguments.insert(use.set.begin(), use.set.end());
  node.arguments.insert(in_platform.set.begin(), in_platform.set.end());
  const auto context = options_.named_contexts.find(stage.from.alias);
  if (!stage.from.alias.empty() && context != options_.named_contexts.end() && stage.from.alias != kScratch &&
      stage.from.alias != "context") {
    node.context = &context->second;
    node.context_name = context->first;
    node.replaced = true;
  } else {
    for (std::size_t i = nodes.size(); i-- > 0 && node.base < 0;)
      if (nodes[i].stage->from.alias == node.base_name) node.base = static_cast<int>(i);
    if (node.base < 0) TRY(find_base(node));
  }
  if (node.base >= 0) node.needs.insert(node.base);
  nodes.push_back(std::move(node));
  return {};
}

/// What a name that is no stage's means.
Result<void> StageGraph::find_base(StageNode& node) {
  if (node.base_name == kScratch) return {};
  auto reference = Reference::parse(node.base_name);
  if (!reference) return Failure(bad_reference(node.base_name, reference.error()));
  node.reference = std::move(*reference);
  for (const auto& [name, context] : options_.named_contexts) {
    const auto named = Reference::parse(name);
    if (!named || named->canonical() != node.reference->canonical()) continue;
    node.context = &context;
    node.context_name = name;
    if (context.kind != ContextSource::Kind::stage) continue;
    for (std::size_t i = 0; i < nodes.size() && i < dockerfile_.stages.size(); ++i)
      if (nodes[i].name == to_lower(context.value)) node.base = static_cast<int>(i);
    if (node.base < 0)
      return fail(ErrorCode::not_found, "context \"" + name + "\": there is no stage \"" + context.value + "\" above");
    node.needs.insert(node.base);
  }
  return {};
}

Result<StageCommand> StageGraph::link(const Instruction& instruction) {
  StageCommand command;
  command.instruction = &instruction;
  if (const auto* copy = std::get_if<CopyInstruction>(&instruction.body)) {
    if (!copy->from.empty()) command.sources.push_back(TRY(copy_source(copy->from, instruction.line)));
  } else if (const auto* run = std::get_if<RunInstruction>(&instruction.body)) {
    for (const std::string& from : run->mount_sources)
      command.sources.push_back(from.empty() ? -1 : find_or_add(from, instruction.line));
  }
  if (nodes.size() > kMaxNodes) return invalid("more than 20000 stages and images");
  for (const int source : command.sources) {
    StageNode* node = source < 0 ? nullptr : &nodes[static_cast<std::size_t>(source)];
    if (node == nullptr || node->stage != nullptr || !resolved_.insert(source).second) continue;
    TRY(find_base(*node));
  }
  return command;
}

Result<int> StageGraph::copy_source(const std::string& name, int line) {
  // Only whole names: what a variable would name is not known when the graph is made.
  const ShellLex lex(dockerfile_.escape);
  const auto expanded = lex.word(name, [](std::string_view) { return std::optional<std::string>(); });
  if (!expanded) return Failure(expanded.error());
  if (*expanded != name)
    return invalid(
        "variable expansion is not supported for --from, define a new stage with FROM using ARG from "
        "global scope as a workaround");
  if (const auto number = stage_number(name)) {
    if (*number < 0 || static_cast<std::size_t>(*number) >= nodes.size())
      return invalid("invalid stage index " + std::to_string(*number));
    return *number;
  }
  return find_or_add(name, line);
}

int StageGraph::find(const std::string& name) const {
  const std::string wanted = to_lower(name);
  for (std::size_t i = dockerfile_.stages.size(); i-- > 0;)
    if (nodes[i].stage->from.alias == wanted && !wanted.empty()) return static_cast<int>(i);
  return -1;
}

int StageGraph::find_or_add(const std::string& name, int line) {
  if (const int found = find(name); found >= 0) return found;
  StageNode node;
  node.base_name = name;
  node.line = line;
  nodes.push_back(std::move(node));
  return static_cast<int>(nodes.size()) - 1;
}

Result<int> StageGraph::find_target() const {
  if (options_.target.empty()) return static_cast<int>(nodes.size()) - 1;
  if (const int found = find(options_.target); found >= 0) return found;
  const auto number = stage_number(options_.target);
  if (number && *number >= 0 && static_cast<std::size_t>(*number) < nodes.size()) return *number;
  std::vector<std::string> names;
  for (const StageNode& node : nodes) names.push_back(node.name);
  return fail(ErrorCode::not_found,
              "target stage \"" + options_.target + "\" could not be found" + did_you_mean(options_.target, names));
}

Result<void> StageGraph::check_cycles() const {
  enum class Mark { unseen, open, done };
  std::vector<Mark> marks(nodes.size(), Mark::unseen);
  const auto visit = [&](const auto& self, int index) -> Result<void> {
    const auto at = static_cast<std::size_t>(index);
    if (marks[at] == Mark::done) return {};
    if (marks[at] == Mark::open)
      return Failure(Error(ErrorCode::invalid_argument, "circular dependency detected on stage: " + nodes[at].name)
                         .with_location(location(nodes[at].line)));
    marks[at] = Mark::open;
    for (const int need : nodes[at].needs) TRY(self(self, need));
    marks[at] = Mark::done;
    return {};
  };
  for (std::size_t i = 0; i < nodes.size(); ++i) TRY(visit(visit, static_cast<int>(i)));
  return {};
}

Result<bool> StageGraph::add_triggers(int node, const std::vector<std::string>& triggers, char escape) {
  std::vector<StageCommand> commands;
  bool more = false;
  for (const std::string& text : triggers) {
    const int line = nodes[static_cast<std::size_t>(node)].line;
    Instruction trigger =
        TRY_CTX(parse_trigger(text, escape, line, dockerfile_.extended), "ONBUILD trigger of the base");
    triggers_.push_back(std::move(trigger));
    StageCommand command = TRY(link(triggers_.back()));
    command.trigger = true;
    for (const int source : command.sources) {
      if (source < 0) continue;
      nodes[static_cast<std::size_t>(node)].needs.insert(source);
      more = true;
    }
    commands.push_back(std::move(command));
  }
  if (more) TRY(check_cycles());
  auto& own = nodes[static_cast<std::size_t>(node)].commands;
  own.insert(own.begin(), std::make_move_iterator(commands.begin()), std::make_move_iterator(commands.end()));
  return more;
}

std::vector<bool> StageGraph::needed() const {
  std::vector<bool> needed(nodes.size(), options_.all_stages);
  std::vector<int> open = {target};
  needed[static_cast<std::size_t>(target)] = true;
  while (!open.empty()) {
    const int index = open.back();
    open.pop_back();
    const StageNode& node = nodes[static_cast<std::size_t>(index)];
    if (node.replaced) continue;
    for (const int need : node.needs) {
      if (needed[static_cast<std::size_t>(need)]) continue;
      needed[static_cast<std::size_t>(need)] = true;
      open.push_back(need);
    }
  }
  return needed;
}

}  // namespace dray::builder
