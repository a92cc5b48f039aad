// SPDX-License-Identifier: Apache-2.0
// Makes the image of a finished build. Its times come from the cache's records of what made it, so that
// building again without a change gives the same bytes and the same image ID: a step's from its own record,
// the image's from one kept under the digest of the config without times.
#include "export/export.hpp"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include <dray/core/process.hpp>

#include "progress_step.hpp"

namespace dray::builder {
namespace {

/// The vertices that made the result's own layers, lowest first.
std::vector<int> layer_vertices(const Plan& plan) {
  std::vector<int> chain;
  for (int id = plan.result; !plan.vertices[static_cast<std::size_t>(id)].inputs.empty();
       id = plan.vertices[static_cast<std::size_t>(id)].inputs.front())
    chain.push_back(id);
  std::reverse(chain.begin(), chain.end());
  return chain;
}

std::string oci_layer_type(const std::string& type) {
  if (type == image::kDockerLayerGzip) return std::string(image::kOciLayerGzip);
  if (type == "application/vnd.docker.image.rootfs.diff.tar") return std::string(image::kOciLayer);
  if (type == "application/vnd.docker.image.rootfs.diff.tar.zstd") return std::string(image::kOciLayerZstd);
  return type;
}

/// --build-arg SOURCE_DATE_EPOCH, or the environment's. https://reproducible-builds.org/specs/source-date-epoch/
Result<std::optional<std::string>> source_date_epoch(const BuildRequest& request) {
  std::string text;
  if (const char* value = std::getenv("SOURCE_DATE_EPOCH")) text = value;
  for (const auto& [name, value] : request.build_args)
    if (name == "SOURCE_DATE_EPOCH") text = value;
  if (text.empty()) return std::optional<std::string>();
  std::int64_t seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc() || end != text.data() + text.size() || seconds < 0)
    return fail(ErrorCode::invalid_argument, "invalid SOURCE_DATE_EPOCH \"" + text + "\": expected seconds since 1970");
  return std::optional<std::string>(format_time(seconds));
}

Result<std::string> remembered_time(store::Store& store, const image::ImageConfig& config, bool no_cache) {
  const std::string key = Digest::of("dray image config 1\n" + image::serialize(config)).hex();
  store::BuildCacheRecord record;
  if (!no_cache) {
    const std::optional<store::BuildCacheRecord> known = TRY(store.find_build_cache(key));
    if (known) record = *known;
  }
  record.key = key;
  record.last_used_at = format_time_now();
  if (record.created_at.empty()) record.created_at = record.last_used_at;
  record.description = "image config";
  TRY(store.put_build_cache(record));
  return record.created_at;
}

Result<void> fill_times(store::Store& store, const ExportRequest& request, const std::vector<int>& chain,
                        image::ImageConfig& config) {
  const std::size_t first =
      std::min(request.base != nullptr ? request.base->config.history.size() : 0, config.history.size());
  config.created.clear();
  for (std::size_t i = first; i < config.history.size(); ++i) config.history[i].created.clear();
  const std::optional<std::string> epoch = TRY(source_date_epoch(request.build));
  std::size_t layer = 0;
  for (std::size_t i = first; i < config.history.size(); ++i) {
    if (config.history[i].empty_layer || layer == chain.size()) continue;
    const StepResult& result = request.results[static_cast<std::size_t>(chain[layer++])];
    config.history[i].created = epoch.value_or(result.created_at);
  }
  config.created = epoch ? *epoch : TRY(remembered_time(store, config, request.build.no_cache));
  for (std::size_t i = first; i < config.history.size(); ++i)
    if (config.history[i].created.empty()) config.history[i].created = config.created;
  return {};
}

}  // namespace

Result<BuildResult> export_image(store::Store& store, const ExportRequest& request, ProgressSink& progress) {
  image::ImageConfig config = request.plan.config;
  image::Manifest manifest;
  manifest.media_type = std::string(image::kOciManifest);
  report_status(progress, request.step_id, "exporting layers");
  if (request.base != nullptr) {
    if (request.base->manifest.layers.size() != request.base->config.diff_ids.size())
      return fail(ErrorCode::corrupt, "the base image's manifest and config have different numbers of layers");
    for (image::Descriptor layer : request.base->manifest.layers) {
      layer.media_type = oci_layer_type(layer.media_type);
      manifest.layers.push_back(std::move(layer));
    }
  }
  const std::vector<int> chain = layer_vertices(request.plan);
  for (const int id : chain) {
    const StepResult& result = request.results[static_cast<std::size_t>(id)];
    config.diff_ids.push_back(result.layers.back());
    manifest.layers.push_back(result.blob);
  }
  TRY(fill_times(store, request, chain, config));

  std::vector<std::string> names;
  for (const std::string& tag : request.build.tags) {
    const Reference reference = TRY(Reference::parse(tag));
    names.push_back(reference.canonical());
  }
  BuildResult result;
  const std::string config_bytes = image::serialize(config);
  report_status(progress, request.step_id, "writing image " + Digest::of(config_bytes).to_string());
  result.image_id = TRY(store.content().write_blob(config_bytes));
  manifest.config.media_type = std::string(image::kOciConfig);
  manifest.config.digest = result.image_id;
  manifest.config.size = config_bytes.size();
  result.manifest = TRY(store.content().write_blob(image::serialize(manifest)));
  store::ImageRecord record;
  record.manifest = result.manifest;
  record.media_type = manifest.media_type;
  record.image_id = result.image_id;
  record.created_at = format_time_now();
  if (names.empty()) TRY(store.put_image(record));
  for (const std::string& name : names) {
    report_status(progress, request.step_id, "naming to " + name);
    record.reference = name;
    TRY(store.put_image(record));
  }
  result.tagged = std::move(names);
  return result;
}

}  // namespace dray::builder
