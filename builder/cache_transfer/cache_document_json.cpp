// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include <algorithm>

#include <dray/core/base64.hpp>
#include <dray/core/process.hpp>

#include "cache_transfer/cache_document.hpp"

namespace dray::builder {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxLayers = 10000, kMaxRecords = 200000;
constexpr int kMaxDepth = 32;

Failure corrupt(const std::string& why) { return fail(ErrorCode::corrupt, "build cache: " + why); }

Result<json> parse_limited(std::string_view bytes) {
  if (bytes.size() > 2 * image::kMaxManifestSize) return corrupt("it is too large");
  bool too_deep = false;
  json document = json::parse(
      bytes.begin(), bytes.end(),
      [&](int depth, json::parse_event_t, json&) {
        too_deep = too_deep || depth > kMaxDepth;
        return depth <= kMaxDepth;
      },
      false);
  if (too_deep) return corrupt("JSON nested too deeply");
  if (!document.is_object()) return corrupt("not a JSON object");
  return document;
}

std::string text(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

bool is_layer_type(const std::string& type) {
  return type == image::kOciLayer || type == image::kOciLayerGzip || type == image::kOciLayerZstd ||
         type == image::kDockerLayerGzip;
}

Result<CacheDocument::Layer> parse_layer(const json& object) {
  if (!object.is_object()) return corrupt("a layer is no object");
  const auto annotations = object.find("annotations");
  if (annotations == object.end() || !annotations->is_object()) return corrupt("a layer has no annotations");
  CacheDocument::Layer layer;
  layer.blob.digest = TRY_CTX(Digest::parse(text(object, "blob")), "build cache: blob");
  layer.diff_id = DiffId{TRY_CTX(Digest::parse(text(*annotations, "diffID")), "build cache: diffID")};
  layer.blob.media_type = text(*annotations, "mediaType");
  if (!is_layer_type(layer.blob.media_type))
    return corrupt("media type \"" + layer.blob.media_type + "\" is no layer's");
  const auto size = annotations->find("size");
  if (size == annotations->end() || !size->is_number_unsigned()) return corrupt("a layer has no size");
  layer.blob.size = size->get<std::uint64_t>();
  // It goes into image configs: only a time, in our form.
  const auto created = parse_time(text(*annotations, "createdAt"));
  layer.created_at = format_time(std::clamp<std::int64_t>(created.value_or(0), 0, 253402300799));
  return layer;
}

bool is_key(const std::string& hex) {
  return hex.size() == 64 && hex.find_first_not_of("0123456789abcdef") == std::string::npos;
}

}  // namespace

void CacheDocument::add(const Layer& layer, const std::vector<std::string>& keys) {
  const auto [known, is_new] = added_.emplace(layer.blob.digest, layers.size());
  if (is_new) layers.push_back(layer);
  for (const std::string& key : keys) records.emplace(key, known->second);
}

std::string serialize(const CacheDocument& document) {
  json layers = json::array(), records = json::array();
  for (const CacheDocument::Layer& layer : document.layers)
    layers.push_back({{"blob", layer.blob.digest.to_string()},
                      {"parent", -1},
                      {"annotations",
                       {{"mediaType", layer.blob.media_type},
                        {"diffID", layer.diff_id.digest.to_string()},
                        {"size", layer.blob.size},
                        {"createdAt", layer.created_at}}}});
  for (const auto& [key, layer] : document.records)
    records.push_back(
        {{"digest", "sha256:" + key},
         {"layers", json::array({{{"layer", layer}, {"createdAt", document.layers[layer].created_at}}})}});
  return json({{"layers", layers}, {"records", records}}).dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<CacheDocument> parse_cache_document(std::string_view bytes) {
  const json object = TRY(parse_limited(bytes));
  CacheDocument document;
  const json layers = object.value("layers", json()), records = object.value("records", json());
  if ((!layers.is_null() && !layers.is_array()) || (!records.is_null() && !records.is_array()))
    return corrupt("\"layers\" or \"records\" is no list");
  if (layers.size() > kMaxLayers || records.size() > kMaxRecords) return corrupt("it has too many entries");
  for (const json& layer : layers) document.layers.push_back(TRY(parse_layer(layer)));
  for (const json& record : records) {
    if (!record.is_object()) return corrupt("a record is no object");
    const std::string key = text(record, "digest");
    const json results = record.value("layers", json::array());
    // BuildKit's own records have inputs and other results: they are for its solver.
    if (!key.starts_with("sha256:") || !is_key(key.substr(7)) || !results.is_array() || results.size() != 1) continue;
    const json layer = results[0].is_object() ? results[0].value("layer", json()) : json();
    if (!layer.is_number_unsigned() || layer.get<std::uint64_t>() >= document.layers.size())
      return corrupt("a record names a layer that is not there");
    document.records.emplace(key.substr(7), layer.get<std::size_t>());
  }
  return document;
}

Result<std::optional<CacheDocument>> parse_inline_cache(std::string_view image_config) {
  const json object = TRY(parse_limited(image_config));
  const std::string packed = text(object, "moby.buildkit.cache.v0");
  if (packed.empty()) return std::optional<CacheDocument>();
  const auto bytes = decode_base64(packed);
  if (!bytes) return corrupt("the image's inline cache is not base64");
  return std::optional<CacheDocument>(TRY(parse_cache_document(*bytes)));
}

Result<image::Descriptor> find_in_layout(std::string_view index_json, const std::string& tag) {
  const image::Index index = TRY(image::parse_index(index_json));
  for (const image::Descriptor& entry : index.manifests) {
    const auto name = entry.annotations.find("org.opencontainers.image.ref.name");
    if (name != entry.annotations.end() && name->second == tag) return entry;
  }
  if (index.manifests.size() == 1 && tag == "latest") return index.manifests.front();
  return fail(ErrorCode::not_found, "the layout has no entry with the tag \"" + tag + "\"");
}

}  // namespace dray::builder
