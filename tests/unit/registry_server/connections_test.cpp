// SPDX-License-Identifier: Apache-2.0
// Who is cut off for being slow: over real TCP on loopback, with a clock of the test's.
#include <catch.hpp>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <dray/core/fd.hpp>

#include "connections.hpp"
#include "listener.hpp"

namespace dray::registry_server {
namespace {

using Phase = Connections::Phase;
using std::chrono::seconds;

struct Pair {
  FileDescriptor client, server;
  Pair() {
    Listener listener = *listen_on("127.0.0.1:0");
    sockaddr_in address{};
    socklen_t size = sizeof address;
    ::getsockname(listener.socket.get(), reinterpret_cast<sockaddr*>(&address), &size);
    client = FileDescriptor(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(::connect(client.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
    server = FileDescriptor(::accept4(listener.socket.get(), nullptr, nullptr, SOCK_CLOEXEC));
    REQUIRE(server.valid());
  }
  void client_sends(std::size_t bytes) {
    REQUIRE(write_all(client, std::string(bytes, 'x')));
    for (std::size_t got = 0; got < bytes;) {
      char buffer[65536];
      const ssize_t count = ::recv(server.get(), buffer, sizeof buffer, 0);
      REQUIRE(count > 0);
      got += static_cast<std::size_t>(count);
    }
  }
  bool closed() const {
    char byte;
    return ::recv(client.get(), &byte, 1, MSG_DONTWAIT) == 0;
  }
};

TEST_CASE("a connection that idles or sends its head for two minutes is cut off") {
  Pair pair;
  Connections connections;
  connections.opened(&pair, pair.server.get());
  const auto now = Connections::Clock::now();
  CHECK(connections.cut_slow(now + seconds(110)) == 0);
  CHECK_FALSE(pair.closed());
  CHECK(connections.cut_slow(now + seconds(125)) == 1);
  CHECK(pair.closed());
  connections.closed(&pair);
  CHECK(connections.cut_slow(now + seconds(1000)) == 0);
}

TEST_CASE("a body must come at a least rate; the server's own work does not count") {
  Pair pair;
  Connections connections;
  connections.opened(&pair, pair.server.get());
  const auto now = Connections::Clock::now();
  connections.enter(&pair, Phase::working);
  CHECK(connections.busy() == 1);
  connections.enter(&pair, Phase::receiving);
  pair.client_sends(40 * 1024);
  CHECK(connections.cut_slow(now + seconds(31)) == 0);
  // A byte now and then begins no new window.
  for (int i = 0; i < 5; ++i) {
    pair.client_sends(1);
    connections.enter(&pair, Phase::working);
    connections.enter(&pair, Phase::receiving);
  }
  connections.enter(&pair, Phase::working);
  CHECK(connections.cut_slow(now + seconds(500)) == 0);
  connections.enter(&pair, Phase::receiving);
  CHECK(connections.cut_slow(now + seconds(65)) == 1);
  CHECK(pair.closed());
}

TEST_CASE("a reply that nobody reads is cut off") {
  Pair pair;
  Connections connections;
  connections.opened(&pair, pair.server.get());
  connections.enter(&pair, Phase::working);
  connections.enter(&pair, Phase::sending);
  const auto now = Connections::Clock::now();
  CHECK(connections.cut_slow(now + seconds(29)) == 0);
  CHECK(connections.cut_slow(now + seconds(31)) == 1);
  connections.enter(&pair, Phase::head);
  CHECK(connections.busy() == 0);
}

}  // namespace
}  // namespace dray::registry_server
