// SPDX-License-Identifier: Apache-2.0
// A build from end to end: context and Dockerfile, base images, plan, solver, image. Holds the store's lease
// throughout, so that nothing it made or found is collected before an image refers to it.
#include <dray/builder/builder.hpp>

#include <algorithm>
#include <mutex>

#include <dray/core/parallel.hpp>
#include <dray/core/percent.hpp>
#include <dray/core/rooted_path.hpp>
#include <dray/core/text.hpp>

#include "attest/attest.hpp"
#include "cache_transfer/cache_transfer.hpp"
#include "context/context.hpp"
#include "context/remote.hpp"
#include "dockerfile/dockerfile.hpp"
#include "export/export.hpp"
#include "export/unset.hpp"
#include "lint/excerpt.hpp"
#include "plan/entitlements.hpp"
#include "plan/merge_plans.hpp"
#include "plan/planner.hpp"
#include "progress_step.hpp"
#include "solve/local_content.hpp"
#include "solve/solver.hpp"
#include "source/credentials.hpp"
#include "verify/verify.hpp"

namespace dray::builder {
namespace {

/// Base images, each resolved once a build, several at the same time. Thread-safe.
class Bases {
 public:
  Bases(ImageSource& images, bool always_pull, StepNumbers& numbers, ProgressSink& progress, const CancelToken& cancel)
      : images_(images), always_pull_(always_pull), numbers_(numbers), progress_(progress), cancel_(cancel) {}

  /// The pointer stays valid as long as this object.
  Result<const store::LoadedImage*> get(const Reference& reference, const image::Platform& platform) {
    Base* base = nullptr;
    {
      const std::scoped_lock lock(mutex_);
      auto& known = bases_[reference.canonical() + " " + platform.to_string()];
      if (!known) known = std::make_unique<Base>();
      base = known.get();
    }
    std::call_once(base->once, [&] { base->image = resolve(reference, platform); });
    if (!base->image) return Failure(base->image.error());
    return &*base->image;
  }

 private:
  struct Base {
    std::once_flag once;
    Result<store::LoadedImage> image;
  };

  Result<store::LoadedImage> resolve(const Reference& reference, const image::Platform& platform) {
    TRY(cancel_.check());
    const int id = numbers_.reserve();
    StatusOf status(progress_, id);
    return as_step(progress_, id, "[internal] load metadata for " + reference.canonical(),
                   [&] { return images_.resolve(reference, platform, always_pull_, status, cancel_); });
  }

