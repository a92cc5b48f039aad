// SPDX-License-Identifier: Apache-2.0
// manifest.json of `docker save`: a list of {Config, RepoTags, Layers}. Keys we do not know (LayerSources)
// are passed over.
#include <nlohmann/json.hpp>

#include "archive_json.hpp"

namespace dray::store {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxEntries = 10'000;
constexpr int kMaxDepth = 64;

Failure bad(std::string_view field) {
  return fail(ErrorCode::corrupt,
              "manifest.json of the archive: \"" + std::string(field) + "\" is missing or of the wrong type");
}

/// Absent and null are an empty list (RepoTags of an image without a name).
Result<std::vector<std::string>> texts(const json& object, const char* field) {
  std::vector<std::string> result;
  auto found = object.find(field);
  if (found == object.end() || found->is_null()) return result;
  if (!found->is_array() || found->size() > kMaxEntries) return bad(field);
  for (const json& item : *found) {
    if (!item.is_string()) return bad(field);
    result.push_back(item.get<std::string>());
  }
  return result;
}

}  // namespace

Result<std::vector<SavedImage>> parse_saved_images(std::string_view bytes) {
  auto shallow = [](int depth, json::parse_event_t, json&) { return depth <= kMaxDepth; };
  json document = json::parse(bytes, shallow, false);
  if (!document.is_array() || document.size() > kMaxEntries)
    return fail(ErrorCode::corrupt, "manifest.json of the archive is not a list of images");
  std::vector<SavedImage> images;
  for (const json& item : document) {
    if (!item.is_object())
      return fail(ErrorCode::corrupt, "manifest.json of the archive has an entry that is not an object");
    SavedImage image;
    auto config = item.find("Config");
    if (config == item.end() || !config->is_string()) return bad("Config");
    image.config = config->get<std::string>();
    image.repo_tags = TRY(texts(item, "RepoTags"));
    image.layers = TRY(texts(item, "Layers"));
    images.push_back(std::move(image));
  }
  return images;
}

std::string serialize(const std::vector<SavedImage>& images) {
  json document = json::array();
  for (const SavedImage& image : images) {
    json tags = image.repo_tags.empty() ? json(nullptr) : json(image.repo_tags);
    document.push_back({{"Config", image.config}, {"RepoTags", tags}, {"Layers", image.layers}});
  }
  return document.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace dray::store
