// SPDX-License-Identifier: Apache-2.0
// From the target backwards: a stage is planned when something needs it, so stages nobody needs cost nothing.
// Names of stages are looked up as BuildKit does: FROM sees the stages above it, COPY --from any but only
// those above may be used.
#include "plan/planner.hpp"

#include <algorithm>
#include <charconv>
#include <deque>

#include "dockerfile/instruction_parser.hpp"
#include "dockerfile/text.hpp"
#include "lint/plan_checks.hpp"
#include "plan/stage_plan.hpp"
#include "plan/values.hpp"

namespace dray::builder {

namespace {

constexpr std::string_view kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr std::string_view kScratch = "scratch";

Failure invalid(std::string message) { return fail(ErrorCode::invalid_argument, std::move(message)); }

/// What the FROM lines come to, once their variables are expanded.
struct StageBase {
  int stage = -1;                      ///< an earlier stage, or
  std::optional<Reference> reference;  ///< an image, or neither: scratch
  std::optional<image::Platform> platform;
  std::string name;                 ///< of the base, as expanded
  std::set<std::string> arguments;  ///< that the FROM uses
};

class Stages {
 public:
  Stages(const Dockerfile& dockerfile, const PlanOptions& options, const Linter& linter = {})
      : dockerfile_(dockerfile), options_(options), linter_(linter) {}

  Result<void> read() {
    const ShellLex lex(dockerfile_.escape);
    if (linter_.active()) check_defaults(lex);
    global_args = TRY(read_global_args(lex, true));
    for (std::size_t i = 0; i < dockerfile_.stages.size(); ++i) {
      auto base = read_from(dockerfile_.stages[i], lex, static_cast<int>(i));
      if (!base) return Failure(std::move(base).error().with_location(location(dockerfile_.stages[i].line)));
      bases.push_back(std::move(*base));
    }
    return {};
  }

  Result<int> target() const {
    if (options_.target.empty()) return static_cast<int>(dockerfile_.stages.size()) - 1;
    const int found = find(options_.target);
    if (found >= 0) return found;
    std::vector<std::string> names;
    for (const Stage& stage : dockerfile_.stages)
      if (!stage.from.alias.empty()) names.push_back(stage.from.alias);
    return fail(ErrorCode::not_found,
                "target stage \"" + options_.target + "\" could not be found" + did_you_mean(options_.target, names));
  }

  /// By name (the last of that name) or number; -1: none.
  int find(const std::string& name) const {
    int number = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    const int count = static_cast<int>(dockerfile_.stages.size());
    if (error == std::errc() && end == name.data() + name.size()) return number >= 0 && number < count ? number : -1;
    const std::string wanted = to_lower(name);
    for (int i = count - 1; i >= 0; --i)
      if (dockerfile_.stages[static_cast<std::size_t>(i)].from.alias == wanted) return i;
    return -1;
  }

  /// What COPY --from means for a stage: an earlier stage, or an image (scratch: neither).
  Result<StageBase> copy_source(const std::string& name, int user) const {
    // Only whole names: what a variable would name is not known when the graph is made.
    if (name.contains('$'))
      return invalid(
          "variable expansion is not supported for --from, define a new stage with FROM using ARG from "
          "global scope as a workaround");
    StageBase source;
    const bool number = !name.empty() && std::all_of(name.begin(), name.end(), is_digit);
    const int found = find(name);
    if (found >= 0 || number) {
      if (found < 0) return invalid("invalid stage index " + name);
      if (found >= user)
        return invalid("cannot copy from stage \"" + name + "\", it needs to be defined before the current stage");
      source.stage = found;
    } else if (name != kScratch) {
      source.reference = TRY_CTX(Reference::parse(name), "failed to parse stage name \"" + name + "\"");
    }
    return source;
  }

  std::string location(int line) const { return SourceLocation{dockerfile_.file, line}.to_string(); }

  Environment global_args;
  std::vector<StageBase> bases;  ///< by stage

 private:
  /// Would the bases have names if no build argument were given?
  void check_defaults(const ShellLex& lex) const {
    const auto defaults = read_global_args(lex, false);
    if (!defaults) return;
    for (const Stage& stage : dockerfile_.stages) {
      const auto name = lex.word(stage.from.image, defaults->lookup());
      if (!name) return;
      check_default_base(*name, stage, linter_);
    }
  }

