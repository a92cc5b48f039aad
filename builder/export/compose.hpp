// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <set>

#include "export/export.hpp"

namespace dray::builder {

/// One platform's manifest and what it refers to, in the content store.
struct ComposedManifest {
  image::Descriptor manifest;  ///< with its platform
  Digest config;
  std::vector<ImageLayer> layers;
};

/// What an output exports: a manifest alone, or an index of them and their attestations.
struct ComposedImage {
  image::Descriptor top;
  std::vector<ComposedManifest> images;
  std::vector<image::Descriptor> attestations;  ///< manifests
  std::set<Digest> blobs;                       ///< all there is, `top` included

  bool is_index() const { return images.size() != 1 || top.digest != images.front().manifest.digest; }
};

/// Makes configs, manifests and, for several platforms or with attestations, the index, as the output wants them.
Result<ComposedImage> compose_image(const ExportRequest& request, const OutputOptions& output,
                                    const CancelToken& cancel);

// -- documents (documents_json.cpp) -----------------------------------------------------------------------------------

/// An index with annotations of its own.
std::string index_document(const image::Index& index, const std::map<std::string, std::string>& annotations);
/// The config with the inline cache in it.
std::string with_inline_cache(const std::string& config, const std::string& cache);
/// An in-toto statement about the image `subject`; `names` are package URLs.
std::string in_toto_statement(const Attestation& attestation, const std::vector<std::string>& names,
                              const Digest& subject);
struct AttestationManifest {
  std::string config, manifest;
  image::Descriptor config_descriptor;
};
/// BuildKit's manifest of statements about `subject`; `artifact`: as an OCI artifact.
AttestationManifest attestation_manifest(const std::vector<image::Descriptor>& statements,
                                         const image::Descriptor& subject, bool artifact);
/// An index.json: `old`'s entries that have none of the new ones' names, and the new ones.
Result<std::string> merged_layout_index(const std::string& old, const image::Index& added);

struct DockerArchiveImage {
  std::string config;
  std::vector<std::string> tags, layers;
};
std::string docker_archive_manifest(const DockerArchiveImage& image);

}  // namespace dray::builder
