// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <dray/core/result.hpp>

namespace dray::store {

/// An entry of docker save's manifest.json. Paths are members of the archive.
struct ArchiveImage {
  std::string config;
  std::vector<std::string> repo_tags, layers;
};
Result<std::vector<ArchiveImage>> parse_archive_manifest(std::string_view json);
std::string serialize_archive_manifest(const std::vector<ArchiveImage>& images);

}  // namespace dray::store