  Result<Environment> read_global_args(const ShellLex& lex, bool with_build_args) const {
    Environment arguments;
    const image::Platform& build = options_.build_platform;
    const image::Platform& target = options_.platform;
    std::string stage = options_.target.empty() ? dockerfile_.stages.back().from.alias : options_.target;
    if (stage.empty()) stage = "default";
    const std::pair<const char*, std::string> automatic[] = {{"BUILDPLATFORM", build.to_string()},
                                                             {"BUILDOS", build.os},
                                                             {"BUILDOSVERSION", build.os_version},
                                                             {"BUILDARCH", build.architecture},
                                                             {"BUILDVARIANT", build.variant},
                                                             {"TARGETPLATFORM", target.to_string()},
                                                             {"TARGETOS", target.os},
                                                             {"TARGETOSVERSION", target.os_version},
                                                             {"TARGETARCH", target.architecture},
                                                             {"TARGETVARIANT", target.variant},
                                                             {"TARGETSTAGE", stage}};
    for (const auto& [name, value] : automatic) arguments.set(name, build_arg(name).value_or(value));
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

  std::optional<std::string> build_arg(std::string_view name) const {
    for (auto arg = options_.build_args.rbegin(); arg != options_.build_args.rend(); ++arg)
      if (arg->first == name) return arg->second;
    return std::nullopt;
  }

  Result<StageBase> read_from(const Stage& stage, const ShellLex& lex, int index) const {
    StageBase base;
    VariableUse use;
    auto expanded = lex.word(stage.from.image, use.record(global_args.lookup()));
    check_from_variables(use, declared_args(), stage, linter_);
    const std::string name = base.name = TRY(std::move(expanded));
    if (name.empty()) return invalid("base name (" + stage.from.image + ") should not be blank");
    if (!stage.from.platform.empty()) {
      VariableUse in_platform;
      auto expanded_platform = lex.word(stage.from.platform, in_platform.record(global_args.lookup()));
      check_from_variables(in_platform, declared_args(), stage, linter_);
      const std::string platform = TRY(std::move(expanded_platform));
      check_from_platform(platform, in_platform, global_args.get("TARGETPLATFORM").value_or(""), stage, linter_);
      if (platform.empty())
        return invalid("empty platform value from expression " + stage.from.platform + guess_argument(in_platform));
      auto parsed = image::Platform::parse(platform);
      if (!parsed)
        return Failure(Error(parsed.error().code(), "failed to parse platform " + stage.from.platform + ": " +
                                                        parsed.error().message() + guess_argument(in_platform)));
      use.set.insert(use.set.end(), in_platform.set.begin(), in_platform.set.end());
      base.platform = std::move(*parsed);
    }
    for (int i = index - 1; i >= 0 && base.stage < 0; --i)
      if (dockerfile_.stages[static_cast<std::size_t>(i)].from.alias == name) base.stage = i;
    base.arguments.insert(use.set.begin(), use.set.end());
    if (base.stage < 0 && name != kScratch) {
      auto reference = Reference::parse(name);
      if (!reference)
        return Failure(
            Error(reference.error().code(), "failed to parse stage name \"" + name + "\": invalid reference format")
                .with_hint(reference.error().message()));
      base.reference = std::move(*reference);
    }
    return base;
  }

  std::vector<std::string> declared_args() const {
    std::vector<std::string> names = global_args.keys();
    for (const Instruction& instruction : dockerfile_.global_args)
      for (const KeyValue& arg : std::get<ArgInstruction>(instruction.body).args) names.push_back(arg.key);
    return names;
  }

  /// What a variable that was not set may have been meant to be.
  std::string guess_argument(const VariableUse& use) const {
    for (const std::string& name : use.unset) {
      const std::string guess = nearest_exactly(name, global_args.keys());
      if (!guess.empty()) return " (did you mean " + guess + "?)";
    }
    return "";
  }

  const Dockerfile& dockerfile_;
  const PlanOptions& options_;
  const Linter linter_;
};

class Planner : public PlanBuilder {
 public:
  Planner(const Dockerfile& dockerfile, const PlanOptions& options, const ResolveBase& resolve)
      : dockerfile_(dockerfile), options_(options), resolve_(resolve), stages_(dockerfile, options, options.linter) {}

