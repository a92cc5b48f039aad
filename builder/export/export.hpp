// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include <dray/builder/builder.hpp>

#include "export/layers.hpp"
#include "export/output_options.hpp"
#include "plan/plan.hpp"
#include "progress_step.hpp"
#include "solve/solver.hpp"

namespace dray::builder {

/// A document about an image: an in-toto statement's type and its predicate as JSON.
struct Attestation {
  std::string predicate_type, predicate, file_name;
};

/// What one platform's build has come to.
struct BuiltImage {
  image::Platform platform;
  image::ImageConfig config;          ///< whole: diffIDs, history, times
  std::vector<ImageLayer> base, own;  ///< bottom first
  std::vector<Attestation> attestations;
  std::vector<std::vector<std::string>> own_keys;  ///< of each own layer, its keys in the cache; empty after --squash
  bool inline_cache = false;                       ///< the config is to hold them

  std::vector<DiffId> rootfs() const;
};

struct FinishRequest {
  const Plan& plan;
  int result;  ///< the vertex
  const image::ImageConfig& config;
  const image::Platform& platform;
  const std::vector<StepResult>& results;  ///< by vertex
  const store::LoadedImage* base;          ///< of the result; nullptr: scratch
  const BuildRequest& build;
  std::optional<std::int64_t> epoch;  ///< SOURCE_DATE_EPOCH
};

/// Layers, history and times put together; --squash and --unset applied. All times come from what is in the image (the
/// newest file of each layer) or from SOURCE_DATE_EPOCH, never from the clock: equal content gives equal bytes.
Result<BuiltImage> finish_image(store::Store& store, const FinishRequest& request, ProgressSink& progress,
                                const CancelToken& cancel);

/// SOURCE_DATE_EPOCH as a build argument, or the environment's; "context" is `context_time`.
Result<std::optional<std::int64_t>> source_date_epoch(const BuildRequest& request,
                                                      std::optional<std::int64_t> context_time);

struct ExportRequest {
  store::Store& store;
  Registry* registry;  ///< may be nullptr
  const std::vector<OutputOptions>& outputs;
  const std::vector<BuiltImage>& images;
  std::optional<std::int64_t> epoch;
  StepNumbers& numbers;
};

/// Writes every output. The first failure ends it; what was written before stays.
Result<BuildResult> export_images(const ExportRequest& request, ProgressSink& progress, const CancelToken& cancel);

}  // namespace dray::builder
