// SPDX-License-Identifier: Apache-2.0
#include "archive_json.hpp"

#include <nlohmann/json.hpp>

namespace dray::store {

using nlohmann::json;

Result<std::vector<ArchiveImage>> parse_archive_manifest(std::string_view text) {
  json document = json::parse(text, nullptr, false);
  auto bad = [](std::string_view why) { return fail(ErrorCode::corrupt, "manifest.json " + std::string(why)); };
  if (!document.is_array()) return bad("is not a JSON list");
  std::vector<ArchiveImage> images;
  for (const json& item : document) {
    if (!item.is_object() || !item.contains("Config") || !item["Config"].is_string()) return bad("has an entry without \"Config\"");
    ArchiveImage entry;
    entry.config = item["Config"].get<std::string>();
    for (const char* key : {"RepoTags", "Layers"}) {
      auto found = item.find(key);
      if (found == item.end() || found->is_null()) continue;
      if (!found->is_array()) return bad("has \"" + std::string(key) + "\" that is not a list");
      for (const json& name : *found) {
        if (!name.is_string()) return bad("has \"" + std::string(key) + "\" with something that is not a string");
        (key[0] == 'R' ? entry.repo_tags : entry.layers).push_back(name.get<std::string>());
      }
    }
    images.push_back(std::move(entry));
  }
  return images;
}

std::string serialize_archive_manifest(const std::vector<ArchiveImage>& images) {
  json document = json::array();
  for (const ArchiveImage& entry : images) document.push_back({{"Config", entry.config}, {"RepoTags", entry.repo_tags}, {"Layers", entry.layers}});
  return document.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace dray::store