  Result<Plan> plan() {
    TRY(stages_.read());
    const int target = TRY(stages_.target());
    if (options_.arguments != nullptr) {
      options_.arguments->target = target;
      for (const std::string& name : stages_.global_args.keys())
        options_.arguments->globals[name] = stages_.global_args.get(name).value_or("");
    }
    planned_.resize(dockerfile_.stages.size());
    named_ = dockerfile_.stages.size() > 1 || copies_from_image();
    if (options_.all_stages)
      for (std::size_t i = 0; i < dockerfile_.stages.size(); ++i) TRY(stage(static_cast<int>(i)));
    const StageState* state = TRY(stage(target));
    plan_.result = state->vertex;
    plan_.config = state->image;
    plan_.config.created = options_.created;
    plan_.config.platform = options_.platform;
    for (const auto& [key, value] : options_.labels) plan_.config.config.labels[key] = value;
    plan_.warnings = dockerfile_.warnings;
    return std::move(plan_);
  }

  int add(Vertex vertex) override {
    vertex.id = static_cast<int>(plan_.vertices.size());
    plan_.vertices.push_back(std::move(vertex));
    return plan_.vertices.back().id;
  }

  int local_source(const std::string& name) override {
    for (const Vertex& vertex : plan_.vertices) {
      const auto* local = std::get_if<LocalOp>(&vertex.op);
      if (local != nullptr && local->name == name) return vertex.id;
    }
    Vertex vertex;
    vertex.op = LocalOp{name};
    return add(std::move(vertex));
  }

  Result<int> copy_source(const std::string& name, int user) override {
    const StageBase source = TRY(stages_.copy_source(name, user));
    if (source.stage >= 0) {
      const StageState* state = TRY(stage(source.stage));
      return state->vertex;
    }
    std::string title = source.reference ? "FROM " + source.reference->canonical() : "";
    const SourceLocation location{dockerfile_.file, dockerfile_.stages[static_cast<std::size_t>(user)].line};
    return source_vertex(source.reference, options_.platform, std::move(title), location);
  }

 private:
  bool copies_from_image() const {
    for (const Stage& stage : dockerfile_.stages)
      for (const Instruction& instruction : stage.instructions)
        if (const auto* copy = std::get_if<CopyInstruction>(&instruction.body))
          if (!copy->from.empty() && stages_.find(copy->from) < 0) return true;
    return false;
  }

  int source_vertex(const std::optional<Reference>& reference, const image::Platform& platform, std::string title,
                    const SourceLocation& location) {
    for (const Vertex& vertex : plan_.vertices) {
      const auto* source = std::get_if<SourceOp>(&vertex.op);
      if (source != nullptr && source->reference == reference &&
          (!reference || source->platform.to_string() == platform.to_string()))
        return vertex.id;
    }
    Vertex vertex;
    vertex.op = SourceOp{reference, platform};
    vertex.title = std::move(title);
    vertex.location = location;
    return add(std::move(vertex));
  }

  Result<StageState*> stage(int index) {
    auto& planned = planned_[static_cast<std::size_t>(index)];
    if (!planned) {
      const StageState* base = nullptr;
      const StageBase& from = stages_.bases[static_cast<std::size_t>(index)];
      if (options_.arguments != nullptr) options_.arguments->used.insert(from.arguments.begin(), from.arguments.end());
      if (from.stage >= 0) base = TRY(stage(from.stage));
      auto result = plan_stage(index, from, base);
      if (!result)
        return Failure(std::move(result).error().with_location(
            stages_.location(dockerfile_.stages[static_cast<std::size_t>(index)].line)));
      planned = std::move(*result);
    }
    return &*planned;
  }

