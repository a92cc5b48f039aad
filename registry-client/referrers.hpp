// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "blob_upload.hpp"
#include "fetch.hpp"

namespace dray::registry {

/// What names `subject`, by the referrers API or, where the registry lacks it, the tag "sha256-<hex>".
Result<std::vector<image::Descriptor>> fetch_referrers(Session& session, HttpClient& client, const Digest& subject);

/// After a manifest with a subject was put: adds it to the subject's tag where the registry does not keep referrers
/// itself. Nothing for a manifest without one.
Result<void> announce_referrer(Session& session, Uploader& uploader, HttpClient& client, const Document& document);

}  // namespace dray::registry
