// SPDX-License-Identifier: Apache-2.0
// A build from end to end: context and Dockerfile, base images, plan, solver, image. Holds the store's lease
// throughout, so that nothing it made or found is collected before an image refers to it.
#include <dray/builder/builder.hpp>

#include <algorithm>
#include <mutex>

#include <dray/core/parallel.hpp>
#include <dray/core/percent.hpp>
#include <dray/core/rooted_path.hpp>

#include "attest/attest.hpp"
#include "cache_transfer/cache_transfer.hpp"
#include "context/context.hpp"
#include "context/remote.hpp"
#include "dockerfile/dockerfile.hpp"
#include "export/export.hpp"
#include "export/unset.hpp"
#include "lint/excerpt.hpp"
#include "plan/merge_plans.hpp"
#include "plan/planner.hpp"
#include "progress_step.hpp"
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
    if (cancel_.cancelled()) return fail(ErrorCode::cancelled, "build cancelled");
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

/// What the plan reads of the user's directories.
struct LocalContent {
  std::map<int, CopyContent> copies;                           ///< by vertex
  std::map<std::pair<int, std::size_t>, CopyContent> mounted;  ///< by vertex and mount
};

bool is_local(const Plan& plan, const Vertex& vertex, int input) {
  if (input < 0 || static_cast<std::size_t>(input) >= vertex.inputs.size()) return false;
  const int id = vertex.inputs[static_cast<std::size_t>(input)];
  return std::holds_alternative<LocalOp>(plan.vertices[static_cast<std::size_t>(id)].op);
}

/// A COPY reads at most one of the user's directories.
int local_input(const Plan& plan, const Vertex& vertex) {
  for (int input = 1; input < static_cast<int>(vertex.inputs.size()); ++input)
    if (is_local(plan, vertex, input)) return input;
  return -1;
}

bool reads_local(const Plan& plan, const Vertex& vertex) {
  if (std::holds_alternative<CopyOp>(vertex.op)) return local_input(plan, vertex) > 0;
  const auto* run = std::get_if<RunOp>(&vertex.op);
  return run != nullptr && std::any_of(run->mounts.begin(), run->mounts.end(),
                                       [&](const RunMount& mount) { return is_local(plan, vertex, mount.input); });
}

/// The name of the user's directory that is an input.
const std::string& local_name(const Plan& plan, const Vertex& vertex, int input) {
  const int id = vertex.inputs[static_cast<std::size_t>(input)];
  return std::get<LocalOp>(plan.vertices[static_cast<std::size_t>(id)].op).name;
}

/// `memory`: of the main context's files.
Result<void> read_local(const Plan& plan, const Vertex& vertex, const std::map<std::string, SourceTree>& trees,
                        FileDigests* memory, LocalContent& content, const CancelToken& cancel) {
  const auto memory_of = [&](const std::string& name) { return name == "context" ? memory : nullptr; };
  if (const auto* copy = std::get_if<CopyOp>(&vertex.op)) {
    const int input = local_input(plan, vertex);
    const std::string& name = local_name(plan, vertex, input);
    content.copies[vertex.id] = TRY(read_copy_content(trees.at(name), *copy, input, memory_of(name), cancel));
    return {};
  }
  const std::vector<RunMount>& mounts = std::get<RunOp>(vertex.op).mounts;
  for (std::size_t i = 0; i < mounts.size(); ++i) {
    if (!is_local(plan, vertex, mounts[i].input)) continue;
    const std::string source = mounts[i].type == RunMount::Type::cache ? "/" : mounts[i].source;
    const std::string& name = local_name(plan, vertex, mounts[i].input);
    content.mounted[{vertex.id, i}] = TRY(read_mount_content(trees.at(name), source, memory_of(name), cancel));
  }
  return {};
}