  ImageSource& images_;
  bool always_pull_;
  StepNumbers& numbers_;
  ProgressSink& progress_;
  const CancelToken& cancel_;
  std::mutex mutex_;
  std::map<std::string, std::unique_ptr<Base>> bases_;
};

/// Asks for all of them side by side. Failures are kept, and reported by whoever needs the image.
void fetch_bases(Bases& bases, const std::vector<BaseImage>& needed) {
  (void)run_parallel(needed.size(), needed.size(), [&](std::size_t, std::size_t i) -> Result<void> {
    (void)bases.get(needed[i].reference, needed[i].platform);
    return {};
  });
}

const SourceOp& base_of(const Plan& plan, int result) {
  const Vertex* vertex = &plan.vertices[static_cast<std::size_t>(result)];
  while (!vertex->inputs.empty()) vertex = &plan.vertices[static_cast<std::size_t>(vertex->inputs.front())];
  return std::get<SourceOp>(vertex->op);
}

Result<void> check_shell(const BuildRequest& request, const Plan& plan) {
  if (request.shell_at == 0) return {};
  for (const Vertex& vertex : plan.vertices)
    if (vertex.location.line == request.shell_at && std::holds_alternative<RunOp>(vertex.op)) return {};
  return fail(ErrorCode::not_found,
              "--shell-at " + std::to_string(request.shell_at) + ": no RUN that this build needs begins at that line");
}

/// What a result was made of, as package and other URLs with the digests that are known.
Result<std::vector<Material>> materials_of(const Plan& plan, int result, Bases& bases) {
  std::vector<Material> materials;
  for (const int id : needed_vertices(plan, result)) {
    const Op& op = plan.vertices[static_cast<std::size_t>(id)].op;
    Material material;
    if (const auto* source = std::get_if<SourceOp>(&op); source != nullptr && source->reference) {
      const store::LoadedImage* image = TRY(bases.get(*source->reference, source->platform));
      const Reference& name = *source->reference;
      material.uri = "pkg:docker/" + name.familiar_name() + (name.tag().empty() ? "" : "@" + name.tag()) +
                     "?platform=" + percent_encode(source->platform.to_string());
      const Digest digest = name.digest().value_or(image->record.manifest);
      material.algorithm = digest.algorithm();
      material.hex = digest.hex();
    } else if (const auto* http = std::get_if<HttpOp>(&op)) {
      material.uri = without_credentials(http->url);
      if (const auto digest = Digest::parse(http->checksum)) {
        material.algorithm = digest->algorithm();
        material.hex = digest->hex();
      }
    } else if (const auto* git = std::get_if<GitOp>(&op)) {
      material.uri = without_credentials(git->remote) + (git->ref.empty() ? "" : "#" + git->ref);
      if (git->checksum.size() == 40) material.algorithm = "sha1", material.hex = git->checksum;
    }
    if (!material.uri.empty()) materials.push_back(std::move(material));
  }
  return materials;
}

Result<BuildContext> open_main_context(const BuildRequest& request, const SourceContext& sources,
                                       StepNumbers& numbers) {
  if (request.context_url.empty()) return open_context(request, sources.temporary(), sources.cancel);
  TRY(make_directories(sources.temporary(), 0700));
  const int id = numbers.reserve();
  SourceContext shown = sources;
  shown.step_id = id;
  return as_step(sources.progress, id, "[internal] load remote build context",
                 [&] { return open_remote_context(request.context_url, shown); });
}

Result<void> read_definition(const BuildRequest& request, BuildContext& context, StepNumbers& numbers,
                             ProgressSink& progress) {
  std::string name = request.dockerfile.empty() ? "Dockerfile" : split_path(request.dockerfile).second;
  int id = numbers.reserve();
  TRY(as_step(progress, id, "[internal] load build definition from " + name, [&]() -> Result<void> {
    TRY(read_dockerfile(request, context));
    report_status(progress, id, "transferring dockerfile: " + short_size(context.dockerfile.size()));
    return {};
  }));
  id = numbers.reserve();
  return as_step(progress, id, "[internal] load .dockerignore", [&]() -> Result<void> {
    const std::size_t size = TRY(read_ignore_file(request, context));
    report_status(progress, id, "transferring context: " + short_size(size));
    return {};
  });
}

/// One build, in the order of its phases.
class Build {
 public:
  Build(store::Store& store, Executor& executor, ImageSource& images, const BuildRequest& request,
        ProgressSink& progress, const CancelToken& cancel, Registry* registry)
      : store_(store),
        executor_(executor),
        images_(images),
        request_(request),
        progress_(progress),
        cancel_(cancel),
        registry_(registry),
        bases_(images, request.always_pull, numbers_, progress, cancel),
        secrets_(request.secrets) {}

  Result<BuildResult> run() {
    TRY(read_request());
    const store::Store::Lease lease = TRY(store_.lease());
    TRY(read_sources());
    TRY(make_plan());
    TRY(run_steps());
    TRY(finish_images());
    TRY(cancel_.check());
    return export_all();
  }

