// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>

#include <dray/store/database.hpp>
#include <dray/store/snapshotter.hpp>

namespace dray::store {

/// Creates this part's tables in a new database, and with them records the storage driver that `choose` names; nobody
/// can change it afterwards. One pragma read where they exist. Returns the store's driver.
Result<StorageDriver> ensure_schema(const std::shared_ptr<Database>& db,
                                    const std::function<Result<StorageDriver>()>& choose);

}  // namespace dray::store
