// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dray/core/fd.hpp>
#include <dray/core/result.hpp>

namespace dray {

/// Copies what is in directory `source` into directory `target`: ownership, modes, times, links and xattrs. One path
/// component at a time by descriptors: hostile symlinks are copied, never followed.
Result<void> copy_directory(FdRef source, FdRef target);

}  // namespace dray
