// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <dray/engine/engine.hpp>

namespace dray::engine {

struct PruneReport {
  std::vector<std::string> containers, images;
  std::uint64_t bytes = 0;
};
enum class PruneImages { dangling, all };
/// `system prune`: stopped containers, untagged (or all unused) images, build cache, leftovers of killed processes.
Result<PruneReport> prune(Context& context, PruneImages which);

/// All must hold.
struct PruneFilters {
  std::optional<std::int64_t> until;        ///< made before this moment, in seconds since 1970
  std::vector<std::string> labels, absent;  ///< "key" or "key=value" that is there, that is not there

  bool fits(const std::string& created_at, const std::map<std::string, std::string>& labels_of_it) const;
};

struct Pruned {
  std::vector<std::string> names;  ///< container IDs; volumes; of images "untagged: x", "deleted: sha256:…"
  std::uint64_t bytes = 0;         ///< freed now
  bool is_deferred = false;        ///< another process works in the store: its files go with the next prune
};
/// Images no container uses: untagged ones or all.
Result<Pruned> prune_images(Context& context, PruneImages which, const PruneFilters& filters);
/// Containers that do not run.
Result<Pruned> prune_containers(Context& context, const PruneFilters& filters);
/// Volumes no container mounts: those without a name of the user's, or all.
Result<Pruned> prune_volumes(Context& context, bool all);

}  // namespace dray::engine
