// SPDX-License-Identifier: Apache-2.0
#include "build_outputs.hpp"

#include <algorithm>

#include "../platform_flag.hpp"

namespace dray::cli {

void OutputFlags::declare(Flags& flags, builder::BuildRequest& request) {
  flags.list("--annotation", annotations, "Add annotation to the image ([LEVEL:]KEY=VALUE)");
  flags.list("--attest", attestations, "Attestation parameters (format: \"type=sbom\", \"type=provenance,mode=max\")");
  flags.list("--cache-from", cache_from,
             "External cache sources (e.g., \"user/app:cache\", \"type=local,src=path/to/dir\")");
  flags.list("--cache-to", cache_to, "Cache export destinations (e.g., \"type=registry,ref=user/app:cache,mode=max\")");
  flags.flag("--load", load, "Shorthand for \"--output=type=docker\": the image goes to the image store (the default)");
  flags.list("-o,--output", outputs, "Output destination (format: \"type=local,dest=path\", a directory, or \"-\")");
  flags.list("--platform", platforms,
             "Set target platforms for build (comma-separated; default: DOCKER_DEFAULT_PLATFORM)");
  flags.option("--provenance", provenance, "Shorthand for \"--attest=type=provenance\"");
  flags.flag("--push", push, "Shorthand for \"--output=type=registry\"");
  flags.option("--sbom", sbom, "Shorthand for \"--attest=type=sbom\"");
  flags.flag("--squash", request.squash, "Make one layer of the build's own layers; the base image's stay");
  flags.list("--unset", request.unset,
             "Do not inherit metadata of the base image (env=NAME, label=KEY, volume=PATH, "
             "expose=PORT, cmd, entrypoint, user, workdir, healthcheck, stopsignal)");
}

Result<void> OutputFlags::apply(builder::BuildRequest& request) const {
  for (const std::string& text : outputs) request.outputs.push_back(TRY(builder::parse_output(text)));
  if (load) request.outputs.push_back({"docker", {}});
  if (push) {  // as buildx: an image output that is there is pushed, else there is one more
    bool found = false;
    for (builder::TypedOptions& output : request.outputs) {
      if (output.type != "image" && output.type != "registry" &&
          !(output.type == "docker" && output.attributes.empty()))
        continue;
      output.type = output.type == "docker" ? "image" : output.type;
      output.attributes["push"] = "true";
      found = true;
    }
    if (!found) request.outputs.push_back({"registry", {}});
  }
  for (const std::string& text : cache_from) request.cache_from.push_back(TRY(builder::parse_cache_option(text)));
  for (const std::string& text : cache_to) request.cache_to.push_back(TRY(builder::parse_cache_option(text)));
  const auto attest = [&](const std::string& text, const std::string& type) -> Result<void> {
    auto parsed = TRY(builder::parse_attestation(text, type));
    if (!parsed) return {};
    for (const builder::TypedOptions& other : request.attestations)
      if (other.type == parsed->type)
        return fail(ErrorCode::invalid_argument, "the attestation \"" + other.type + "\" is asked for twice");
    request.attestations.push_back(*std::move(parsed));
    return {};
  };
  for (const std::string& text : attestations) TRY(attest(text, ""));
  if (provenance) TRY(attest(*provenance, "provenance"));
  if (sbom) TRY(attest(*sbom, "sbom"));
  for (const std::string& text : annotations) request.annotations.insert(TRY(builder::parse_annotation(text)));
  request.platforms = TRY(parse_platforms(platforms));
  if (platforms.empty())
    if (const auto standard = TRY(parse_platform_or_default(""))) request.platforms.push_back(*standard);
  return {};
}

bool writes_to_stdout(const builder::BuildRequest& request) {
  return std::ranges::any_of(request.outputs, [](const builder::TypedOptions& output) {
    const auto dest = output.attributes.find("dest");
    if (dest != output.attributes.end()) return dest->second == "-";
    return output.type == "tar" || output.type == "oci";
  });
}

}  // namespace dray::cli
