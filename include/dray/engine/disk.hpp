// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <dray/builder/cache.hpp>
#include <dray/engine/containers.hpp>
#include <dray/engine/images.hpp>
#include <dray/store/check.hpp>

// What takes room on the disk, and whether it is whole.

namespace dray::engine {

struct DiskUsage {
  struct Image {
    ImageSummary summary;
    std::uint64_t shared = 0;  ///< bytes of layers that another image has, too
    std::size_t containers = 0;
  };
  struct Container {
    ContainerInfo info;
    std::uint64_t size = 0;         ///< its writable layer
    std::size_t local_volumes = 0;  ///< how many it mounts
  };
  struct Volume {
    VolumeInfo info;
    std::uint64_t size = 0;
    std::size_t links = 0;  ///< containers that mount it
  };
  std::vector<Image> images;
  std::vector<Container> containers;
  std::vector<Volume> volumes;
  std::vector<builder::CacheEntry> cache;
  /// Each layer counted once, as unpacked and as packed; the part that no container stands on.
  std::uint64_t image_bytes = 0, reclaimable_image_bytes = 0;
};
/// `system df`.
Result<DiskUsage> disk_usage(Context& context, const CancelToken& cancel);

/// `system check`: store::check with this host's containers.
Result<store::CheckReport> check_store(Context& context, bool repair, const CancelToken& cancel);

}  // namespace dray::engine