  Result<StageState> plan_stage(int index, const StageBase& from, const StageState* base) {
    const Stage& stage = dockerfile_.stages[static_cast<std::size_t>(index)];
    StageContext context{dockerfile_, options_, stages_.global_args, *this, index, ""};
    if (named_) context.name = stage.from.alias.empty() ? "stage-" + std::to_string(index) : stage.from.alias;
    context.steps = from.reference ? 1 : 0;
    for (const Instruction& instruction : stage.instructions) {
      const auto& body = instruction.body;
      if (std::holds_alternative<RunInstruction>(body) || std::holds_alternative<CopyInstruction>(body) ||
          std::holds_alternative<WorkdirInstruction>(body))
        ++context.steps;
    }

    StageState state;
    std::vector<std::string> trigger_texts;
    char trigger_escape = '\\';
    if (base != nullptr) {
      state = *base;
      trigger_texts = std::move(state.triggers);
      trigger_escape = dockerfile_.escape;
    } else {
      TRY(start_from_image(stage, from, state));
      trigger_texts = std::move(state.image.config.on_build);
    }
    state.triggers.clear();
    state.image.config.on_build.clear();
    std::vector<Instruction> triggers;
    for (const std::string& text : trigger_texts) {
      Instruction trigger = TRY_CTX(parse_trigger(text, trigger_escape, stage.line), "ONBUILD trigger of the base");
      triggers.push_back(std::move(trigger));
    }
    context.steps += static_cast<int>(triggers.size());

    if (base == nullptr) {
      const SourceLocation location{dockerfile_.file, stage.line};
      std::string title = from.reference ? step_title(context, "FROM " + from.reference->canonical(), false) : "";
      state.vertex = source_vertex(from.reference, state.platform, std::move(title), location);
    }
    auto& env = state.image.config.env;
    if (std::none_of(env.begin(), env.end(), [](const std::string& variable) { return variable.starts_with("PATH="); }))
      env.push_back("PATH=" + std::string(kDefaultPath));
    for (const std::string& variable : env) {
      const std::size_t equals = std::min(variable.find('='), variable.size());
      state.environment.set(std::string_view(variable).substr(0, equals),
                            std::string_view(variable).substr(std::min(equals + 1, variable.size())));
    }
    // Only a relative directory of the base is put right.
    std::string& directory = state.image.config.working_dir;
    if (!directory.empty() && !directory.starts_with('/')) directory = join_path("/", directory);
    TRY(apply_instructions(context, state, triggers, stage.instructions));
    return state;
  }

  Result<void> start_from_image(const Stage& stage, const StageBase& from, StageState& state) {
    state.platform = from.platform.value_or(options_.platform);
    if (!from.reference) {
      state.platform = options_.platform;
      state.image.config.working_dir = "/";
      return {};
    }
    auto config = resolve_(*from.reference, state.platform);
    if (!config) return Failure(std::move(config).error().with_location(stages_.location(stage.line)));
    state.image = std::move(*config);
    check_base_platform(from.name, state.platform, state.image.platform, stage, options_.linter);
    return {};
  }

  const Dockerfile& dockerfile_;
  const PlanOptions& options_;
  const ResolveBase& resolve_;
  Stages stages_;
  bool named_ = false;  ///< titles carry the stage's name
  std::deque<std::optional<StageState>> planned_;
  Plan plan_;
};

}  // namespace

Result<std::vector<BaseImage>> base_images(const Dockerfile& dockerfile, const PlanOptions& options) {
  Stages stages(dockerfile, options);
  TRY(stages.read());
  std::vector<BaseImage> images;
  const auto need = [&](const Reference& reference, const image::Platform& platform) {
    for (const BaseImage& image : images)
      if (image.reference == reference && image.platform.to_string() == platform.to_string()) return;
    images.push_back({reference, platform});
  };
  std::vector<bool> needed(dockerfile.stages.size(), false);
  const int target = TRY(stages.target());
  needed[static_cast<std::size_t>(target)] = true;
  for (int i = target; i >= 0; --i) {  // a stage only ever needs stages above it
    if (!needed[static_cast<std::size_t>(i)]) continue;
    const StageBase& base = stages.bases[static_cast<std::size_t>(i)];
    if (base.stage >= 0) needed[static_cast<std::size_t>(base.stage)] = true;
    if (base.reference) need(*base.reference, base.platform.value_or(options.platform));
    for (const Instruction& instruction : dockerfile.stages[static_cast<std::size_t>(i)].instructions) {
      const auto* copy = std::get_if<CopyInstruction>(&instruction.body);
      if (copy == nullptr || copy->from.empty()) continue;
      auto source = stages.copy_source(copy->from, i);
      if (!source) return Failure(std::move(source).error().with_location(stages.location(instruction.line)));
      if (source->stage >= 0) needed[static_cast<std::size_t>(source->stage)] = true;
      if (source->reference) need(*source->reference, options.platform);
    }
  }
  return images;
}

Result<Plan> plan_build(const Dockerfile& dockerfile, const PlanOptions& options, const ResolveBase& resolve) {
  return Planner(dockerfile, options, resolve).plan();
}

}  // namespace dray::builder
