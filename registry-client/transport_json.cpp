// SPDX-License-Identifier: Apache-2.0
// Documents that are changed while others' parts of them must stay as they are (index.json, lists of referrers), and
// the small ones around images.
#include "transport_json.hpp"

#include <nlohmann/json.hpp>

namespace dray::registry {
namespace {

using nlohmann::json;

constexpr const char* kRefName = "org.opencontainers.image.ref.name";

json parse(std::string_view bytes) { return json::parse(bytes.begin(), bytes.end(), nullptr, false); }

std::string text(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

json describe(const image::Descriptor& entry) {
  json object = {{"mediaType", entry.media_type}, {"digest", entry.digest.to_string()}, {"size", entry.size}};
  if (entry.platform) {
    object["platform"] = {{"os", entry.platform->os}, {"architecture", entry.platform->architecture}};
    if (!entry.platform->variant.empty()) object["platform"]["variant"] = entry.platform->variant;
  }
  return object;
}

Result<json> open_index(std::string_view bytes) {
  if (bytes.empty()) return json{{"schemaVersion", 2}, {"mediaType", image::kOciIndex}, {"manifests", json::array()}};
  json index = parse(bytes);
  if (!index.is_object() || !index.contains("manifests") || !index["manifests"].is_array())
    return fail(ErrorCode::corrupt, "an image index without \"manifests\"");
  for (const json& entry : index["manifests"])
    if (!entry.is_object()) return fail(ErrorCode::corrupt, "an image index with an entry that is no object");
  return index;
}

std::vector<std::string> strings(const json& object, const char* key) {
  std::vector<std::string> texts;
  const auto found = object.find(key);
  if (found == object.end() || !found->is_array()) return texts;
  for (const json& item : *found)
    if (item.is_string()) texts.push_back(item.get<std::string>());
  return texts;
}

}  // namespace

Digest subject_of(std::string_view manifest) {
  const json document = parse(manifest);
  if (!document.is_object()) return {};
  const auto subject = document.find("subject");
  if (subject == document.end() || !subject->is_object()) return {};
  return Digest::parse(text(*subject, "digest")).value_or(Digest());
}

Result<std::string> add_referrer(std::string_view index, std::string_view manifest, const image::Descriptor& entry) {
  json list = TRY(open_index(index));
  for (const json& known : list["manifests"])
    if (text(known, "digest") == entry.digest.to_string()) return std::string(index);
  json added = describe(entry);
  const json document = parse(manifest);
  std::string type = text(document, "artifactType");
  if (const auto config = document.find("config"); type.empty() && config != document.end() && config->is_object())
    type = text(*config, "mediaType");
  if (!type.empty()) added["artifactType"] = type;
  if (const auto found = document.find("annotations"); found != document.end() && found->is_object())
    added["annotations"] = *found;
  list["manifests"].push_back(std::move(added));
  return list.dump();
}

Result<std::string> add_to_layout(std::string_view index, const image::Descriptor& entry, const std::string& name) {
  json list = TRY(open_index(index));
  json kept = json::array();
  for (json& known : list["manifests"]) {
    const bool same = text(known, "digest") == entry.digest.to_string();
    std::string known_name;
    if (const auto found = known.find("annotations"); found != known.end() && found->is_object())
      known_name = text(*found, kRefName);
    if (same && name.empty()) return std::string(index);
    if (same && (known_name == name || known_name.empty())) continue;
    if (!name.empty() && known_name == name) continue;  // what it named is no longer asked for by anything
    kept.push_back(std::move(known));
  }
  json added = describe(entry);
  if (!name.empty()) added["annotations"] = {{kRefName, name}};
  kept.push_back(std::move(added));
  list["manifests"] = std::move(kept);
  return list.dump();
}

Result<std::vector<std::string>> parse_names(std::string_view bytes, const char* key) {
  const json document = parse(bytes);
  if (!document.is_object()) return fail(ErrorCode::corrupt, "the registry's list is not a JSON object");
  return strings(document, key);
}

Result<std::vector<ArchivedImage>> parse_archived(std::string_view bytes) {
  const json document = parse(bytes);
  if (!document.is_array()) return fail(ErrorCode::corrupt, "manifest.json of the archive is not an array");
  std::vector<ArchivedImage> images;
  for (const json& item : document) {
    if (!item.is_object())
      return fail(ErrorCode::corrupt, "manifest.json of the archive has an entry that is no object");
    images.push_back({text(item, "Config"), strings(item, "RepoTags"), strings(item, "Layers")});
  }
  return images;
}

std::string serialize(const std::vector<ArchivedImage>& images) {
  json list = json::array();
  for (const ArchivedImage& image : images)
    list.push_back({{"Config", image.config}, {"RepoTags", image.names}, {"Layers", image.layers}});
  return list.dump();
}

}  // namespace dray::registry
