// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "fetch.hpp"

namespace dray::registry {

/// Brings every document that an index names, directly or through others, into the content store. Returns the blobs
/// that those name: configs, layers, attestations.
Result<std::vector<image::Descriptor>> fetch_index_documents(Session& session, HttpClient& client, store::Store& store,
                                                             const Document& index);

/// For the store's record; an index whose media type nobody said is an OCI one.
image::Descriptor descriptor_of_index(const Document& index);

/// The first entry of an index that is a Linux image; `fallback` where none is.
image::Platform first_platform(const Document& index, const image::Platform& fallback);

}  // namespace dray::registry
