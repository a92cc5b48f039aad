// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include <dray/store/database.hpp>

namespace dray::store {

/// Creates this part's tables in a new database. One pragma read where they exist.
Result<void> ensure_schema(const std::shared_ptr<Database>& db);

}  // namespace dray::store
