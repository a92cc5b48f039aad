// SPDX-License-Identifier: Apache-2.0
// `system check`: the store's own look, with what containers need of it.
#include <dray/engine/disk.hpp>

#include "container_state.hpp"

namespace dray::engine {

Result<store::CheckReport> check_store(Context& context, bool repair, const CancelToken& cancel) {
  store::CheckOptions options;
  options.repair = repair;
  options.containers = [&]() -> Result<std::vector<store::ContainerClaim>> {
    std::vector<store::ContainerClaim> claims;
    for (const ContainerName& name : TRY(all_names(context))) {
      store::ContainerClaim claim;
      claim.name = name.name;
      const auto record = read_record(context, name);
      if (record) {
        claim.snapshot = record->snapshot;
        claim.layers = record->layers;
      } else {
        claim.error = record.error().message();
      }
      claims.push_back(std::move(claim));
    }
    return claims;
  };
  return store::check(*context.store, options, cancel);
}

}  // namespace dray::engine
