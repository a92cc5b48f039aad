// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <dray/image/image.hpp>

namespace dray::registry {

/// The digest in a manifest's "subject"; empty if it has none.
Digest subject_of(std::string_view manifest);
/// `index` ("" = a new one) with an entry for the manifest, its artifactType and annotations copied as the
/// specification asks. Other entries stay as they are.
Result<std::string> add_referrer(std::string_view index, std::string_view manifest, const image::Descriptor& entry);

/// The layout's index.json ("" = a new one) with an entry `name` (or without a name, "") for the document. An older
/// entry of that name loses it.
Result<std::string> add_to_layout(std::string_view index, const image::Descriptor& entry, const std::string& name);

/// {"name": …, "tags": […]} and {"repositories": […]}.
Result<std::vector<std::string>> parse_names(std::string_view bytes, const char* key);

/// An entry of docker-archive's manifest.json.
struct ArchivedImage {
  std::string config;
  std::vector<std::string> names, layers;
};
Result<std::vector<ArchivedImage>> parse_archived(std::string_view bytes);
std::string serialize(const std::vector<ArchivedImage>& images);

}  // namespace dray::registry
