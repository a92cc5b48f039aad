// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "snapshot_driver.hpp"

namespace dray::store {

/// Compares the tree `root` with the facts in the file `baseline` and reports what overlayfs would hold in its upper
/// directory after the same changes: what is new or changed, the directories on the way to it, what is gone.
Result<void> walk_changes(FdRef root, const std::string& baseline, const ChangeVisitor& visit);

}  // namespace dray::store
