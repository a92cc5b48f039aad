// SPDX-License-Identifier: Apache-2.0
// A build from end to end: context and Dockerfile, base images, plan, solver, image. Holds the store's lease
// throughout, so that nothing it made or found is collected before an image refers to it.
#include <dray/builder/builder.hpp>

#include <algorithm>
#include <mutex>
#include <thread>

#include <dray/core/rooted_path.hpp>

#include "context/context.hpp"
#include "dockerfile/dockerfile.hpp"
#include "export/export.hpp"
#include "plan/planner.hpp"
#include "progress_step.hpp"
#include "solve/solver.hpp"

namespace dray::builder {
namespace {

/// A pull's own steps, shown as the state of the one step that waits for it.
class AsStatus : public ProgressSink {
 public:
  AsStatus(ProgressSink& outer, int id) : outer_(outer), id_(id) {}
  void report(const ProgressEvent& event) override {
    if (event.kind == ProgressEvent::Kind::message) return outer_.report(event);
    if (event.kind != ProgressEvent::Kind::status) return;
    ProgressEvent copy = event;
    copy.id = id_;
    outer_.report(copy);
  }

 private:
  ProgressSink& outer_;
  int id_;
};

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
    AsStatus status(progress_, id);
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
  const auto fetch = [&](const BaseImage& base) { (void)bases.get(base.reference, base.platform); };
  std::vector<std::thread> threads;
  for (std::size_t i = 1; i < needed.size(); ++i) threads.emplace_back(fetch, std::cref(needed[i]));
  if (!needed.empty()) fetch(needed.front());
  for (std::thread& thread : threads) thread.join();
}

/// What the plan reads of the user's directories.
struct LocalContent {
  std::map<int, CopyContent> copies;                                        ///< by vertex
  std::map<std::pair<int, std::size_t>, std::vector<std::string>> mounted;  ///< digests, by vertex and mount
};

bool is_local(const Plan& plan, const Vertex& vertex, int input) {
  if (input < 0 || static_cast<std::size_t>(input) >= vertex.inputs.size()) return false;
  const int id = vertex.inputs[static_cast<std::size_t>(input)];
  return std::holds_alternative<LocalOp>(plan.vertices[static_cast<std::size_t>(id)].op);
}

bool reads_local(const Plan& plan, const Vertex& vertex) {
  if (std::holds_alternative<CopyOp>(vertex.op)) return is_local(plan, vertex, 1);
  const auto* run = std::get_if<RunOp>(&vertex.op);
  return run != nullptr && std::any_of(run->mounts.begin(), run->mounts.end(),
                                       [&](const RunMount& mount) { return is_local(plan, vertex, mount.input); });
}

Result<void> read_local(const Plan& plan, const Vertex& vertex, const SourceTree& tree, FileDigests* memory,
                        LocalContent& content, const CancelToken& cancel) {
  if (const auto* copy = std::get_if<CopyOp>(&vertex.op)) {
    content.copies[vertex.id] = TRY(read_copy_content(tree, copy->paths, copy->exclude, memory, cancel, copy->parents));
    return {};
  }
  const std::vector<RunMount>& mounts = std::get<RunOp>(vertex.op).mounts;
  for (std::size_t i = 0; i < mounts.size(); ++i) {
    if (!is_local(plan, vertex, mounts[i].input)) continue;
    const std::string source = mounts[i].type == RunMount::Type::cache ? "/" : mounts[i].source;
    content.mounted[{vertex.id, i}] = TRY(read_mount_content(tree, source, memory, cancel)).digests;
  }
  return {};
}

/// What each COPY and each bind mount from the context reads. All before the first step runs: a name with a typing
/// error should not cost the minutes of the steps above it.
Result<LocalContent> load_context(store::Store& store, const Plan& plan, const SourceTree& tree, bool remember,
                                  StepNumbers& numbers, ProgressSink& progress, const CancelToken& cancel) {
  LocalContent content;
  std::vector<const Vertex*> readers;
  for (const Vertex& vertex : plan.vertices)
    if (reads_local(plan, vertex)) readers.push_back(&vertex);
  if (readers.empty()) return content;
  const int id = numbers.reserve();
  auto loaded = as_step(progress, id, "[internal] load build context", [&]() -> Result<void> {
    std::optional<FileDigests> memory;
    if (remember && tree.root.valid()) memory = TRY(FileDigests::load(store.database(), tree.root));
    for (const Vertex* vertex : readers) {
      auto read = read_local(plan, *vertex, tree, memory ? &*memory : nullptr, content, cancel);
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

const SourceOp& base_of(const Plan& plan) {
  const Vertex* vertex = &plan.vertices[static_cast<std::size_t>(plan.result)];
  while (!vertex->inputs.empty()) vertex = &plan.vertices[static_cast<std::size_t>(vertex->inputs.front())];
  return std::get<SourceOp>(vertex->op);
}

PlanOptions plan_options(const BuildRequest& request) {
  PlanOptions options;
  options.build_args = request.build_args;
  options.labels = request.labels;
  options.target = request.target;
  options.network = request.network;
  if (!request.platforms.empty()) options.platform = request.platforms.front();
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

}  // namespace

Result<HttpAnswer> ImageSource::download(const HttpRequest& request, ProgressSink&, const CancelToken&) {
  return fail(ErrorCode::unsupported, "cannot fetch \"" + request.url + "\": there is no network client");
}

Result<BuildResult> build(store::Store& store, Executor& executor, ImageSource& images, const BuildRequest& request,
                          ProgressSink& progress, const CancelToken& cancel) {
  for (const std::string& tag : request.tags) {
    const Reference reference = TRY_CTX(Reference::parse(tag), "invalid tag \"" + tag + "\"");
    if (reference.digest())
      return fail(ErrorCode::invalid_argument, "invalid tag \"" + tag + "\": an image cannot be named by a digest");
  }
  const store::Store::Lease lease = TRY(store.lease());
  StepNumbers numbers;
  BuildContext context = TRY(open_context(request, store.root() + "/tmp", cancel));
  TRY(read_definition(request, context, numbers, progress));
  const Dockerfile dockerfile = TRY(parse_dockerfile(context.dockerfile, context.dockerfile_name));
  const PlanOptions options = plan_options(request);

  Bases bases(images, request.always_pull, numbers, progress, cancel);
  const std::vector<BaseImage> needed = TRY(base_images(dockerfile, options));
  fetch_bases(bases, needed);
  const auto resolve = [&](const Reference& reference, const image::Platform& platform) -> Result<image::ImageConfig> {
    const store::LoadedImage* image = TRY(bases.get(reference, platform));
    return image->config;
  };
  const Plan plan = TRY(plan_build(dockerfile, options, resolve));
  for (const std::string& warning : plan.warnings)
    progress.report({.kind = ProgressEvent::Kind::message, .text = "WARN: " + warning});

  TRY(check_entitlements(request, plan));

  const std::map<std::string, SourceTree> locals = {
      {"context", {.root = context.directory, .is_context = true, .ignore = &context.ignore}}};
  const LocalContent content =
      TRY(load_context(store, plan, locals.at("context"), !context.unpacked, numbers, progress, cancel));
  Secrets secrets(request.secrets);
  const SolveRequest solving{.store = store,
                             .executor = executor,
                             .images = images,
                             .build = request,
                             .locals = locals,
                             .contents = content.copies,
                             .mounted = content.mounted,
                             .secrets = secrets,
                             .first_id = numbers.reserve(static_cast<int>(plan.vertices.size())),
                             .base_layers = [&](const SourceOp& source) -> Result<std::vector<DiffId>> {
                               const store::LoadedImage* image = TRY(bases.get(*source.reference, source.platform));
                               return image->config.diff_ids;
                             }};
  const std::vector<StepResult> results = TRY(solve(plan, solving, progress, cancel));

  const SourceOp& source = base_of(plan);
  const store::LoadedImage* base = nullptr;
  if (source.reference) base = TRY(bases.get(*source.reference, source.platform));
  if (cancel.cancelled()) return fail(ErrorCode::cancelled, "build cancelled");
  const int id = numbers.reserve();
  const ExportRequest exporting{.plan = plan, .results = results, .base = base, .build = request, .step_id = id};
  return as_step(progress, id, "exporting to image", [&] { return export_image(store, exporting, progress); });
}

}  // namespace dray::builder
