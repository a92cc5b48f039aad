// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <dray/core/fd.hpp>
#include <dray/core/result.hpp>

#include "ranges.hpp"
#include "target.hpp"

// A request and its reply without the HTTP library: http_server.cpp carries them, the handlers make them.

namespace dray::registry_server {

struct Request {
  std::string method;
  Target target;
  std::string path;  ///< as sent, with the query
  std::optional<std::uint64_t> content_length;
  std::function<std::string(std::string_view name)> header;  ///< "" if absent
};

/// A part of a file that nobody changes.
struct FileBody {
  FileDescriptor file;
  Slice slice;
};
/// Bytes that are still arriving. read() waits; 0 = they won't come, and the connection is broken off.
class ArrivingBytes {
 public:
  virtual ~ArrivingBytes() = default;
  virtual std::size_t read(std::uint64_t offset, std::span<std::byte> buffer) = 0;
};
struct ArrivingBody {
  std::shared_ptr<ArrivingBytes> bytes;  ///< null in the reply to a HEAD, which sends none
  Slice slice;
};

struct Reply {
  int status = 200;
  std::vector<std::pair<std::string, std::string>> headers;
  std::variant<std::string, FileBody, ArrivingBody> body;

  Reply with(std::string name, std::string value) && {
    headers.emplace_back(std::move(name), std::move(value));
    return std::move(*this);
  }
};

/// {"errors": […]} of the spec.
Reply error_reply(int status, std::string_view code, std::string_view message);
/// By the Error's code, for what is the server's own failure: 507 for a full disk, 503, 500. `path` tells nobody where.
Reply failure_reply(const Error& error);

/// One request being served: gets the body in parts, then is asked for the reply once. By default the body is ignored.
class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual void take(std::span<const std::byte> bytes) { (void)bytes; }
  virtual Reply reply() = 0;
  /// The reply is an error whatever the body is: a long one need not be read.
  virtual bool refused() const { return false; }
};

std::unique_ptr<Exchange> replying(Reply reply);
std::unique_ptr<Exchange> replying(std::function<Reply()> make);

}  // namespace dray::registry_server
