// SPDX-License-Identifier: Apache-2.0
// What can be asked of a Dockerfile without building it: checks, targets, outline. Base images are resolved as for a
// build, for their environment decides what is defined; listing targets needs none.
#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "context/context.hpp"
#include "context/remote.hpp"
#include "dockerfile/shell_lex.hpp"
#include "lint/excerpt.hpp"
#include "lint/lint.hpp"

namespace dray::builder {

namespace {

Result<BuildContext> read_context(store::Store& store, const BuildRequest& request, const CancelToken& cancel) {
  BuildContext context = TRY(open_context(request, store.root() + "/tmp", cancel));
  TRY(read_dockerfile(request, context));
  TRY(read_ignore_file(request, context));
  return context;
}

Result<PlanOptions> options_of(const BuildRequest& request, const BuildContext& context) {
  const image::Platform platform = request.platforms.empty() ? image::Platform::host() : request.platforms.front();
  return plan_options(request, context, TRY(read_named_contexts(request)), platform);
}

/// Base images by name and platform, each asked for once.
class Images {
 public:
  Images(ImageSource& images, bool always_pull, ProgressSink& progress, const CancelToken& cancel)
      : images_(images), always_pull_(always_pull), progress_(progress), cancel_(cancel) {}
  Result<image::ImageConfig> config(const Reference& reference, const image::Platform& platform) {
    const std::string key = reference.canonical() + " " + platform.to_string();
    if (const auto known = configs_.find(key); known != configs_.end()) return known->second;
    store::LoadedImage image = TRY(images_.resolve(reference, platform, always_pull_, progress_, cancel_));
    return configs_.emplace(key, std::move(image.config)).first->second;
  }

 private:
  ImageSource& images_;
  bool always_pull_;
  ProgressSink& progress_;
  const CancelToken& cancel_;
  std::map<std::string, image::ImageConfig> configs_;
};

/// The words after NAME in a comment "# NAME what it is".
std::string description(const std::vector<std::string>& comments, const std::string& name) {
  for (const std::string& comment : comments)
    if (!name.empty() && comment.starts_with(name + " ")) return comment.substr(name.size() + 1);
  return "";
}

/// The global arguments that are used, also by each other's defaults, as far as no stage defines them itself.
void add_global_arguments(const Dockerfile& dockerfile, ArgumentUse& use) {
  std::map<std::string, std::pair<const Instruction*, const KeyValue*>> globals;
  for (const Instruction& instruction : dockerfile.global_args)
    for (const KeyValue& arg : std::get<ArgInstruction>(instruction.body).args) globals[arg.key] = {&instruction, &arg};
  std::vector<std::string> open(use.used.begin(), use.used.end());
  const ShellLex lex(dockerfile.escape);
  while (!open.empty()) {
    const std::string name = std::exchange(open.back(), "");
    open.pop_back();
    const auto found = globals.find(name);
    if (found == globals.end() || use.defined.contains(name)) continue;
    const auto& [instruction, arg] = found->second;
    const auto value = use.globals.find(name);
    use.defined[name] = {name, description(instruction->comments, name),
                         value == use.globals.end() ? "" : value->second, instruction->line};
    const auto expansion = lex.expand(arg->value, [](std::string_view) { return std::optional<std::string>(); });
    if (expansion) open.insert(open.end(), expansion->unmatched.begin(), expansion->unmatched.end());
  }
}

void add_mounts(const Plan& plan, Outline& outline) {
  const auto add = [](std::vector<Outline::Mount>& list, const RunMount& mount, int line) {
    for (const Outline::Mount& known : list)
      if (known.id == mount.id) return;
    list.push_back({mount.id, mount.required, line});
  };
  for (const Vertex& vertex : plan.vertices) {
    const auto* run = std::get_if<RunOp>(&vertex.op);
    if (run == nullptr) continue;
    for (const RunMount& mount : run->mounts) {
      if (mount.type == RunMount::Type::secret) add(outline.secrets, mount, vertex.location.line);
      if (mount.type == RunMount::Type::ssh) add(outline.ssh, mount, vertex.location.line);
    }
  }
}

}  // namespace

Result<LintReport> check_build(store::Store& store, ImageSource& images, const BuildRequest& request,
                               ProgressSink& progress, const CancelToken& cancel) {
  const store::Store::Lease lease = TRY(store.lease());
  const BuildContext context = TRY(read_context(store, request, cancel));
  Images bases(images, request.always_pull, progress, cancel);
  PlanOptions options = TRY(options_of(request, context));
  options.ignore = &context.ignore;
  options.all_stages = request.target.empty();
  LintReport report = lint(
      context.dockerfile, context.dockerfile_name, options,
      [&](const Reference& reference, const image::Platform& platform) { return bases.config(reference, platform); });
  TRY(cancel.check());
  return report;
}

Result<std::vector<TargetDescription>> list_targets(store::Store& store, const BuildRequest& request,
                                                    const CancelToken& cancel) {
  const BuildContext context = TRY(read_context(store, request, cancel));
  const Dockerfile dockerfile =
      TRY(parse_dockerfile(context.dockerfile, context.dockerfile_name, {}, syntax_argument(request.build_args)));
  std::vector<TargetDescription> targets;
  for (const Stage& stage : dockerfile.stages)
    targets.push_back({stage.from.alias, description(stage.comments, stage.from.alias), stage.from.image,
                       stage.from.platform, false, stage.line});
  targets.back().is_default = true;
  return targets;
}

Result<Outline> outline_build(store::Store& store, ImageSource& images, const BuildRequest& request,
                              ProgressSink& progress, const CancelToken& cancel) {
  const store::Store::Lease lease = TRY(store.lease());
  const BuildContext context = TRY(read_context(store, request, cancel));
  const Dockerfile dockerfile =
      TRY(parse_dockerfile(context.dockerfile, context.dockerfile_name, {}, syntax_argument(request.build_args)));
  Images bases(images, request.always_pull, progress, cancel);
  PlanOptions options = TRY(options_of(request, context));
  ArgumentUse use;
  options.arguments = &use;
  const Plan plan =
      TRY(plan_build(dockerfile, options, [&](const Reference& reference, const image::Platform& platform) {
        return bases.config(reference, platform);
      }));
  add_global_arguments(dockerfile, use);
  const Stage& stage = dockerfile.stages[static_cast<std::size_t>(use.target)];
  Outline outline;
  outline.name = stage.from.alias;
  outline.description = description(stage.comments, outline.name);
  for (auto& [name, argument] : use.defined) outline.arguments.push_back(std::move(argument));
  std::ranges::stable_sort(outline.arguments, {}, &Outline::Argument::line);
  add_mounts(plan, outline);
  return outline;
}

}  // namespace dray::builder
