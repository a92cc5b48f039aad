// SPDX-License-Identifier: Apache-2.0
#include "parallel.hpp"

#include <mutex>

#include <dray/core/thread.hpp>

namespace dray::registry {

Result<void> transfer_all(HttpClient& first, std::size_t count, int threads, Stop& stop,
                          const std::function<Result<void>(HttpClient& client, std::size_t i)>& transfer,
                          const std::function<void()>& idle) {
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::optional<Error> first_error;
  const auto work = [&](HttpClient& client) {
    for (std::size_t i = next++; i < count && !stop.requested(); i = next++) {
      auto done = transfer(client, i);
      if (done) continue;
      const std::lock_guard lock(mutex);
      if (!first_error) first_error = std::move(done).error();
      stop.abandon();
      return;
    }
    if (idle) idle();
  };
  std::vector<std::thread> workers;
  const std::size_t most = std::min<std::size_t>(static_cast<std::size_t>(std::max(1, threads)), count);
  for (std::size_t i = 1; i < most; ++i) {
    auto client = HttpClient::create();
    if (!client) break;  // fewer do as well
    auto worker = start_thread([&work, own = *std::move(client)]() mutable { work(own); });
    if (!worker) break;
    workers.push_back(*std::move(worker));
  }
  work(first);
  for (std::thread& worker : workers) worker.join();
  if (first_error) return Failure(*std::move(first_error));
  if (stop.requested()) return Failure(Stop::error());
  return {};
}

}  // namespace dray::registry
