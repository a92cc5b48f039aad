// SPDX-License-Identifier: Apache-2.0
// JSON documents of exported images that are no plain image-spec: attestations in BuildKit's form, docker's
// manifest.json.
#include <nlohmann/json.hpp>

#include <dray/core/base64.hpp>

#include "export/compose.hpp"

namespace dray::builder {
namespace {

using nlohmann::json;

constexpr std::string_view kEmptyConfig = "application/vnd.oci.empty.v1+json";
constexpr std::string_view kAttestationType = "application/vnd.docker.attestation.manifest.v1+json";

std::string dump(const json& document) { return document.dump(-1, ' ', false, json::error_handler_t::replace); }

json descriptor_json(const image::Descriptor& descriptor) {
  json object = {
      {"mediaType", descriptor.media_type}, {"digest", descriptor.digest.to_string()}, {"size", descriptor.size}};
  if (!descriptor.annotations.empty()) object["annotations"] = descriptor.annotations;
  return object;
}

}  // namespace

std::string index_document(const image::Index& index, const std::map<std::string, std::string>& annotations) {
  if (annotations.empty()) return image::serialize(index);
  json document = json::parse(image::serialize(index), nullptr, false);
  document["annotations"] = annotations;
  return dump(document);
}

std::string with_inline_cache(const std::string& config, const std::string& cache) {
  json document = json::parse(config, nullptr, false);
  document["moby.buildkit.cache.v0"] = encode_base64(cache);  // BuildKit: a byte string, which Go writes so
  return dump(document);
}

std::string in_toto_statement(const Attestation& attestation, const std::vector<std::string>& names,
                              const Digest& subject) {
  json subjects = json::array();
  for (const std::string& name : names)
    subjects.push_back({{"name", name}, {"digest", {{subject.algorithm(), subject.hex()}}}});
  return dump({{"_type", "https://in-toto.io/Statement/v0.1"},
               {"predicateType", attestation.predicate_type},
               {"subject", subjects},
               {"predicate", json::parse(attestation.predicate, nullptr, false)}});
}

AttestationManifest attestation_manifest(const std::vector<image::Descriptor>& statements,
                                         const image::Descriptor& subject, bool artifact) {
  AttestationManifest made;
  json layers = json::array(), diff_ids = json::array();
  for (const image::Descriptor& statement : statements) {
    layers.push_back(descriptor_json(statement));
    diff_ids.push_back(statement.digest.to_string());
  }
  made.config = artifact ? "{}"
                         : dump({{"architecture", "unknown"},
                                 {"os", "unknown"},
                                 {"config", json::object()},
                                 {"rootfs", {{"type", "layers"}, {"diff_ids", diff_ids}}}});
  made.config_descriptor.media_type = std::string(artifact ? kEmptyConfig : image::kOciConfig);
  made.config_descriptor.digest = Digest::of(made.config);
  made.config_descriptor.size = made.config.size();
  json document = {{"schemaVersion", 2},
                   {"mediaType", image::kOciManifest},
                   {"config", descriptor_json(made.config_descriptor)},
                   {"layers", layers}};
  if (artifact) {
    image::Descriptor about = subject;
    about.annotations.clear();
    document["artifactType"] = kAttestationType;
    document["subject"] = descriptor_json(about);
  }
  made.manifest = dump(document);
  return made;
}

Result<std::string> merged_layout_index(const std::string& old, const image::Index& added) {
  json document = json::parse(image::serialize(added), nullptr, false);
  const json before = json::parse(old, nullptr, false);
  if (!before.is_object() || !before.contains("manifests") || !before["manifests"].is_array())
    return fail(ErrorCode::corrupt, "index.json of the layout is no image index");
  const auto name_of = [](const json& entry) {
    const json annotations = entry.is_object() ? entry.value("annotations", json::object()) : json::object();
    return annotations.is_object() ? annotations.value("io.containerd.image.name", json()) : json();
  };
  for (const json& entry : before["manifests"]) {
    bool replaced = false;
    for (const json& made : document["manifests"])
      replaced = replaced || name_of(made) == name_of(entry) ||
                 (entry.is_object() && entry.value("digest", json()) == made["digest"]);
    if (!replaced) document["manifests"].push_back(entry);
  }
  return dump(document);
}

std::string docker_archive_manifest(const DockerArchiveImage& image) {
  json tags = json(nullptr);
  if (!image.tags.empty()) tags = image.tags;
  return dump(json::array({{{"Config", image.config}, {"RepoTags", tags}, {"Layers", image.layers}}}));
}

}  // namespace dray::builder
