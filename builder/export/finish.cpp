// SPDX-License-Identifier: Apache-2.0
// The image of a finished build: its layers in order, its history, its times.
#include <algorithm>
#include <charconv>
#include <cstdlib>

#include <dray/core/process.hpp>

#include "dockerfile/text.hpp"
#include "export/export.hpp"
#include "export/unset.hpp"

namespace dray::builder {
namespace {

/// The vertices that made the result's own layers, lowest first.
std::vector<int> layer_vertices(const Plan& plan, int result) {
  std::vector<int> chain;
  for (int id = result; !plan.vertices[static_cast<std::size_t>(id)].inputs.empty();
       id = plan.vertices[static_cast<std::size_t>(id)].inputs.front())
    chain.push_back(id);
  std::reverse(chain.begin(), chain.end());
  return chain;
}

/// The later of two times; text that is none counts as the earliest.
std::string later(const std::string& a, const std::string& b) {
  const auto first = parse_time(a), second = parse_time(b);
  if (!second) return a;
  return !first || *second > *first ? b : a;
}

void fill_times(const FinishRequest& request, BuiltImage& image) {
  auto& history = image.config.history;
  const std::size_t first = std::min(request.base != nullptr ? request.base->config.history.size() : 0, history.size());
  std::string now = request.base != nullptr ? request.base->config.created : "";
  if (!parse_time(now)) now = format_time(0);
  std::size_t layer = 0;
  for (std::size_t i = first; i < history.size(); ++i) {
    if (!history[i].empty_layer && layer < image.own.size()) now = later(now, image.own[layer++].created_at);
    history[i].created = request.epoch ? format_time(*request.epoch) : now;
  }
  image.config.created = request.epoch ? format_time(*request.epoch) : now;
}

/// The base keeps its layers; what the build added to them becomes one.
Result<void> squash(store::Store& store, const FinishRequest& request, BuiltImage& image, const CancelToken& cancel) {
  if (image.own.size() < 2) return {};
  std::vector<DiffId> base;
  for (const ImageLayer& layer : image.base) base.push_back(layer.diff_id);
  const std::size_t count = image.own.size();
  const ImageLayer one = TRY(squash_layers(store, base, image.own, cancel));
  image.own = {one};
  image.own_keys.clear();
  auto& history = image.config.history;
  const std::size_t first = std::min(request.base != nullptr ? request.base->config.history.size() : 0, history.size());
  for (std::size_t i = first; i < history.size(); ++i) history[i].empty_layer = true;
  image::History entry;
  entry.created = image.config.created;
  entry.created_by = "squash of " + std::to_string(count) + " layers # dray build --squash";
  history.push_back(std::move(entry));
  return {};
}

}  // namespace

std::vector<DiffId> BuiltImage::rootfs() const {
  std::vector<DiffId> layers;
  for (const auto* part : {&base, &own})
    for (const ImageLayer& layer : *part) layers.push_back(layer.diff_id);
  return layers;
}

// https://reproducible-builds.org/specs/source-date-epoch/
Result<std::optional<std::int64_t>> source_date_epoch(const BuildRequest& request,
                                                      std::optional<std::int64_t> context_time) {
  std::string text;
  if (const char* value = std::getenv("SOURCE_DATE_EPOCH")) text = value;
  for (const auto& [name, value] : request.build_args)
    if (name == "SOURCE_DATE_EPOCH") text = value;
  if (text.empty()) return std::optional<std::int64_t>();
  if (text == "context") return context_time;  // a local one has none, and the argument then says nothing
  std::int64_t seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  constexpr std::int64_t kYear9999 = 253402300799;  // RFC 3339 knows no later one
  if (error != std::errc() || end != text.data() + text.size() || seconds < 0 || seconds > kYear9999)
    return fail(ErrorCode::invalid_argument, "invalid SOURCE_DATE_EPOCH \"" + text + "\": expected seconds since 1970");
  return std::optional<std::int64_t>(seconds);
}

Result<BuiltImage> finish_image(store::Store& store, const FinishRequest& request, ProgressSink& progress,
                                const CancelToken& cancel) {
  BuiltImage image;
  image.platform = request.platform;
  image.config = request.config;
  if (request.base != nullptr) {
    const image::ImageConfig& below = request.base->config;
    if (request.base->manifest.layers.size() != below.diff_ids.size())
      return fail(ErrorCode::corrupt, "the base image's manifest and config have different numbers of layers");
    for (std::size_t i = 0; i < below.diff_ids.size(); ++i)
      image.base.push_back({below.diff_ids[i], request.base->manifest.layers[i], below.created});
  }
  for (const int id : layer_vertices(request.plan, request.result)) {
    const StepResult& step = request.results[static_cast<std::size_t>(id)];
    image.own.push_back({step.layers.back(), step.blob, step.created_at});
    image.own_keys.push_back(step.keys);
  }
  const image::ImageConfig* below = request.base != nullptr ? &request.base->config : nullptr;
  TRY(unset_inherited(request.build.unset, below, image.config, progress));
  fill_times(request, image);
  if (request.build.squash) TRY(squash(store, request, image, cancel));
  image.config.diff_ids = image.rootfs();
  return image;
}

}  // namespace dray::builder
