// SPDX-License-Identifier: Apache-2.0
// The stages the target needs are planned in their order; what nothing of the result stands on is dropped at the end.
#include "plan/planner.hpp"

#include <algorithm>

#include <dray/core/process.hpp>

#include "lint/plan_checks.hpp"
#include "plan/stage_builder.hpp"
#include "plan/values.hpp"
#include "source/credentials.hpp"
#include "source/git_reference.hpp"

namespace dray::builder {

namespace {

constexpr std::string_view kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What all steps and stages may hold together: each RUN has all variables, each stage all its base's history.
constexpr std::size_t kMaxPlan = 256u << 20;

Failure invalid(std::string message) { return fail(ErrorCode::invalid_argument, std::move(message)); }

bool same_platform(const image::Platform& a, const image::Platform& b) { return a.to_string() == b.to_string(); }

/// Sources without state: equal ones are one vertex.
bool same_source(const Op& a, const Op& b) {
  if (a.index() != b.index()) return false;
  if (const auto* source = std::get_if<SourceOp>(&a)) {
    const auto& other = std::get<SourceOp>(b);
    return source->reference == other.reference &&
           (!source->reference || same_platform(source->platform, other.platform));
  }
  if (const auto* local = std::get_if<LocalOp>(&a)) return local->name == std::get<LocalOp>(b).name;
  if (const auto* http = std::get_if<HttpOp>(&a)) {
    const auto& other = std::get<HttpOp>(b);
    return http->url == other.url && http->checksum == other.checksum;
  }
  if (const auto* git = std::get_if<GitOp>(&a)) {
    const auto& other = std::get<GitOp>(b);
    return git->remote == other.remote && git->ref == other.ref && git->subdirectory == other.subdirectory &&
           git->checksum == other.checksum && git->keep_git_dir == other.keep_git_dir &&
           git->skip_submodules == other.skip_submodules && git->fetch_by_commit == other.fetch_by_commit;
  }
  return false;
}

class Planner : public PlanBuilder {
 public:
  Planner(const Dockerfile& dockerfile, const PlanOptions& options, const ResolveBase& resolve)
      : dockerfile_(dockerfile), options_(options), resolve_(resolve), graph_(dockerfile, options_, options.linter) {}

  Result<Plan> plan() {
    TRY(graph_.read());
    use_epoch();
    if (options_.arguments != nullptr) {
      options_.arguments->target = graph_.target;
      for (const std::string& name : graph_.global_args.keys())
        options_.arguments->globals[name] = graph_.global_args.get(name).value_or("");
    }
    const std::vector<bool> needed = TRY(resolve_nodes());
    named_ = graph_.nodes.size() > 1;
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
      if (!needed[i]) continue;
      auto planned = plan_node(static_cast<int>(i));
      if (!planned) return Failure(std::move(planned).error().with_location(graph_.location(graph_.nodes[i].line)));
    }
    StageState& state = *states_[static_cast<std::size_t>(graph_.target)];
    stand_on(state, graph_.nodes[static_cast<std::size_t>(graph_.target)], "");
    plan_.result = state.vertex;
    plan_.config = std::move(state.image);
    plan_.config.created = options_.created;
    plan_.config.platform = options_.platform;
    for (const auto& [key, value] : options_.labels) plan_.config.config.labels[key] = value;
    plan_.warnings = dockerfile_.warnings;
    plan_.source_date_epoch = graph_.source_date_epoch;
    for (auto& [vertex, paths] : read_paths_) set_paths(vertex, paths);
    prune();
    return std::move(plan_);
  }

  Result<int> add(Vertex vertex) override {
    if (const auto* run = std::get_if<RunOp>(&vertex.op)) {
      for (const std::string& variable : run->env.get()) size_ += variable.size();
      for (const std::string& arg : run->args) size_ += arg.size();
    }
    size_ += vertex.title.size();
    if (size_ > kMaxPlan) return invalid("the build's steps hold more than 256 MiB of text together");
    return append(std::move(vertex));
  }

  Result<int> node_vertex(int node) override {
    auto& state = states_[static_cast<std::size_t>(node)];
    const StageNode& wanted = graph_.nodes[static_cast<std::size_t>(node)];
    // An image has no instructions: it is there when it is asked for.
    if (!state && wanted.stage == nullptr) TRY(plan_node(node));
    return state ? state->vertex : -1;
  }

  int context_vertex() override {
    if (context_ < 0) context_ = context_source(options_.context, "context");
    return context_;
  }

