// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <dray/core/digest.hpp>

namespace dray::image {

/// Where a blob is in an image layout (image-layout.md §blobs). Digest is checked text, so this cannot lead elsewhere.
inline std::string blob_path(const Digest& digest) { return "blobs/" + digest.algorithm() + "/" + digest.hex(); }
inline std::string blob_path(const std::string& layout, const Digest& digest) {
  return layout + "/" + blob_path(digest);
}

}  // namespace dray::image
