// SPDX-License-Identifier: Apache-2.0
// A build from end to end: context and Dockerfile, base images, plan, solver, image. Holds the store's lease
// throughout, so that nothing it made or found is collected before an image refers to it.
#include <dray/builder/builder.hpp>

#include <mutex>

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

/// Base images, each resolved once a build. Thread-safe.
class Bases {
 public:
  Bases(ImageSource& images, bool always_pull, StepNumbers& numbers, ProgressSink& progress,
        const CancelToken& cancel)
      : images_(images), always_pull_(always_pull), numbers_(numbers), progress_(progress), cancel_(cancel) {}

  Result<const store::LoadedImage*> get(const Reference& reference, const image::Platform& platform) {
    const std::scoped_lock lock(mutex_);
    const std::string key = reference.canonical() + " " + platform.to_string();
    const auto known = images_by_key_.find(key);
    if (known != images_by_key_.end()) return &known->second;
    if (cancel_.cancelled()) return fail(ErrorCode::cancelled, "build cancelled");
    const int id = numbers_.reserve();
    AsStatus status(progress_, id);
    store::LoadedImage image =
        TRY(as_step(progress_, id, "[internal] load metadata for " + reference.canonical(), [&] {
          return images_.resolve(reference, platform, always_pull_, status, cancel_);
        }));
    return &images_by_key_.emplace(key, std::move(image)).first->second;
  }

 private:
  ImageSource& images_;
  bool always_pull_;
  StepNumbers& numbers_;
  ProgressSink& progress_;
  const CancelToken& cancel_;
  std::mutex mutex_;
  std::map<std::string, store::LoadedImage> images_by_key_;
};

bool reads_context(const Plan& plan) {
  for (const Vertex& vertex : plan.vertices) {
    const auto* copy = std::get_if<CopyOp>(&vertex.op);
    if (copy != nullptr && copy->from == CopyOp::From::context) return true;
  }
  return false;
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
  options.platform = request.platform;
  options.created = format_time_now();
  return options;
}

}  // namespace

Result<BuildResult> build(store::Store& store, Executor& executor, ImageSource& images, const BuildRequest& request,
                          ProgressSink& progress, const CancelToken& cancel) {
  for (const std::string& tag : request.tags) TRY_CTX(Reference::parse(tag), "invalid tag \"" + tag + "\"");
  const store::Store::Lease lease = TRY(store.lease());
  StepNumbers numbers;
  const BuildContext context =
      TRY(as_step(progress, numbers.reserve(), "[internal] load build definition from Dockerfile",
                  [&] { return open_context(request, store.root() + "/tmp", cancel); }));
  const Dockerfile dockerfile = TRY(parse_dockerfile(context.dockerfile, context.dockerfile_name));
  const PlanOptions options = plan_options(request);

  Bases bases(images, request.always_pull, numbers, progress, cancel);
  const auto resolve = [&](const Reference& reference, const image::Platform& platform) -> Result<image::ImageConfig> {
    const store::LoadedImage* image = TRY(bases.get(reference, platform));
    return image->config;
  };
  const std::vector<BaseImage> needed = TRY(base_images(dockerfile, options));
  for (const BaseImage& base : needed) TRY(bases.get(base.reference, base.platform));
  const Plan plan = TRY(plan_build(dockerfile, options, resolve));
  for (const std::string& warning : plan.warnings)
    progress.report({.kind = ProgressEvent::Kind::message, .text = warning});
  if (reads_context(plan) && context.directory.valid()) {
    TRY(as_step(progress, numbers.reserve(), "[internal] load build context", [] { return Result<void>(); }));
  }

  const SolveRequest solving{
      .store = store,
      .executor = executor,
      .context = context.directory,
      .ignore = context.ignore,
      .no_cache = request.no_cache,
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
  return as_step(progress, numbers.reserve(), "exporting to image",
                 [&] { return export_image(store, {.plan = plan, .results = results, .base = base, .build = request}); });
}

}  // namespace dray::builder
