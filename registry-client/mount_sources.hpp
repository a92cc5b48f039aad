// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>

#include <dray/core/reference.hpp>
#include <dray/store/store.hpp>

namespace dray::registry {

/// Blob -> another repository of `target`'s registry that images in the store were pulled from, or pushed to, with it.
std::map<Digest, std::string> find_mount_sources(store::Store& store, const Reference& target);

}  // namespace dray::registry
