// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <dray/core/fd.hpp>
#include <dray/core/result.hpp>

namespace dray::engine {

// What the forked process that becomes the monitor tells `start`, once, over a pipe: the time when the container
// started, or the error. Code, message and hint of an error survive.

Result<void> send_outcome(FdRef pipe, const Result<std::string>& started_at);
/// unavailable when the process ended without a word.
Result<std::string> receive_outcome(FdRef pipe);

}  // namespace dray::engine
