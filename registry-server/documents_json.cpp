// SPDX-License-Identifier: Apache-2.0
#include "documents_json.hpp"

#include <nlohmann/json.hpp>

#include <dray/image/image.hpp>

#include "names.hpp"

namespace dray::registry_server {
namespace {

using nlohmann::json;

constexpr int kMaxDepth = 100;
constexpr std::size_t kMaxEntries = 10000;

Failure bad(const std::string& why) { return fail(ErrorCode::invalid_argument, why); }

Result<json> parse_object(std::string_view bytes) {
  bool too_deep = false;
  json document = json::parse(
      bytes.begin(), bytes.end(),
      [&](int level, json::parse_event_t, json&) {
        too_deep = too_deep || level > kMaxDepth;
        return level <= kMaxDepth;
      },
      false);
  if (too_deep) return bad("JSON nested too deeply");
  if (document.is_discarded()) return bad("not valid JSON");
  if (!document.is_object()) return bad("not a JSON object");
  return document;
}

/// Absent and null are the same: Go writes both for empty.
const json* find(const json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

Result<std::string> text(const json& object, const char* key) {
  const json* value = find(object, key);
  if (value == nullptr) return std::string();
  if (!value->is_string()) return bad("\"" + std::string(key) + "\" is not a string");
  return value->get<std::string>();
}

/// Its digest; `foreign` says whether its bytes are allowed to be elsewhere.
Result<Digest> descriptor_of(const json& value, const char* field, bool* foreign = nullptr) {
  if (!value.is_object()) return bad("\"" + std::string(field) + "\" is not an object");
  const std::string digest = TRY_CTX(text(value, "digest"), field);
  const std::string type = TRY_CTX(text(value, "mediaType"), field);
  const json* size = find(value, "size");
  if (size == nullptr || !size->is_number_unsigned()) return bad("\"" + std::string(field) + "\" has no size");
  if (foreign != nullptr)
    *foreign = type.starts_with("application/vnd.oci.image.layer.nondistributable.") ||
               type.starts_with("application/vnd.docker.image.rootfs.foreign.");
  return TRY_CTX(Digest::parse(digest), field);
}

Result<std::vector<Digest>> descriptors_of(const json& document, const char* field) {
  std::vector<Digest> digests;
  const json* list = find(document, field);
  if (list == nullptr) return digests;
  if (!list->is_array()) return bad("\"" + std::string(field) + "\" is not a list");
  if (list->size() > kMaxEntries) return bad("\"" + std::string(field) + "\" has too many entries");
  for (const json& item : *list) {
    bool foreign = false;
    const Digest digest = TRY(descriptor_of(item, field, &foreign));
    if (!foreign) digests.push_back(digest);
  }
  return digests;
}

bool is_index_type(std::string_view type) { return type == image::kOciIndex || type == image::kDockerIndex; }
bool is_manifest_type(std::string_view type) { return type == image::kOciManifest || type == image::kDockerManifest; }

Result<std::string> media_type_of(const json& document, std::string_view content_type) {
  const bool indexes = document.contains("manifests");
  const bool layers = document.contains("layers") || document.contains("config") || document.contains("fsLayers");
  std::string type = TRY(text(document, "mediaType"));
  if (!type.empty() && !content_type.empty() && type != content_type)
    return bad("mediaType is \"" + type.substr(0, 100) + "\", but the Content-Type says otherwise");
  if (type.empty()) type = content_type;
  if (type.empty()) type = indexes ? image::kOciIndex : image::kOciManifest;
  if (!is_index_type(type) && !is_manifest_type(type))
    return bad("manifests of type \"" + type.substr(0, 100) + "\" are not accepted");
  if (is_index_type(type) ? layers : indexes) return bad("both a manifest and an index, or not the one it says it is");
  return type;
}

std::string dump(const json& document) { return document.dump(-1, ' ', false, json::error_handler_t::replace); }

}  // namespace

Result<ManifestFacts> read_manifest(std::string_view bytes, std::string_view content_type) {
  const json document = TRY(parse_object(bytes));
  const json* version = find(document, "schemaVersion");
  if (version == nullptr || *version != 2) return bad("schemaVersion is not 2");
  ManifestFacts facts;
  facts.media_type = TRY(media_type_of(document, content_type));
  facts.artifact_type = TRY(text(document, "artifactType"));
  if (!facts.artifact_type.empty() && !is_media_type(facts.artifact_type)) return bad("artifactType is no media type");
  if (is_index_type(facts.media_type)) {
    facts.manifests = TRY(descriptors_of(document, "manifests"));
  } else {
    const json* config = find(document, "config");
    if (config == nullptr) return bad("no \"config\"");
    facts.blobs = TRY(descriptors_of(document, "layers"));
    facts.blobs.push_back(TRY(descriptor_of(*config, "config")));
    if (facts.artifact_type.empty()) facts.artifact_type = TRY(text(*config, "mediaType"));
  }
  if (const json* subject = find(document, "subject")) facts.subject = TRY(descriptor_of(*subject, "subject"));
  if (const json* annotations = find(document, "annotations")) {
    if (!annotations->is_object()) return bad("\"annotations\" is not an object");
    for (const auto& item : annotations->items())
      if (!item.value().is_string()) return bad("an annotation is not a string");
    if (!annotations->empty()) facts.annotations = dump(*annotations);
  }
  return facts;
}

std::string error_document(std::string_view code, std::string_view message) {
  return dump(json{{"errors", json::array({{{"code", code}, {"message", message}}})}}) + "\n";
}

std::string tags_document(const std::string& name, const std::vector<std::string>& tags) {
  return dump(json{{"name", name}, {"tags", tags}}) + "\n";
}

std::string catalog_document(const std::vector<std::string>& names) {
  return dump(json{{"repositories", names}}) + "\n";
}

std::string referrers_document(const std::vector<Referrer>& referrers) {
  json list = json::array();
  for (const Referrer& referrer : referrers) {
    json entry{{"mediaType", referrer.media_type}, {"digest", referrer.digest}, {"size", referrer.size}};
    if (!referrer.artifact_type.empty()) entry["artifactType"] = referrer.artifact_type;
    if (!referrer.annotations.empty()) entry["annotations"] = json::parse(referrer.annotations, nullptr, false);
    list.push_back(std::move(entry));
  }
  return dump(json{{"schemaVersion", 2}, {"mediaType", image::kOciIndex}, {"manifests", std::move(list)}});
}

}  // namespace dray::registry_server
