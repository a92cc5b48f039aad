// SPDX-License-Identifier: Apache-2.0
#include "parallel.hpp"

#include <dray/core/parallel.hpp>

namespace dray::registry {

Result<void> transfer_all(HttpClient& first, std::size_t count, int threads, Stop& stop,
                          const std::function<Result<void>(HttpClient& client, std::size_t i)>& transfer,
                          const std::function<void()>& idle) {
  std::vector<HttpClient> others;
  for (std::size_t i = 1; i < std::min(static_cast<std::size_t>(std::max(1, threads)), count); ++i) {
    auto client = HttpClient::create();
    if (!client) break;  // fewer do as well
    others.push_back(*std::move(client));
  }
  const auto run = [&](std::size_t thread, std::size_t i) -> Result<void> {
    if (stop.requested()) return Failure(Stop::error());
    return transfer(thread == 0 ? first : others[thread - 1], i);
  };
  TRY(run_parallel(count, others.size() + 1, run, {.failed = [&] { stop.abandon(); }, .idle = idle}));
  if (stop.requested()) return Failure(Stop::error());
  return {};
}

}  // namespace dray::registry
