// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dray/store/snapshotter.hpp>

namespace dray::store {

/// What the snapshotter's source files share. Thread-safe: it holds no state but the directory and the database.
struct Snapshotter::State {
  std::string directory;
  std::shared_ptr<Database> db;

  std::string path(std::int64_t id) const { return directory + "/" + std::to_string(id); }
  /// The id of the layer's directory, nullopt if it is not here.
  Result<std::optional<std::int64_t>> find(const DiffId& diff_id) const;
  /// A number for a new directory, never used again; the directory is made, empty.
  Result<std::int64_t> make_directory() const;
  Result<void> remove_directory(std::int64_t id) const;
};

/// Extracts the tar stream `tar` into the empty directory `target` as an overlay layer (unpack.cpp). Returns bytes of content.
Result<std::uint64_t> extract_layer(ByteSource& tar, FdRef target);

}  // namespace dray::store
