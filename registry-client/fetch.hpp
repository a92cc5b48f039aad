// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dray/image/image.hpp>
#include <dray/store/store.hpp>

#include "session.hpp"
#include "step_progress.hpp"

namespace dray::registry {

/// A manifest or index: bytes verified against `reference`'s digest or `wanted`, and its media type.
struct Document {
  std::string bytes, media_type;
  Digest digest;
  std::string rate_limit;  ///< worth a warning; or ""
};
/// `name` is a tag or digest. `expected` (with its size) or the reference's own digest must match.
Result<Document> fetch_document(Session& session, HttpClient& client, const std::string& name,
                                const image::Descriptor* expected);

/// The Accept header for every kind of manifest and index.
std::string accept_all();

/// Hands over each byte of a blob once, in order, over as many connections as it takes. Unverified but for the size.
Result<void> fetch_blob(Session& session, HttpClient& client, const image::Descriptor& blob,
                        const std::function<Result<void>(std::span<const std::byte>)>& take);

/// Makes sure that the blob is in the content store, and returns its bytes (a config: at most
/// kMaxManifestSize).
Result<std::string> fetch_small_blob(Session& session, HttpClient& client, store::Store& store,
                                     const image::Descriptor& descriptor);

/// How many connections more than the one a layer a pull may open.
using SpareConnections = std::atomic<int>;
inline constexpr int kSpareConnections = 3;

/// Makes sure that the layer's blob is in the content store and unpacked as `diff_id`: downloads and unpacks
/// side by side. A layer that another pull is fetching is waited for.
Result<void> fetch_layer(Session& session, HttpClient& client, store::Store& store, const image::Descriptor& descriptor,
                         const DiffId& diff_id, SpareConnections& spare, StepProgress& progress);
/// As fetch_layer, but only the blob.
Result<void> fetch_blob(Session& session, HttpClient& client, store::Store& store, const image::Descriptor& descriptor,
                        SpareConnections& spare, StepProgress& progress);

}  // namespace dray::registry
