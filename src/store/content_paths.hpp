// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <dray/image/layout.hpp>

namespace dray::store {

using image::blob_path;  // the content directory is laid out as one
inline std::string ingest_path(const std::string& content_directory) { return content_directory + "/ingest"; }

/// Gives a file of the ingest directory, verified by the caller, its final name; synced first.
Result<void> adopt_blob(const std::string& content_directory, const std::string& file, const Digest& digest);
/// Makes the names of all blobs durable.
Result<void> sync_blob_names(const std::string& content_directory);
/// Removes what killed processes left in the ingest directory. Caller holds the store's exclusive lock.
/// Returns the count.
Result<std::uint64_t> remove_ingest_leftovers(const std::string& content_directory);

}  // namespace dray::store