/// What each COPY and each bind mount from the context reads. All before the first step runs: a name with a typing
/// error should not cost the minutes of the steps above it.
Result<LocalContent> load_context(store::Store& store, const Plan& plan, std::map<std::string, SourceTree> trees,
                                  bool remember, StepNumbers& numbers, ProgressSink& progress,
                                  const CancelToken& cancel) {
  const SourceTree& tree = trees.at("context");
  LocalContent content;
  std::vector<const Vertex*> readers;
  for (const Vertex& vertex : plan.vertices)
    if (reads_local(plan, vertex)) readers.push_back(&vertex);
  if (readers.empty()) return content;
  const int id = numbers.reserve();
  ScanProgress scanned([&](std::uint64_t listed, std::uint64_t looked_at) {
    report_status(progress, id,
                  "context: " + std::to_string(listed) + " files listed, " + std::to_string(looked_at) + " looked at");
  });
  for (auto& [name, local] : trees) local.progress = &scanned;
  auto loaded = as_step(progress, id, "[internal] load build context", [&]() -> Result<void> {
    std::optional<FileDigests> memory;
    if (remember && tree.root.valid()) memory = TRY(FileDigests::load(store.database(), tree.root));
    for (const Vertex* vertex : readers) {
      auto read = read_local(plan, *vertex, trees, memory ? &*memory : nullptr, content, cancel);
      if (!read) {
        Error error = std::move(read).error().with_location(vertex->location.to_string());
        if (!tree.root.valid()) error = std::move(error).with_hint("the build has no context");
        return Failure(std::move(error));
      }
    }
    report_status(progress, id, "transferring context: " + short_size(memory ? memory->bytes_read() : 0));
    return memory ? memory->save() : Result<void>();
  });
  if (!loaded) return Failure(std::move(loaded).error());
  return content;
}

Result<void> check_entitlement(const BuildRequest& request, const Vertex& vertex, const std::string& name,
                               const std::string& what) {
  for (const std::string& allowed : request.allowed)
    if (allowed == name) return {};
  return Failure(Error(ErrorCode::permission_denied, what + " is not allowed")
                     .with_hint("grant the entitlement: --allow " + name)
                     .with_location(vertex.location.to_string()));
}

