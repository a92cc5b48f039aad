// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include <dray/registry/upstream.hpp>

#include "exchange.hpp"
#include "repositories.hpp"

namespace dray::registry_server {

/// The registry behind a pull-through cache. A tag is asked for there each time (HEAD); where it does not answer, what
/// is cached is served, for some seconds without asking again. A blob that several clients want at once is fetched
/// once, and each gets it as it arrives.
class PullThrough {
 public:
  PullThrough(Repositories& repositories, std::unique_ptr<registry::Upstream> upstream)
      : repositories_(repositories), upstream_(std::move(upstream)) {}
  ~PullThrough();

  struct Manifest {
    StoredManifest manifest;
    bool stale = false;  ///< the registry behind did not answer
  };
  Result<Manifest> manifest(const std::string& repository, const std::string& reference);

  /// The blob's size and its bytes as they arrive.
  struct Blob {
    std::shared_ptr<ArrivingBytes> bytes;
    std::uint64_t size = 0;
  };
  enum class Wanted { size, bytes };
  Result<Blob> blob(const std::string& repository, const Digest& digest, Wanted wanted);

  std::function<void(const std::string& line)> log;  ///< set before use

 private:
  class Download;
  using Clock = std::chrono::steady_clock;
  bool is_silent() const { return Clock::now().time_since_epoch().count() < silent_until_; }
  bool just_failed(const std::string& name);
  void run(const std::string& repository, const Digest& digest, Download& download);
  void reap();

  Repositories& repositories_;
  const std::unique_ptr<registry::Upstream> upstream_;
  /// The registry behind did not answer: until then it is not asked for tags that are cached.
  std::atomic<Clock::rep> silent_until_{0};
  std::mutex mutex_;
  /// What could not be had after several tries: clients that ask for it again and again need not wait each time.
  std::pair<std::string, Clock::time_point> failed_;
  std::map<Digest, std::shared_ptr<Download>> downloads_;
  std::list<std::pair<std::shared_ptr<Download>, std::thread>> threads_;
};

}  // namespace dray::registry_server
