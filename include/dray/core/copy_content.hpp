// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/stat.h>

#include <dray/core/fd.hpp>
#include <dray/core/progress.hpp>
#include <dray/core/result.hpp>

namespace dray {

/// What one open regular file holds, into another, which is empty; both are at their starts. Large files are copied by
/// the kernel, which shares their blocks where the file system can; holes stay holes. `status` is `from`'s: a file that
/// grows meanwhile is copied up to its size there, one of size 0 (as those of proc have) to its end.
Result<void> copy_content(FdRef from, FdRef to, const CancelToken& cancel);
Result<void> copy_content(FdRef from, FdRef to, const struct stat& status, const CancelToken& cancel);

}  // namespace dray
