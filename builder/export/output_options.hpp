// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include <dray/builder/builder.hpp>
#include <dray/core/stream.hpp>

namespace dray::builder {

struct CompressionOptions {
  Compression kind = Compression::gzip;  ///< or zstd, or none
  std::optional<int> level;
  bool force = false;  ///< the base's layers too
};

/// Where an annotation goes, and for which platform (nullopt: all).
struct Annotation {
  enum class Level { manifest, index, manifest_descriptor, index_descriptor } level = Level::manifest;
  std::optional<image::Platform> platform;
  std::string key, value;
};

/// One --output, checked.
struct OutputOptions {
  enum class Type { image, oci, docker, local, tar, cacheonly } type = Type::image;
  std::string dest;                    ///< of oci, docker, local, tar: a path, or "-" for standard output
  std::vector<Reference> names;        ///< of image, oci, docker
  bool store = true;                   ///< image: record it in the image store
  bool push = false;                   ///< image
  bool push_by_digest = false;         ///< image: under no tag
  bool insecure = false;               ///< image: the registry may be spoken to over http
  bool name_canonical = false;         ///< image: known as name@digest, too
  std::string dangling_prefix;         ///< image: without a name it is known as prefix@digest
  bool oci_types = true;               ///< false: Docker's media types
  bool rewrite_timestamp = false;      ///< no file of the build's own layers is younger than SOURCE_DATE_EPOCH
  bool as_tar = true;                  ///< oci, docker: one file rather than a directory
  bool artifact = false;               ///< attestations as OCI artifacts with a subject
  bool delete_others = false;          ///< local: what the build did not make goes
  std::optional<bool> platform_split;  ///< local, tar: a directory a platform; default: where there are several
  std::string attestation_prefix;      ///< local, tar: of the attestations' file names
  CompressionOptions compression;
  std::vector<Annotation> annotations;

  bool is_image() const { return type == Type::image || type == Type::oci || type == Type::docker; }
  bool to_stdout() const { return dest == "-" && !is_store(); }
  bool is_store() const { return type == Type::image; }
};

/// All outputs of a request, the image store where none is given. Unknown keys and values are refused by name.
Result<std::vector<OutputOptions>> read_outputs(const BuildRequest& request);

/// compression, compression-level, force-compression: shared with cache exports. Takes them out of `attributes`.
Result<CompressionOptions> take_compression(std::map<std::string, std::string>& attributes);
/// "true"/"false" (or 1/0, or "" as true); takes it out of `attributes`.
Result<bool> take_flag(std::map<std::string, std::string>& attributes, const std::string& key, bool otherwise);

}  // namespace dray::builder