/// Before anything runs. What a Dockerfile asks for beyond a container's usual rights is for the user to grant.
Result<void> check_entitlements(const BuildRequest& request, const Plan& plan) {
  for (const Vertex& vertex : plan.vertices) {
    const auto* run = std::get_if<RunOp>(&vertex.op);
    if (run == nullptr) continue;
    if (run->insecure) TRY(check_entitlement(request, vertex, "security.insecure", "RUN --security=insecure"));
    if (run->network == "host" && request.network != "host")
      TRY(check_entitlement(request, vertex, "network.host", "RUN --network=host"));
    for (const std::string& device : run->devices) {
      const bool named =
          std::find(request.allowed.begin(), request.allowed.end(), "device=" + device) != request.allowed.end();
      if (!named) TRY(check_entitlement(request, vertex, "device", "RUN --device=" + device));
    }
  }
  return {};
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

PlanOptions plan_options(const BuildRequest& request, const image::Platform& platform) {
  PlanOptions options;
  options.build_args = request.build_args;
  options.labels = request.labels;
  options.target = request.target;
  options.network = request.network;
  options.platform = platform;
  options.created = format_time_now();
  return options;
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

/// The checks' findings belong to the first step, which read the Dockerfile. An error gets the lines it is about.
void report_findings(const BuildContext& context, const Linter& linter, const Error* error, ProgressSink& progress) {
  const std::string& file = context.dockerfile_name;
  for (const LintWarning& found : linter.warnings()) {
    ProgressEvent event{.kind = ProgressEvent::Kind::warning, .id = 1, .name = found.to_string()};
    event.text = found.description;
    event.source = {file,       found.url,      source_excerpt(context.dockerfile, file, found.line, found.end_line),
                    found.line, found.end_line, found.level};
    progress.report(event);
  }
  const int line = error != nullptr ? error_line(*error, file) : 0;
  if (line == 0) return;
  const LineRange lines = instruction_lines(context.dockerfile, line);
  progress.report({.kind = ProgressEvent::Kind::excerpt,
                   .text = source_excerpt(context.dockerfile, file, lines.first, lines.last)});
}

}  // namespace

Result<HttpAnswer> ImageSource::download(const HttpRequest& request, ProgressSink&, const CancelToken&) {
  return fail(ErrorCode::unsupported, "cannot fetch \"" + request.url + "\": there is no network client");
}

static Result<BuildResult> build_dockerfile(store::Store& store, Executor& executor, ImageSource& images,
                                            const BuildRequest& request, BuildContext& context, Linter& linter,
                                            ProgressSink& progress, const CancelToken& cancel, Registry* registry,
                                            std::optional<std::int64_t>& epoch) {
  for (const std::string& tag : request.tags) {
    const Reference reference = TRY_CTX(Reference::parse(tag), "invalid tag \"" + tag + "\"");
    if (reference.digest())
      return fail(ErrorCode::invalid_argument, "invalid tag \"" + tag + "\": an image cannot be named by a digest");
  }
  const std::vector<OutputOptions> outputs = TRY(read_outputs(request));
  TRY(check_unset(request.unset));
  const AttestOptions attesting = TRY(read_attestations(request));
  const CacheOptions caches = TRY(read_cache_options(request));
  const std::string started_on = format_time_now();
  std::vector<image::Platform> platforms;
  for (const image::Platform& platform : request.platforms)
    if (std::ranges::find(platforms, platform) == platforms.end()) platforms.push_back(platform);
  if (platforms.empty()) platforms.push_back(image::Platform::host());

  const store::Store::Lease lease = TRY(store.lease());
  StepNumbers numbers;
  Secrets secrets(request.secrets);
  const SourceContext sources{
      .store = store, .network = images, .build = request, .secrets = secrets, .progress = progress, .cancel = cancel};
  context = TRY(open_main_context(request, sources, numbers));
  TRY(read_definition(request, context, numbers, progress));
  linter = Linter(TRY(check_options(context.dockerfile, request.build_args)));
  const Dockerfile dockerfile =
      TRY(parse_dockerfile(context.dockerfile, context.dockerfile_name, linter, syntax_argument(request.build_args)));
  epoch = TRY(source_date_epoch(request, context.time));
  const auto named_contexts = TRY(read_named_contexts(request));
  const auto options_for = [&](const image::Platform& platform) {
    PlanOptions options = plan_options(request, platform);
    if (context.is_git) options.context = {ContextSource::Kind::git, request.context_url};
    options.named_contexts = named_contexts;
    for (auto& [name, value] : options.build_args)  // "context" has become a number
      if (name == "SOURCE_DATE_EPOCH" && epoch) value = std::to_string(*epoch);
    return options;
  };

  Bases bases(images, request.always_pull, numbers, progress, cancel);
  std::vector<BaseImage> needed;
  for (const image::Platform& platform : platforms)
    for (BaseImage& image : TRY(base_images(dockerfile, options_for(platform)))) needed.push_back(std::move(image));
  fetch_bases(bases, needed);
  const auto resolve = [&](const Reference& reference, const image::Platform& platform) -> Result<image::ImageConfig> {
    const store::LoadedImage* image = TRY(bases.get(reference, platform));
    return image->config;
  };
  std::vector<Plan> plans;
  for (const image::Platform& platform : platforms) {
    PlanOptions options = options_for(platform);
    if (plans.empty()) {  // the others would find the same
      options.linter = linter;
      options.ignore = &context.ignore;
    }
    plans.push_back(TRY(plan_build(dockerfile, options, resolve)));
  }
  if (!epoch) epoch = plans.front().source_date_epoch;  // a global ARG of the Dockerfile
  TRY(linter.verdict(context.dockerfile_name));
  for (const std::string& warning : plans.front().warnings)
    progress.report({.kind = ProgressEvent::Kind::message, .text = "WARN: " + warning});
  const MergedPlan merged = merge_plans(plans, platforms);
  const Plan& plan = merged.plan;
  TRY(check_emulation(plan));

  TRY(check_entitlements(request, plan));
  TRY(check_shell(request, plan));

  std::map<std::string, BuildContext> directories;
  std::map<std::string, SourceTree> locals = {
      {"context", {.root = context.directory, .is_context = true, .ignore = &context.ignore}}};
  for (const auto& [name, value] : named_contexts) {
    if (value.kind != ContextSource::Kind::directory) continue;
    const BuildContext& directory =
        directories.emplace(name, TRY(open_named_directory(name, value.value))).first->second;
    locals[name] = {.root = directory.directory, .is_context = true, .ignore = &directory.ignore};
  }
  const bool remember = !context.unpacked && !context.is_remote;
  const LocalContent content = TRY(load_context(store, plan, locals, remember, numbers, progress, cancel));
  CacheImport imported(store, registry, progress, cancel);
  if (!request.no_cache) TRY(imported.load(caches.from, numbers));
  SolveRequest solving{.store = store,
                       .executor = executor,
                       .images = images,
                       .locals = locals,
                       .contents = content.copies,
                       .mounted = content.mounted,
                       .secrets = secrets,
                       .build = request,
                       .first_id = numbers.reserve(static_cast<int>(plan.vertices.size())),
                       .import_record = {},
                       .base_layers = [&](const SourceOp& source) -> Result<std::vector<DiffId>> {
                         const store::LoadedImage* image = TRY(bases.get(*source.reference, source.platform));
                         return image->config.diff_ids;
                       }};
  if (!imported.empty()) solving.import_record = [&](const std::string& key) { return imported.find(key); };
  const std::vector<StepResult> results = TRY(solve(plan, solving, progress, cancel));

  std::vector<BuiltImage> built;
  for (std::size_t i = 0; i < plans.size(); ++i) {
    const SourceOp& source = base_of(plan, merged.results[i]);
    const store::LoadedImage* base = nullptr;
    if (source.reference) base = TRY(bases.get(*source.reference, source.platform));
    const FinishRequest finishing{.plan = plan,
                                  .result = merged.results[i],
                                  .config = plans[i].config,
                                  .platform = platforms[i],
                                  .results = results,
                                  .base = base,
                                  .build = request,
                                  .epoch = epoch};
    built.push_back(TRY(finish_image(store, finishing, progress, cancel)));
    built.back().inline_cache = caches.in_image;
    if (!attesting.provenance && !attesting.sbom) continue;
    const ProvenanceFacts facts{.build = request,
                                .options = attesting,
                                .plan = plan,
                                .result = merged.results[i],
                                .materials = TRY(materials_of(plan, merged.results[i], bases)),
                                .dockerfile_name = context.dockerfile_name,
                                .dockerfile = context.dockerfile,
                                .started_on = started_on,
                                .finished_on = format_time_now()};
    built.back().attestations = TRY(attest(store, built.back(), facts, cancel));
  }
  if (cancel.cancelled()) return fail(ErrorCode::cancelled, "build cancelled");
  const ExportRequest exporting{
      .store = store, .registry = registry, .outputs = outputs, .images = built, .epoch = epoch, .numbers = numbers};
  BuildResult result = TRY(export_images(exporting, progress, cancel));
  result.steps = steps_of(plan, results, built);
  for (const BuiltImage& image : built)
    for (const Attestation& attestation : image.attestations)
      if (attestation.file_name == "provenance.json")
        result.provenance.emplace_back(image.platform.to_string(), attestation.predicate);
  const CacheExport cache{.store = store,
                          .registry = registry,
                          .plan = plan,
                          .results = merged.results,
                          .steps = results,
                          .to = caches.to,
                          .numbers = numbers};
  TRY(export_caches(cache, progress, cancel));
  return result;
}

Result<BuildResult> build(store::Store& store, Executor& executor, ImageSource& images, const BuildRequest& request,
                          ProgressSink& progress, const CancelToken& cancel, Registry* registry) {
  if (request.verify_reproducible && request.context_tar.valid())
    return fail(ErrorCode::invalid_argument, "--verify-reproducible: a context from \"-\" can be read only once");
  const store::Store::Lease lease = TRY(store.lease());  // both builds' layers stay until they are compared
  BuildContext context;
  Linter linter;
  std::optional<std::int64_t> epoch;
  auto result = build_dockerfile(store, executor, images, request, context, linter, progress, cancel, registry, epoch);
  report_findings(context, linter, result ? nullptr : &result.error(), progress);
  if (result && request.verify_reproducible)
    TRY(verify_reproducible(store, request, *result, epoch, progress,
                            [&](const BuildRequest& again, ProgressSink& silent) {
                              BuildContext another;
                              Linter other_linter;
                              return build_dockerfile(store, executor, images, again, another, other_linter, silent,
                                                      cancel, nullptr, epoch);
                            }));
  return result;
}

}  // namespace dray::builder
