// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dray/core/fd.hpp>
#include <dray/core/progress.hpp>
#include <dray/core/stream.hpp>

namespace dray::store {

/// Everything below `root` as a deterministic tar, sockets left out.
Result<void> write_tree(FdRef root, ByteSink& sink, const CancelToken& cancel);

}  // namespace dray::store
