// SPDX-License-Identifier: Apache-2.0
// The builder's services: the executor of RUN steps (build_executor.cpp), and the image source, which looks into the
// store and, failing that, asks the registry helper.
#include <ctime>

#include "build_cache.hpp"
#include "build_executor.hpp"
#include "build_registry.hpp"
#include "images_private.hpp"
#include "layout_contexts.hpp"
#include "platform_images.hpp"
#include "registry_process.hpp"

namespace dray::engine {
namespace {

class StoreThenRegistry : public builder::ImageSource {
 public:
  explicit StoreThenRegistry(Context& context) : context_(context) {}

  Result<store::LoadedImage> resolve(const Reference& reference, const image::Platform& platform, bool always_pull,
                                     ProgressSink& progress, const CancelToken& cancel) override {
    if (!always_pull || LayoutContexts::is_own(reference)) {
      auto found = TRY(find_platform_image(context_, reference, platform));
      if (found) {
        TRY(unpack_image(context_, *found));
        return *std::move(found);
      }
    }
    // By its ID: another platform of the same name may be pulled at our side.
    const PullSummary pulled = TRY(pull_image(context_, reference.canonical(), platform, progress, cancel));
    const store::ImageRecord record = TRY(context_.store->resolve_image(pulled.image_id.to_string()));
    return context_.store->load_image(record);
  }

  Result<builder::HttpAnswer> download(const builder::HttpRequest& request, ProgressSink& progress,
                                       const CancelToken& cancel) override {
    return fetch_file(request, progress, cancel);
  }

 private:
  Context& context_;
};

}  // namespace

Result<builder::BuildResult> build_image(Context& context, const builder::BuildRequest& request,
                                         const BuildOptions& options, ProgressSink& progress,
                                         const CancelToken& cancel) {
  const std::int64_t started = ::time(nullptr);
  auto result = [&]() -> Result<builder::BuildResult> {
    store::Store::Lease lease = TRY(context.store->lease());
    BuildExecutor executor(context, options);
    StoreThenRegistry images(context);
    BuildRegistry registry(context);
    LayoutContexts layouts(context);
    const builder::BuildRequest resolved = TRY(layouts.bring_in(request, cancel));
    return builder::build(*context.store, executor, images, resolved, progress, cancel, &registry);
  }();
  // The image is made; a cache that could not be trimmed is no reason to fail.
  auto limited = cancel.cancelled() ? Result<void>() : apply_build_cache_limits(context, started);
  if (!limited)
    progress.report({.kind = ProgressEvent::Kind::message,
                     .text = "WARN: the build cache could not be trimmed: " + limited.error().to_string()});
  return result;
}

Result<builder::LintReport> check_build(Context& context, const builder::BuildRequest& request, ProgressSink& progress,
                                        const CancelToken& cancel) {
  StoreThenRegistry images(context);
  LayoutContexts layouts(context);
  const builder::BuildRequest resolved = TRY(layouts.bring_in(request, cancel));
  return builder::check_build(*context.store, images, resolved, progress, cancel);
}

Result<builder::Outline> outline_build(Context& context, const builder::BuildRequest& request, ProgressSink& progress,
                                       const CancelToken& cancel) {
  StoreThenRegistry images(context);
  LayoutContexts layouts(context);
  const builder::BuildRequest resolved = TRY(layouts.bring_in(request, cancel));
  return builder::outline_build(*context.store, images, resolved, progress, cancel);
}

}  // namespace dray::engine
