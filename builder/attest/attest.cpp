// SPDX-License-Identifier: Apache-2.0
#include "attest/attest.hpp"

#include <algorithm>

#include "dockerfile/text.hpp"

namespace dray::builder {

Result<AttestOptions> read_attestations(const BuildRequest& request) {
  AttestOptions options;
  const auto invalid = [](const std::string& message) { return fail(ErrorCode::invalid_argument, message); };
  for (const TypedOptions& given : request.attestations) {
    std::map<std::string, std::string> attributes = given.attributes;
    std::vector<std::string> known;
    if (given.type == "provenance") {
      options.provenance = true;
      known = {"mode", "version", "builder-id", "reproducible"};
    } else if (given.type == "sbom") {
      options.sbom = true;
      if (attributes.contains("generator"))
        return fail(ErrorCode::unsupported, "sbom: \"generator\" is not supported, dray has a scanner of its own");
    } else {
      return invalid("unknown attestation \"" + given.type + "\": use provenance or sbom");
    }
    for (const auto& [key, value] : attributes) {
      if (std::ranges::find(known, key) == known.end())
        return invalid(given.type + ": unknown key \"" + key + "\"" + did_you_mean(key, known));
      if (key == "mode" && value != "min" && value != "max")
        return invalid("provenance mode \"" + value + "\": use min or max");
      if (key == "mode") options.max = value == "max";
      if (key == "version" && value != "v1")
        return fail(ErrorCode::unsupported, "provenance version \"" + value + "\" is not supported: v1 is");
      if (key == "builder-id") options.builder_id = value;
    }
    if (given.type == "provenance") options.reproducible = TRY(take_flag(attributes, "reproducible", false));
  }
  return options;
}

std::vector<int> needed_vertices(const Plan& plan, int result) {
  std::vector<bool> needed(plan.vertices.size(), false);
  needed[static_cast<std::size_t>(result)] = true;
  std::vector<int> list;
  for (int id = result; id >= 0; --id) {  // inputs come before their users
    if (!needed[static_cast<std::size_t>(id)]) continue;
    list.push_back(id);
    for (const int input : plan.vertices[static_cast<std::size_t>(id)].inputs)
      needed[static_cast<std::size_t>(input)] = true;
  }
  std::ranges::reverse(list);
  return list;
}

Result<std::vector<Attestation>> attest(store::Store& store, const BuiltImage& image, const ProvenanceFacts& facts,
                                        const CancelToken& cancel) {
  std::vector<Attestation> made;
  if (facts.options.sbom) {
    std::vector<Package> packages;
    if (const std::vector<DiffId> layers = image.rootfs(); !layers.empty()) {
      const store::MountRecipe recipe = TRY(store.snapshots().view(layers));
      const FileDescriptor root = TRY(store::open_mount(recipe));
      packages = TRY(find_packages(root, cancel));
    }
    made.push_back(make_sbom(image, packages));
  }
  if (facts.options.provenance) made.push_back(make_provenance(facts));
  return made;
}

}  // namespace dray::builder
