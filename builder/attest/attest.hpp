// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "export/export.hpp"

// Attestations: what went into an image, and what is in it. None is made unless asked for.

namespace dray::builder {

/// --provenance and --sbom, checked.
struct AttestOptions {
  bool provenance = false, sbom = false;
  bool max = false;  ///< provenance mode=max: build arguments, the Dockerfile and the steps too
  std::string builder_id;
  bool reproducible = false;
};
Result<AttestOptions> read_attestations(const BuildRequest& request);

/// Something the build read from elsewhere.
struct Material {
  std::string uri, algorithm, hex;  ///< no algorithm: its digest is not known
};

/// What a platform's provenance tells. Nothing in it is a secret: ids of secrets are, their values never.
struct ProvenanceFacts {
  const BuildRequest& build;
  const AttestOptions& options;
  const Plan& plan;
  int result;  ///< vertex
  std::vector<Material> materials;
  std::string dockerfile_name, dockerfile;
  std::string started_on, finished_on;
};
/// SLSA v1.
Attestation make_provenance(const ProvenanceFacts& facts);

/// The vertices that a result needs, itself included, in order.
std::vector<int> needed_vertices(const Plan& plan, int result);

struct Package {
  std::string kind;  ///< package URL type: deb, apk, pypi, npm
  std::string name, version, architecture, license, distribution, found_in;
  auto operator<=>(const Package&) const = default;
};
/// The packages of a root filesystem, as the databases of dpkg and apk, Python's and npm's metadata tell. All of these
/// files are hostile: sizes and numbers are limited, what cannot be read is left out.
Result<std::vector<Package>> find_packages(FdRef root, const CancelToken& cancel);
/// SPDX 2.3.
Attestation make_sbom(const BuiltImage& image, const std::vector<Package>& packages);
/// "name" and "version" of a package.json (npm); nullopt where it is none.
std::optional<Package> parse_package_json(const std::string& text);

/// All that was asked for, for one platform.
Result<std::vector<Attestation>> attest(store::Store& store, const BuiltImage& image, const ProvenanceFacts& facts,
                                        const CancelToken& cancel);

}  // namespace dray::builder
