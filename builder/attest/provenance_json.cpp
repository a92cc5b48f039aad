// SPDX-License-Identifier: Apache-2.0
// SLSA provenance, version 1, with the fields that BuildKit's definition has.
#include <nlohmann/json.hpp>

#include <dray/core/digest.hpp>

#include "attest/attest.hpp"
#include "dockerfile/text.hpp"
#include "source/credentials.hpp"

namespace dray::builder {
namespace {

using nlohmann::json;

constexpr const char* kBuildType = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";

/// Proxies often have a password in them and are no part of the result.
bool is_proxy(const std::string& name) {
  const std::string lower = to_lower(name);
  return lower.ends_with("_proxy");
}

json request_of(const ProvenanceFacts& facts) {
  const BuildRequest& build = facts.build;
  json arguments = json::object();
  if (!build.target.empty()) arguments["target"] = build.target;
  json request = {{"frontend", "dockerfile.v0"}};
  if (facts.options.max) {
    for (const auto& [name, value] : build.build_args)
      if (!is_proxy(name)) arguments["build-arg:" + name] = value;
    for (const auto& [name, value] : build.labels) arguments["label:" + name] = value;
    if (build.no_cache) arguments["no-cache"] = "";
    json secrets = json::array(), agents = json::array();
    for (const SecretSource& secret : build.secrets) secrets.push_back({{"id", secret.id}});
    for (const SshSource& agent : build.ssh) agents.push_back({{"id", agent.id}});
    if (!secrets.empty()) request["secrets"] = secrets;
    if (!agents.empty()) request["ssh"] = agents;
  }
  request["args"] = arguments;
  if (build.context_url.empty()) request["locals"] = json::array({{{"name", "context"}}, {{"name", "dockerfile"}}});
  return request;
}

json steps_of(const ProvenanceFacts& facts) {
  json steps = json::array();
  for (const int id : needed_vertices(facts.plan, facts.result)) {
    const Vertex& vertex = facts.plan.vertices[static_cast<std::size_t>(id)];
    json inputs = json::array();
    for (const int input : vertex.inputs) inputs.push_back("step" + std::to_string(input) + ":0");
    steps.push_back({{"id", "step" + std::to_string(id)}, {"name", vertex.title}, {"inputs", inputs}});
  }
  return steps;
}

}  // namespace

Attestation make_provenance(const ProvenanceFacts& facts) {
  json source = {{"path", facts.dockerfile_name}};
  if (!facts.build.context_url.empty()) source["uri"] = without_credentials(facts.build.context_url);
  json internal = {{"builderPlatform", image::Platform::host().to_string()}};
  if (facts.options.max) internal["buildConfig"] = {{"steps", steps_of(facts)}};
  json dependencies = json::array();
  for (const Material& material : facts.materials) {
    json dependency = {{"uri", material.uri}};
    if (!material.algorithm.empty()) dependency["digest"] = {{material.algorithm, material.hex}};
    dependencies.push_back(dependency);
  }
  json metadata = {{"invocationId", random_hex(16)},
                   {"startedOn", facts.started_on},
                   {"finishedOn", facts.finished_on},
                   {"buildkit_completeness", {{"request", facts.options.max}, {"resolvedDependencies", false}}},
                   {"buildkit_reproducible", facts.options.reproducible}};
  if (facts.options.max)
    metadata["buildkit_metadata"] = {{"source",
                                      {{"infos", json::array({{{"filename", facts.dockerfile_name},
                                                               {"language", "Dockerfile"},
                                                               {"text", facts.dockerfile}}})}}}};
  const json predicate = {{"buildDefinition",
                           {{"buildType", kBuildType},
                            {"externalParameters", {{"configSource", source}, {"request", request_of(facts)}}},
                            {"internalParameters", internal},
                            {"resolvedDependencies", dependencies}}},
                          {"runDetails", {{"builder", {{"id", facts.options.builder_id}}}, {"metadata", metadata}}}};
  return {"https://slsa.dev/provenance/v1", predicate.dump(-1, ' ', false, json::error_handler_t::replace),
          "provenance.json"};
}

}  // namespace dray::builder