  /// The checks' findings belong to the first step, which read the Dockerfile. An error gets the lines it is about.
  void report_findings(const Error* error) const {
    const std::string& file = context_.dockerfile_name;
    for (const LintWarning& found : linter_.warnings()) {
      ProgressEvent event{.kind = ProgressEvent::Kind::warning, .id = 1, .name = found.to_string()};
      event.text = found.description;
      event.source = {file,       found.url,      source_excerpt(context_.dockerfile, file, found.line, found.end_line),
                      found.line, found.end_line, found.level};
      progress_.report(event);
    }
    const int line = error != nullptr ? error_line(*error, file) : 0;
    if (line == 0) return;
    const LineRange lines = instruction_lines(context_.dockerfile, line);
    progress_.report({.kind = ProgressEvent::Kind::excerpt,
                      .text = source_excerpt(context_.dockerfile, file, lines.first, lines.last)});
  }

  const std::optional<std::int64_t>& epoch() const { return epoch_; }

 private:
  Result<void> read_request() {
    for (const std::string& tag : request_.tags) {
      const Reference reference = TRY_CTX(Reference::parse(tag), "invalid tag \"" + tag + "\"");
      if (reference.digest())
        return fail(ErrorCode::invalid_argument, "invalid tag \"" + tag + "\": an image cannot be named by a digest");
    }
    outputs_ = TRY(read_outputs(request_));
    TRY(check_unset(request_.unset));
    attesting_ = TRY(read_attestations(request_));
    caches_ = TRY(read_cache_options(request_));
    started_on_ = format_time_now();
    for (const image::Platform& platform : request_.platforms)
      if (std::ranges::find(platforms_, platform) == platforms_.end()) platforms_.push_back(platform);
    if (platforms_.empty()) platforms_.push_back(image::Platform::host());
    return {};
  }

  Result<void> read_sources() {
    const SourceContext sources{.store = store_,
                                .network = images_,
                                .build = request_,
                                .secrets = secrets_,
                                .progress = progress_,
                                .cancel = cancel_};
    context_ = TRY(open_main_context(request_, sources, numbers_));
    TRY(read_definition(request_, context_, numbers_, progress_));
    linter_ = Linter(TRY(check_options(context_.dockerfile, request_.build_args)));
    return {};
  }

  PlanOptions options_for(const image::Platform& platform) const {
    PlanOptions options = plan_options(request_, context_, named_contexts_, platform);
    for (auto& [name, value] : options.build_args)  // "context" has become a number
      if (name == "SOURCE_DATE_EPOCH" && epoch_) value = std::to_string(*epoch_);
    if (epoch_is_declared_ && epoch_) options.build_args.emplace_back("SOURCE_DATE_EPOCH", std::to_string(*epoch_));
    return options;
  }

  /// ARG SOURCE_DATE_EPOCH=context before the first FROM. That of a stage or of a named context is refused: its time
  /// would have to be fetched first.
  Result<void> read_declared_epoch(const Dockerfile& dockerfile) {
    const bool given =
        std::getenv("SOURCE_DATE_EPOCH") != nullptr ||
        std::ranges::any_of(request_.build_args, [](const auto& arg) { return arg.first == "SOURCE_DATE_EPOCH"; });
    if (given) return {};
    for (const Instruction& instruction : dockerfile.global_args)
      for (const KeyValue& arg : std::get<ArgInstruction>(instruction.body).args) {
        if (arg.key != "SOURCE_DATE_EPOCH" || arg.value.empty()) continue;
        epoch_is_declared_ = arg.value == "context";
        const bool named =
            request_.named_contexts.end() !=
            std::ranges::find(request_.named_contexts, arg.value, [](const auto& item) { return item.first; });
        const bool stage = std::ranges::any_of(
            dockerfile.stages, [&](const Stage& candidate) { return candidate.from.alias == to_lower(arg.value); });
        if (!epoch_is_declared_ && (named || stage))
          return Failure(
              Error(ErrorCode::unsupported, "SOURCE_DATE_EPOCH of a stage or a named context is not supported")
                  .with_location(context_.dockerfile_name + ":" + std::to_string(instruction.line))
                  .with_hint("give seconds, or \"context\""));
      }
    if (epoch_is_declared_) epoch_ = context_.time;
    return {};
  }