  int source_vertex(Op op, std::string title, const SourceLocation& location) override {
    for (const Vertex& vertex : plan_.vertices)
      if (vertex.inputs.empty() && same_source(vertex.op, op)) return vertex.id;
    Vertex vertex;
    vertex.op = std::move(op);
    vertex.title = std::move(title);
    vertex.location = location;
    return append(std::move(vertex));
  }

  void reads(int node, std::string_view path) override {
    const int vertex = node < 0 ? context_vertex() : states_[static_cast<std::size_t>(node)]->vertex;
    if (std::holds_alternative<LocalOp>(plan_.vertices[static_cast<std::size_t>(vertex)].op))
      read_paths_[vertex].insert(std::string(path.substr(std::min<std::size_t>(1, path.size()))));
  }

 private:
  int append(Vertex vertex) {
    vertex.id = static_cast<int>(plan_.vertices.size());
    plan_.vertices.push_back(std::move(vertex));
    return plan_.vertices.back().id;
  }

  void use_epoch() {
    const bool known = graph_.source_date_epoch.has_value();
    if (known) options_.created = format_time(*graph_.source_date_epoch);
    for (auto& [name, value] : options_.build_args)
      if (known && name == "SOURCE_DATE_EPOCH" && !value.empty()) value = std::to_string(*graph_.source_date_epoch);
    if (!known) std::erase_if(options_.build_args, [](const auto& arg) { return arg.first == "SOURCE_DATE_EPOCH"; });
  }

  /// Configs of the needed images; their ONBUILD triggers may need more nodes.
  Result<std::vector<bool>> resolve_nodes() {
    for (;;) {
      bool more = false;
      const std::vector<bool> needed = graph_.needed();
      configs_.resize(graph_.nodes.size());
      for (std::size_t i = 0; i < needed.size(); ++i) {
        if (!needed[i] || configs_[i].resolved) continue;
        auto resolved = resolve_node(static_cast<int>(i));
        if (!resolved) return Failure(std::move(resolved).error().with_location(graph_.location(graph_.nodes[i].line)));
        more = more || *resolved;
      }
      configs_.resize(graph_.nodes.size());
      if (more) continue;
      states_.resize(graph_.nodes.size());
      return needed;
    }
  }

  Result<bool> resolve_node(int index) {
    const auto at = static_cast<std::size_t>(index);
    configs_[at].resolved = true;
    const StageNode& node = graph_.nodes[at];
    std::vector<std::string> triggers;
    char escape = '\\';
    if (node.base >= 0) {
      const auto& commands = graph_.nodes[static_cast<std::size_t>(node.base)].commands;
      for (const StageCommand& command : commands)
        if (const auto* onbuild = std::get_if<OnbuildInstruction>(&command.instruction->body))
          triggers.push_back(onbuild->expression);
      escape = dockerfile_.escape;
    } else if (const auto image = TRY(image_of(node))) {
      configs_[at].image = TRY(resolve_(*image, node.platform.value_or(options_.platform)));
      triggers = std::move(configs_[at].image->config.on_build);
      configs_[at].image->config.on_build.clear();
      if (node.stage == nullptr || node.replaced) {
        if (node.replaced) configs_[at].image->config.on_build = std::move(triggers);
        return false;
      }
    }
    if (triggers.empty() || node.replaced || node.stage == nullptr) return false;
    return graph_.add_triggers(index, triggers, escape);
  }

  /// The image a node stands on; nullopt: none.
  static Result<std::optional<Reference>> image_of(const StageNode& node) {
    if (node.context == nullptr) return node.reference;
    if (node.context->kind != ContextSource::Kind::image) return std::optional<Reference>();
    return std::optional<Reference>(TRY_CTX(Reference::parse(node.context->value), "context " + node.context_name));
  }

  int context_source(const ContextSource& source, const std::string& name) {
    using Kind = ContextSource::Kind;
    if (source.kind == Kind::git) {
      const auto git = parse_git_reference(source.value);
      if (git && *git) {
        GitOp op;
        op.remote = (*git)->url();
        op.ref = (*git)->ref;
        op.subdirectory = (*git)->subdirectory;
        op.checksum = (*git)->checksum;
        op.keep_git_dir = (*git)->keep_git_dir.value_or(false);
        op.skip_submodules = (*git)->submodules && !*(*git)->submodules;
        op.fetch_by_commit = (*git)->fetch_by_commit;
        for (const auto& [key, value] : options_.build_args)
          if (key == "BUILDKIT_CONTEXT_KEEP_GIT_DIR" && (value == "1" || value == "true")) op.keep_git_dir = true;
        return source_vertex(std::move(op), "[internal] load git source " + without_credentials(source.value),
                             {dockerfile_.file, 0});
      }
    }
    if (source.kind == Kind::http) {  // an archive
      const int file = source_vertex(HttpOp{source.value, "", "context"}, "[internal] load remote build context",
                                     {dockerfile_.file, 0});
      CopyOp unpack;
      unpack.paths = {"/context"};
      unpack.destination = "/";
      unpack.is_add = unpack.unpack = true;
      Vertex vertex;
      vertex.op = std::move(unpack);
      vertex.inputs = {source_vertex(SourceOp{std::nullopt, options_.platform}, "", {dockerfile_.file, 0}), file};
      vertex.title = "[internal] unpack remote build context";
      vertex.location = {dockerfile_.file, 0};
      return append(std::move(vertex));
    }
    LocalOp local;
    local.name = name;
    return source_vertex(std::move(local), "", {dockerfile_.file, 0});
  }

