// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <dray/store/store.hpp>

namespace dray::store {

/// What a container needs of the store.
struct ContainerClaim {
  std::string name, snapshot;
  std::vector<DiffId> layers;
  std::string error;  ///< why its record cannot be read; "" = it can
};

/// Something that is not as the store promises. What a killed process leaves behind is none: see CheckReport::Orphans.
struct Problem {
  enum class Kind {
    database,
    damaged_blob,      ///< bytes that do not have the digest they are named after
    unreadable_blob,   ///< the disk does not give them
    lost_layer,        ///< a row without its directory
    unusable_image,    ///< manifest or config missing, or layers that nothing can bring back
    unpacked_missing,  ///< a layer is not unpacked, but its blob is there
    incomplete_image,  ///< runs, but cannot be pushed or saved
    image_index,       ///< names blobs that are not there
    cache_layer,       ///< a build-cache record without its layer
    cache_blob,        ///< a build-cache record without its packed layer
    container,
  };
  Kind kind;
  std::string subject;  ///< "image debian:bookworm"
  std::string what;     ///< "its config sha256:… is not in the store"
  std::string meaning;  ///< what the user cannot do because of it
  std::string advice;   ///< what helps; after a repair: what is left to do
  bool repaired = false;
  std::string key;                   ///< digest, reference or cache key: for the repair
  std::optional<ImageRecord> image;  ///< likewise
};

struct CheckReport {
  std::uint64_t blobs = 0, bytes = 0, layers = 0, images = 0, cache_records = 0, containers = 0;
  std::vector<Problem> problems;
  /// What nothing refers to: of killed processes, of removed images, or of a pull or build that runs now.
  struct Orphans {
    std::uint64_t blobs = 0, layers = 0, snapshots = 0, partial_files = 0;
    std::uint64_t total() const { return blobs + layers + snapshots + partial_files; }
  } orphans;
  bool repair_deferred = false;  ///< another process works in the store: nothing was repaired
};

struct CheckOptions {
  /// Asked again where a container looks damaged: it may have been removed meanwhile.
  std::function<Result<std::vector<ContainerClaim>>()> containers;
  bool repair = false;
};

/// Hashes every blob, and looks whether everything that is referred to is there. Holds a lease, so that nothing it
/// looks at is collected meanwhile; pulls and builds go on beside it. A repair takes the exclusive lock, looks again at
/// what was wrong, and removes what is of no use to anybody: damaged blobs, records of what is gone. Layers whose blob
/// is there are unpacked again. Containers are never touched.
Result<CheckReport> check(Store& store, const CheckOptions& options, const CancelToken& cancel);

}  // namespace dray::store
