// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>

namespace dray::registry_server {

/// The open connections and what each is doing, so that slow ones can be shut down: one may idle or send its request's
/// head for two minutes in all; while the server waits for it (its body, or to take the reply), it must move 1 KiB a
/// second over half a minute. Time the server itself needs does not count. Thread-safe.
class Connections {
 public:
  enum class Phase { head, receiving, working, sending };
  static constexpr auto kHeadTime = std::chrono::seconds(120);
  static constexpr auto kWindow = std::chrono::seconds(30);
  static constexpr std::uint64_t kLeastBytes = 30 * 1024;
  using Clock = std::chrono::steady_clock;
  using Key = const void*;

  void opened(Key key, int socket);
  void closed(Key key);
  void enter(Key key, Phase phase);
  /// Requests that have begun and not ended.
  std::size_t busy();
  /// Shuts down the slow; returns how many.
  int cut_slow(Clock::time_point now = Clock::now());

 private:
  struct Connection {
    int socket = -1;
    Phase phase = Phase::head;
    Clock::time_point since, paused;
    std::uint64_t moved = 0;  ///< bytes at `since`
    bool has_window = false;  ///< `since` and `moved` are of this request's body
  };
  std::mutex mutex_;
  std::map<Key, Connection> connections_;
};

}  // namespace dray::registry_server
