// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dray/engine/prune.hpp>

namespace dray::engine {

Result<Pruned> remove_stopped_containers(Context& context, const PruneFilters& filters);
/// Removes the records; content goes with collect_garbage. Returns the lines to show.
Result<std::vector<std::string>> forget_unused_images(Context& context, PruneImages which, const PruneFilters& filters);

}  // namespace dray::engine
