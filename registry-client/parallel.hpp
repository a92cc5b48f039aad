// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "http.hpp"

namespace dray::registry {

/// Calls `transfer(client, i)` for every i below `count`, in that order, over at most `threads` connections: `first`
/// and others of its kind. The first error stops the rest and is returned. `idle` is called when a connection has
/// nothing more to do; it may be empty.
Result<void> transfer_all(HttpClient& first, std::size_t count, int threads, Stop& stop,
                          const std::function<Result<void>(HttpClient& client, std::size_t i)>& transfer,
                          const std::function<void()>& idle = {});

}  // namespace dray::registry