  Result<void> make_plan() {
    const Dockerfile dockerfile = TRY(
        parse_dockerfile(context_.dockerfile, context_.dockerfile_name, linter_, syntax_argument(request_.build_args)));
    epoch_ = TRY(source_date_epoch(request_, context_.time));
    TRY(read_declared_epoch(dockerfile));
    named_contexts_ = TRY(read_named_contexts(request_));
    std::vector<BaseImage> needed;
    for (const image::Platform& platform : platforms_)
      for (BaseImage& image : TRY(base_images(dockerfile, options_for(platform)))) needed.push_back(std::move(image));
    fetch_bases(bases_, needed);
    const auto resolve = [&](const Reference& reference,
                             const image::Platform& platform) -> Result<image::ImageConfig> {
      const store::LoadedImage* image = TRY(bases_.get(reference, platform));
      return image->config;
    };
    for (const image::Platform& platform : platforms_) {
      PlanOptions options = options_for(platform);
      if (plans_.empty()) {  // the others would find the same
        options.linter = linter_;
        options.ignore = &context_.ignore;
      }
      plans_.push_back(TRY(plan_build(dockerfile, options, resolve)));
    }
    if (!epoch_) epoch_ = plans_.front().source_date_epoch;  // a global ARG of the Dockerfile
    TRY(linter_.verdict(context_.dockerfile_name));
    for (const std::string& warning : plans_.front().warnings)
      progress_.report({.kind = ProgressEvent::Kind::message, .text = "WARN: " + warning});
    merged_ = merge_plans(plans_, platforms_);
    TRY(check_emulation(merged_.plan));
    TRY(check_entitlements(request_, merged_.plan));
    return check_shell(request_, merged_.plan);
  }

  Result<void> run_steps() {
    const Plan& plan = merged_.plan;
    std::map<std::string, BuildContext> directories;
    std::map<std::string, SourceTree> locals = {
        {"context", {.root = context_.directory, .is_context = true, .ignore = &context_.ignore}}};
    for (const auto& [name, value] : named_contexts_) {
      if (value.kind != ContextSource::Kind::directory) continue;
      const BuildContext& directory =
          directories.emplace(name, TRY(open_named_directory(name, value.value))).first->second;
      locals[name] = {.root = directory.directory, .is_context = true, .ignore = &directory.ignore};
    }
    const bool remember = !context_.unpacked && !context_.is_remote;
    const LocalContent content = TRY(load_local_content(store_, plan, locals, remember, numbers_, progress_, cancel_));
    CacheImport imported(store_, registry_, progress_, cancel_);
    if (!request_.no_cache) TRY(imported.load(caches_.from, numbers_));
    SolveRequest solving{.store = store_,
                         .executor = executor_,
                         .images = images_,
                         .locals = locals,
                         .contents = content.copies,
                         .mounted = content.mounted,
                         .secrets = secrets_,
                         .build = request_,
                         .first_id = numbers_.reserve(static_cast<int>(plan.vertices.size())),
                         .import_record = {},
                         .base_layers = [&](const SourceOp& source) -> Result<std::vector<DiffId>> {
                           const store::LoadedImage* image = TRY(bases_.get(*source.reference, source.platform));
                           return image->config.diff_ids;
                         }};
    if (!imported.empty()) solving.import_record = [&](const std::string& key) { return imported.find(key); };
    results_ = TRY(solve(plan, solving, progress_, cancel_));
    return {};
  }

