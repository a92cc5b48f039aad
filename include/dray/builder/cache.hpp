// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <dray/store/store.hpp>

// What builds have kept for the next ones: the layers of steps, and the stores of cache mounts. `dray builder du` and
// `prune`, and the policy that is applied after a build.

namespace dray::builder {

/// A layer that steps made, or a cache mount's store.
struct CacheEntry {
  enum class Type { regular, cache_mount } type = Type::regular;
  std::string id;  ///< for users: the beginning of a digest
  std::string description;
  std::string created_at, last_used_at;
  std::uint64_t size = 0;         ///< bytes: unpacked and packed
  std::int64_t uses = 0;          ///< builds that made or found it; 0: not counted (cache mounts)
  bool in_use = false;            ///< a running step has it
  bool is_shared = false;         ///< an image or a container has this layer, too: removing the entry frees nothing
  std::vector<std::string> keys;  ///< of a layer: the steps' cache keys
  std::string directory;          ///< of a store
};

/// "regular", "exec.cachemount": BuildKit's words.
std::string type_name(CacheEntry::Type type);

/// Least recently used first. `container_layers`: what containers stand on.
Result<std::vector<CacheEntry>> list_cache(store::Store& store, const std::vector<DiffId>& container_layers);

struct CachePolicy {
  bool all = false;                        ///< shared entries, too
  std::optional<std::int64_t> unused_for;  ///< seconds: what was used later stays
  /// KEY=VALUE, KEY!=VALUE, KEY~=REGULAR_EXPRESSION or a bare KEY: id, type, description, inuse, shared, private,
  /// mutable, immutable. All must fit.
  std::vector<std::string> filters;
  /// Bytes. All 0: everything goes. Else the least recently used goes until the cache is not larger than the maximum
  /// and the disk has what shall be free; but never below the reserve.
  std::uint64_t reserved_space = 0, max_used_space = 0, min_free_space = 0;
};

struct CachePruned {
  std::vector<CacheEntry> removed;
  std::uint64_t bytes = 0;   ///< freed now
  bool is_deferred = false;  ///< another process works in the store: the files go with the next prune
};

/// Removes the entries, then what nobody refers to any more. Running builds keep what they use: their lease defers the
/// removal of files, never of names.
Result<CachePruned> prune_cache(store::Store& store, const CachePolicy& policy,
                                const std::vector<DiffId>& container_layers);

/// invalid_argument for a filter nobody knows.
Result<void> check_cache_filters(const std::vector<std::string>& filters);
Result<bool> fits_filters(const CacheEntry& entry, const std::vector<std::string>& filters);

bool is_unused_for(const CacheEntry& entry, std::int64_t seconds);

/// What the layers in the cache take, without a look at the files: for the decision whether the policy has work.
Result<std::uint64_t> cached_layer_bytes(store::Store& store);

}  // namespace dray::builder
