// SPDX-License-Identifier: Apache-2.0
// The build cache's limits, applied when a build has ended and its lease is gone. Looking is cheap (one query for the
// layers); a look at the cache mounts means walking them, so that happens once in a while.
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>

#include "build_cache.hpp"
#include "images_private.hpp"

namespace dray::engine {
namespace {

constexpr std::uint64_t kLeastMaximum = 10'000'000'000;
constexpr std::int64_t kLookEvery = 600;  // seconds

/// True if the last thorough look is some time ago; it is now.
bool is_time_to_look(const std::string& root) {
  const std::string stamp = root + "/build-cache-checked";
  struct stat status = {};
  if (::stat(stamp.c_str(), &status) == 0 && ::time(nullptr) - status.st_mtim.tv_sec < kLookEvery) return false;
  return write_file_atomically(stamp, "", 0600, Durability::none).has_value();
}

}  // namespace

Result<std::vector<builder::CacheEntry>> list_build_cache(Context& context) {
  return builder::list_cache(*context.store, TRY(layers_in_use(context)));
}

Result<builder::CachePruned> prune_build_cache(Context& context, const builder::CachePolicy& policy) {
  return builder::prune_cache(*context.store, policy, TRY(layers_in_use(context)));
}

Result<void> apply_build_cache_limits(Context& context, std::int64_t build_started) {
  const BuildCacheLimits& limits = context.configuration.build_cache;
  if (!limits.enabled) return {};
  struct statvfs disk = {};
  if (::statvfs(context.configuration.root.c_str(), &disk) != 0) return fail_errno("reading the size of the disk");
  const std::uint64_t size = std::uint64_t{disk.f_blocks} * disk.f_frsize;
  const std::uint64_t free = std::uint64_t{disk.f_bavail} * disk.f_frsize;
  builder::CachePolicy policy;
  policy.max_used_space = limits.max_used_space.value_or(std::max(size / 5, kLeastMaximum));
  policy.min_free_space = limits.min_free_space.value_or(size / 10);
  policy.reserved_space = limits.reserved_space;
  // What this build used stays: the next one is likely the same.
  policy.unused_for = std::max<std::int64_t>(0, ::time(nullptr) - build_started) + 1;
  const std::uint64_t layers = TRY(builder::cached_layer_bytes(*context.store));
  const bool look = is_time_to_look(context.configuration.root);
  const bool short_of_room = free < policy.min_free_space && layers > policy.reserved_space;
  if (!look && layers <= policy.max_used_space && !short_of_room) return {};
  if (look && limits.keep_seconds > 0) {
    builder::CachePolicy age;
    age.all = true;
    age.unused_for = std::max(limits.keep_seconds, *policy.unused_for);
    TRY(prune_build_cache(context, age));
  }
  TRY(prune_build_cache(context, policy));
  return {};
}

}  // namespace dray::engine