  Result<void> plan_node(int index) {
    const auto at = static_cast<std::size_t>(index);
    if (states_[at]) return {};
    const StageNode& node = graph_.nodes[at];
    StageState state;
    StageContext context{dockerfile_, options_, graph_, *this, named_ && node.stage != nullptr ? node.name : ""};
    if (node.base < 0 && node.base_name != "scratch") context.steps = 1;
    for (const StageCommand& command : node.commands) {
      const auto& body = command.instruction->body;
      if (std::holds_alternative<RunInstruction>(body) || std::holds_alternative<CopyInstruction>(body) ||
          std::holds_alternative<WorkdirInstruction>(body))
        ++context.steps;
    }
    if (node.base >= 0) {
      auto& base = states_[static_cast<std::size_t>(node.base)];
      if (!base) return invalid("stage \"" + node.base_name + "\" needs to be defined before");
      state = *base;
      state.image.config.on_build.clear();
      if (node.stage != nullptr) stand_on(state, node, step_title(context, "FROM " + node.base_name, false));
      for (const image::History& entry : state.image.history) size_ += entry.created_by.size();
      size_ += state.environment.bytes() + state.config_env.bytes();
      if (size_ > kMaxPlan) return invalid("the build's stages hold more than 256 MiB of text together");
    } else {
      TRY(start(index, context, state));
    }
    if (options_.arguments != nullptr) options_.arguments->used.insert(node.arguments.begin(), node.arguments.end());
    if (node.stage != nullptr && !node.replaced) {
      prepare(state);
      StageBuilder builder(context, state);
      for (const StageCommand& command : node.commands) TRY(builder.apply(command));
    }
    state.image.config.env = state.config_env.list().get();
    states_[at] = std::move(state);
    return {};
  }

  /// From an image, a context or nothing.
  Result<void> start(int index, StageContext& context, StageState& state) {
    const StageNode& node = graph_.nodes[static_cast<std::size_t>(index)];
    const auto& config = configs_[static_cast<std::size_t>(index)].image;
    const auto image = TRY(image_of(node));
    const SourceLocation location{dockerfile_.file, node.line};
    state.platform = image || node.context != nullptr ? node.platform.value_or(options_.platform) : options_.platform;
    if (config) state.image = *config;
    if (config && node.stage != nullptr && node.context == nullptr)
      check_base_platform(node.base_name, state.platform, config->platform, *node.stage, options_.linter);
    if (!image) {
      state.image.config.working_dir = "/";
      state.image.config.env = {"PATH=" + std::string(kDefaultPath)};
    }
    for (const std::string& variable : state.image.config.env) {
      const std::size_t equals = std::min(variable.find('='), variable.size());
      state.config_env.set(std::string_view(variable).substr(0, equals),
                           std::string_view(variable).substr(std::min(equals + 1, variable.size())));
    }
    if (!image && node.context != nullptr) {
      state.vertex = context_source(*node.context, node.context_name);
      if (node.context->kind == ContextSource::Kind::http) add_context_history(state, node);
      if (node.stage != nullptr && !node.replaced)
        stand_on(state, node, step_title(context, "FROM " + node.context_name, false));
      return {};
    }
    std::string title = image ? "FROM " + image->canonical() : "";
    if (image && node.stage != nullptr) title = step_title(context, title, false);
    state.vertex = source_vertex(SourceOp{image, state.platform}, std::move(title), location);
    return {};
  }

