// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dray/core/copy_directory.hpp>

#include "snapshot_driver.hpp"

namespace dray::store {

/// Makes the empty directory `target` show what a stack of layers with plain whiteouts shows: what overlayfs would.
/// Nothing of it is looked at twice: a file that an upper layer hides is not copied.
Result<void> merge_layers(const Stack& stack, FdRef target, EntryCopier::Files files, const CancelToken& cancel);

}  // namespace dray::store
