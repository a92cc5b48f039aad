// SPDX-License-Identifier: Apache-2.0
#include "connections.hpp"

// linux/tcp.h, not netinet/tcp.h: only it has the byte counters.
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstddef>

namespace dray::registry_server {
namespace {

/// Bytes the peer has sent or acknowledged.
std::uint64_t bytes_moved(int socket) {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return 0;
  return info.tcpi_bytes_acked + info.tcpi_bytes_received;
}

}  // namespace

void Connections::opened(Key key, int socket) {
  const std::lock_guard lock(mutex_);
  connections_[key] = {socket, Phase::head, Clock::now(), {}, 0, false};
}

void Connections::closed(Key key) {
  const std::lock_guard lock(mutex_);
  connections_.erase(key);
}

void Connections::enter(Key key, Phase phase) {
  const std::lock_guard lock(mutex_);
  const auto found = connections_.find(key);
  if (found == connections_.end()) return;
  Connection& connection = found->second;
  const auto now = Clock::now();
  if (phase == Phase::working) {
    connection.paused = now;
  } else if (phase == Phase::receiving && connection.has_window) {
    connection.since += now - connection.paused;  // the next part of the same body: its window goes on
  } else {
    connection.since = now;
    connection.moved = bytes_moved(connection.socket);
    connection.has_window = phase == Phase::receiving;
  }
  connection.phase = phase;
}

std::size_t Connections::busy() {
  const std::lock_guard lock(mutex_);
  return static_cast<std::size_t>(
      std::ranges::count_if(connections_, [](const auto& entry) { return entry.second.phase != Phase::head; }));
}

int Connections::cut_slow(Clock::time_point now) {
  int count = 0;
  const std::lock_guard lock(mutex_);
  for (auto& [key, connection] : connections_) {
    const auto waited = now - connection.since;
    bool slow = connection.phase == Phase::head && waited > kHeadTime;
    if ((connection.phase == Phase::receiving || connection.phase == Phase::sending) && waited > kWindow) {
      const std::uint64_t moved = bytes_moved(connection.socket);
      slow = moved - connection.moved < kLeastBytes;
      connection.since = now;
      connection.moved = moved;
    }
    if (!slow) continue;
    // Its thread sees an end of file; the library closes the socket only after closed().
    ::shutdown(connection.socket, SHUT_RDWR);
    ++count;
  }
  return count;
}

}  // namespace dray::registry_server
