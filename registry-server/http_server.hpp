// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <dray/core/fd.hpp>
#include <dray/core/result.hpp>

#include "exchange.hpp"

namespace dray::registry_server {

/// HTTP/1.1 over libmicrohttpd, which only http_server.cpp sees: a thread a connection, bodies in parts of 64 KiB,
/// files by sendfile. A client that is slow on purpose is cut off (see connections.hpp).
class HttpServer {
 public:
  struct Options {
    std::string certificate_pem, key_pem;  ///< both or none
    unsigned most_connections = 512;
  };
  using Begin = std::function<std::unique_ptr<Exchange>(const Request&)>;
  using Log = std::function<void(const std::string& line)>;

  /// `listener` is a listening TCP socket. Never throws into the library: begin and exchanges return values.
  static Result<std::unique_ptr<HttpServer>> start(FileDescriptor listener, const Options& options, Begin begin,
                                                   Log log);
  /// Takes no new connections, lets requests end for at most ten seconds, then closes all.
  ~HttpServer();
  /// To be called about once a second: cuts off the slow.
  void tick();

 private:
  struct State;
  explicit HttpServer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace dray::registry_server