  /// A directory or a git tree that a stage stands on is its first layer; what only reads it needs no copy.
  void stand_on(StageState& state, const StageNode& node, std::string title) {
    const Op& op = plan_.vertices[static_cast<std::size_t>(state.vertex)].op;
    if (!std::holds_alternative<LocalOp>(op) && !std::holds_alternative<GitOp>(op)) return;
    CopyOp copy;
    copy.paths = {"/"};
    copy.destination = "/";
    Vertex vertex;
    vertex.location = {dockerfile_.file, node.line};
    vertex.inputs = {source_vertex(SourceOp{std::nullopt, state.platform}, "", vertex.location), state.vertex};
    vertex.op = std::move(copy);
    vertex.stage = node.name;
    vertex.title = title.empty() ? "FROM " + node.name : std::move(title);
    if (std::holds_alternative<LocalOp>(op)) read_paths_[state.vertex].insert("");
    state.vertex = append(std::move(vertex));
    add_context_history(state, node);
  }

  void add_context_history(StageState& state, const StageNode& node) const {
    const std::string& name = node.context_name.empty() ? node.base_name : node.context_name;
    image::History entry;
    entry.created = options_.created;
    entry.created_by = "FROM " + name + " # build context";
    state.image.history.push_back(std::move(entry));
  }

  /// A stage begins with its base's variables; build arguments of a base stage stay known.
  static void prepare(StageState& state) {
    if (!state.config_env.get("PATH")) state.config_env.set("PATH", kDefaultPath);
    for (const std::string& variable : state.config_env.list().get()) {
      const std::size_t equals = variable.find('=');
      state.environment.set(std::string_view(variable).substr(0, equals),
                            std::string_view(variable).substr(equals + 1));
    }
    // Only a relative directory of the base is put right.
    std::string& directory = state.image.config.working_dir;
    if (!directory.empty() && !directory.starts_with('/')) directory = join_path("/", directory);
  }

  void set_paths(int vertex, const std::set<std::string>& paths) {
    auto& local = std::get<LocalOp>(plan_.vertices[static_cast<std::size_t>(vertex)].op);
    if (!paths.contains("")) local.paths.assign(paths.begin(), paths.end());
  }

  /// Inputs stand before their users already.
  void prune() {
    std::vector<bool> used(plan_.vertices.size(), false);
    used[static_cast<std::size_t>(plan_.result)] = true;
    for (std::size_t i = plan_.vertices.size(); i-- > 0;)
      if (used[i])
        for (const int input : plan_.vertices[i].inputs) used[static_cast<std::size_t>(input)] = true;
    std::vector<int> places(plan_.vertices.size(), -1);
    std::vector<Vertex> kept;
    for (Vertex& vertex : plan_.vertices) {
      if (!used[static_cast<std::size_t>(vertex.id)]) continue;
      places[static_cast<std::size_t>(vertex.id)] = static_cast<int>(kept.size());
      vertex.id = static_cast<int>(kept.size());
      for (int& input : vertex.inputs) input = places[static_cast<std::size_t>(input)];
      kept.push_back(std::move(vertex));
    }
    plan_.result = places[static_cast<std::size_t>(plan_.result)];
    plan_.vertices = std::move(kept);
  }

  struct NodeConfig {
    bool resolved = false;
    std::optional<image::ImageConfig> image;
  };

  const Dockerfile& dockerfile_;
  PlanOptions options_;
  const ResolveBase& resolve_;
  StageGraph graph_;
  bool named_ = false;  ///< titles carry the stage's name
  int context_ = -1;
  std::size_t size_ = 0;
  std::vector<NodeConfig> configs_;
  std::vector<std::optional<StageState>> states_;
  std::map<int, std::set<std::string>> read_paths_;
  Plan plan_;
};

}  // namespace

Result<std::vector<BaseImage>> base_images(const Dockerfile& dockerfile, const PlanOptions& options) {
  StageGraph graph(dockerfile, options);
  TRY(graph.read());
  std::vector<BaseImage> images;
  const std::vector<bool> needed = graph.needed();
  for (std::size_t i = 0; i < needed.size(); ++i) {
    const StageNode& node = graph.nodes[i];
    if (!needed[i] || node.base >= 0) continue;
    std::optional<Reference> reference = node.reference;
    if (node.context != nullptr) {
      reference.reset();
      if (node.context->kind == ContextSource::Kind::image) reference = TRY(Reference::parse(node.context->value));
    }
    if (!reference) continue;
    const image::Platform platform = node.platform.value_or(options.platform);
    const bool known = std::any_of(images.begin(), images.end(), [&](const BaseImage& image) {
      return image.reference == *reference && same_platform(image.platform, platform);
    });
    if (!known) images.push_back({*reference, platform});
  }
  return images;
}

Result<Plan> plan_build(const Dockerfile& dockerfile, const PlanOptions& options, const ResolveBase& resolve) {
  return Planner(dockerfile, options, resolve).plan();
}

}  // namespace dray::builder
