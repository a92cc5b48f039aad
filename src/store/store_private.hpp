// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <set>

#include <dray/store/store.hpp>

namespace dray::store {

/// What must stay.
struct References {
  std::set<Digest> blobs;
  std::set<DiffId> layers;
};
/// Of all images, build-cache records and active snapshots. An image whose manifest is gone or damaged refers
/// to nothing that could be used; other errors are errors.
Result<References> collect_references(Store& store);

/// Writes the layout's index.json as the images are. Full disk: it stays as it is.
Result<void> renew_layout(Store& store);

/// Adds what image indexes refer to.
Result<void> keep_image_indexes(Store& store, std::set<Digest>& blobs);

/// Takes back what an unsuccessful load brought, as far as nothing refers to it and nobody else is at work in
/// the store.
void take_back(Store& store, const std::vector<Digest>& blobs, const std::vector<DiffId>& layers);

/// The store's lock file.
std::string lock_path(const std::string& root);

}  // namespace dray::store
