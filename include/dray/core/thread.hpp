// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <system_error>
#include <thread>
#include <utility>

#include <dray/core/result.hpp>

namespace dray {

/// A thread, or why there is none (a limit of processes or of memory): std::thread's constructor throws.
template <typename Work>
Result<std::thread> start_thread(Work&& work) {
  try {
    return std::thread(std::forward<Work>(work));
  } catch (const std::system_error& error) {
    return Failure(Error::from_errno(error.code().value(), "starting a thread"));
  }
}

}  // namespace dray
