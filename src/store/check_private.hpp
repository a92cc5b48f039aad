// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <set>

#include <dray/store/check.hpp>

namespace dray::store {

/// One look at the whole store. Caller holds a lease or the exclusive lock. With `hash_only`, all other blobs are taken
/// for good.
Result<CheckReport> examine(Store& store, const CheckOptions& options, const std::set<Digest>* hash_only,
                            const CancelToken& cancel);

/// Mends what can be mended of `report` and notes it there. Caller holds the exclusive lock.
Result<void> repair(Store& store, CheckReport& report);

}  // namespace dray::store
