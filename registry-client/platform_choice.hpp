// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "fetch.hpp"

namespace dray::registry {

/// The manifest for `platform`: `document` itself, or what its index names. `get` brings a document that an index
/// names. not_found lists what there is.
Result<Document> choose_platform(Document document, const image::Platform& platform, const std::string& name,
                                 const std::function<Result<Document>(const image::Descriptor&)>& get);

}  // namespace dray::registry
