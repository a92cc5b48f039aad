// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <dray/core/digest.hpp>
#include <dray/core/result.hpp>

// All JSON of this part: documents_json.cpp is the only file that sees the JSON library.

namespace dray::registry_server {

/// Larger manifests are refused with 413 (spec §pushing-manifests asks for at least this much).
inline constexpr std::size_t kMaxManifest = 4u << 20;

/// What a registry wants to know of a manifest or index.
struct ManifestFacts {
  std::string media_type;
  std::vector<Digest> blobs;      ///< config and layers that must be there (not the foreign ones)
  std::vector<Digest> manifests;  ///< of an index
  std::optional<Digest> subject;
  std::string
      artifact_type;  ///< as the referrers list wants it: of an image manifest, the config's type where it has none
  std::string annotations;  ///< JSON object, or ""
};
/// `content_type` is the request's, without parameters, or "". invalid_argument for anything that is no OCI or Docker
/// schema 2 manifest or index, or could be taken for another kind than it says (CVE-2021-41190).
Result<ManifestFacts> read_manifest(std::string_view bytes, std::string_view content_type);

/// {"errors": [{"code", "message"}]}; bytes that are not UTF-8 are replaced.
std::string error_document(std::string_view code, std::string_view message);
/// {"name", "tags"}
std::string tags_document(const std::string& name, const std::vector<std::string>& tags);
/// {"repositories"}
std::string catalog_document(const std::vector<std::string>& names);

struct Referrer {
  std::string media_type, digest, artifact_type, annotations;
  std::uint64_t size = 0;
};
std::string referrers_document(const std::vector<Referrer>& referrers);

}  // namespace dray::registry_server
