// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include <dray/core/progress.hpp>
#include <dray/core/result.hpp>

namespace dray::engine {

/// Bytes on disk of all below `path`, hard links once; what vanishes meanwhile or is not there counts nothing.
Result<std::uint64_t> tree_size(const std::string& path, const CancelToken& cancel);

}  // namespace dray::engine
