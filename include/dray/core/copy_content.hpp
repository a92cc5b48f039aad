// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/stat.h>

#include <dray/core/fd.hpp>
#include <dray/core/progress.hpp>
#include <dray/core/result.hpp>

namespace dray {

/// All bytes of one open file into another, which is empty; both are at their starts. In the kernel where it can, so
/// that file systems with shared blocks share them; holes stay holes. `status` is `from`'s.
Result<void> copy_content(FdRef from, FdRef to, const CancelToken& cancel);
Result<void> copy_content(FdRef from, FdRef to, const struct stat& status, const CancelToken& cancel);

}  // namespace dray