  Result<void> finish_images() {
    for (std::size_t i = 0; i < plans_.size(); ++i) {
      const int result = merged_.results[i];
      const SourceOp& source = base_of(merged_.plan, result);
      const store::LoadedImage* base = nullptr;
      if (source.reference) base = TRY(bases_.get(*source.reference, source.platform));
      const FinishRequest finishing{.plan = merged_.plan,
                                    .result = result,
                                    .config = plans_[i].config,
                                    .platform = platforms_[i],
                                    .results = results_,
                                    .base = base,
                                    .build = request_,
                                    .epoch = epoch_};
      built_.push_back(TRY(finish_image(store_, finishing, progress_, cancel_)));
      built_.back().inline_cache = caches_.in_image;
      if (!attesting_.provenance && !attesting_.sbom) continue;
      const ProvenanceFacts facts{.build = request_,
                                  .options = attesting_,
                                  .plan = merged_.plan,
                                  .result = result,
                                  .materials = TRY(materials_of(merged_.plan, result, bases_)),
                                  .dockerfile_name = context_.dockerfile_name,
                                  .dockerfile = context_.dockerfile,
                                  .started_on = started_on_,
                                  .finished_on = format_time_now()};
      built_.back().attestations = TRY(attest(store_, built_.back(), facts, cancel_));
    }
    return {};
  }

  Result<BuildResult> export_all() {
    const ExportRequest exporting{.store = store_,
                                  .registry = registry_,
                                  .outputs = outputs_,
                                  .images = built_,
                                  .epoch = epoch_,
                                  .numbers = numbers_};
    BuildResult result = TRY(export_images(exporting, progress_, cancel_));
    result.steps = steps_of(merged_.plan, results_, built_);
    for (const BuiltImage& image : built_)
      for (const Attestation& attestation : image.attestations)
        if (attestation.file_name == "provenance.json")
          result.provenance.emplace_back(image.platform.to_string(), attestation.predicate);
    const CacheExport cache{.store = store_,
                            .registry = registry_,
                            .plan = merged_.plan,
                            .results = merged_.results,
                            .steps = results_,
                            .to = caches_.to,
                            .numbers = numbers_};
    TRY(export_caches(cache, progress_, cancel_));
    return result;
  }

  store::Store& store_;
  Executor& executor_;
  ImageSource& images_;
  const BuildRequest& request_;
  ProgressSink& progress_;
  const CancelToken& cancel_;
  Registry* registry_;
  StepNumbers numbers_;
  Bases bases_;
  Secrets secrets_;

  std::vector<OutputOptions> outputs_;
  AttestOptions attesting_;
  CacheOptions caches_;
  std::string started_on_;
  std::vector<image::Platform> platforms_;

  BuildContext context_;
  Linter linter_;
  std::optional<std::int64_t> epoch_;
  bool epoch_is_declared_ = false;  ///< by the Dockerfile, as its context's time
  std::map<std::string, ContextSource> named_contexts_;

  std::vector<Plan> plans_;  ///< one a platform
  MergedPlan merged_;
  std::vector<StepResult> results_;
  std::vector<BuiltImage> built_;
};

}  // namespace

Result<HttpAnswer> ImageSource::download(const HttpRequest& request, ProgressSink&, const CancelToken&) {
  return fail(ErrorCode::unsupported, "cannot fetch \"" + request.url + "\": there is no network client");
}

Result<BuildResult> build(store::Store& store, Executor& executor, ImageSource& images, const BuildRequest& request,
                          ProgressSink& progress, const CancelToken& cancel, Registry* registry) {
  if (request.verify_reproducible && request.context_tar.valid())
    return fail(ErrorCode::invalid_argument, "--verify-reproducible: a context from \"-\" can be read only once");
  const store::Store::Lease lease = TRY(store.lease());  // both builds' layers stay until they are compared
  Build first(store, executor, images, request, progress, cancel, registry);
  auto result = first.run();
  first.report_findings(result ? nullptr : &result.error());
  if (result && request.verify_reproducible)
    TRY(verify_reproducible(store, request, *result, first.epoch(), progress,
                            [&](const BuildRequest& again, ProgressSink& silent) {
                              return Build(store, executor, images, again, silent, cancel, nullptr).run();
                            }));
  return result;
}

}  // namespace dray::builder
