// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include <dray/core/progress.hpp>
#include <dray/core/result.hpp>

namespace dray {

/// Bytes on disk of all below the directory `path`, hard links once; what vanishes meanwhile or is not there counts
/// nothing, nor does what is in more than 500 directories.
Result<std::uint64_t> tree_size(const std::string& path, const CancelToken& cancel);

}  // namespace dray
