// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <dray/core/fd.hpp>
#include <dray/core/progress.hpp>
#include <dray/core/result.hpp>

namespace dray::registry {

/// Why work has to stop: the user cancelled, or another transfer of the same work failed. Thread-safe.
class Stop {
 public:
  explicit Stop(const CancelToken& cancel) : cancel_(cancel) {}
  void abandon() { abandoned_.store(true, std::memory_order_relaxed); }
  bool requested() const { return cancel_.cancelled() || abandoned_.load(std::memory_order_relaxed); }
  /// Sleeps, at most 50 ms beyond a stop; false if one came.
  bool sleep(std::chrono::milliseconds duration) const;
  static Error error() { return Error(ErrorCode::cancelled, "cancelled"); }

 private:
  const CancelToken& cancel_;
  std::atomic<bool> abandoned_{false};
};

/// What a connection to one host:port trusts and shows.
struct TlsSettings {
  bool verify = true;
  std::string ca_pem;                          ///< "" = the system's
  std::string client_certificate, client_key;  ///< paths, or empty
};

/// How a request ended without a complete answer.
enum class TransferFailure {
  none,
  unreachable,      ///< name not resolved, connection refused or timed out
  handshake,        ///< no TLS on the other side, or it broke off
  certificate,      ///< not trusted
  own_certificate,  ///< ours is wanted, or not good enough
  interrupted,      ///< connection lost or stalled after it stood
  protocol          ///< an answer that is not HTTP; not worth a second try
};

struct Response {
  int status = 0;
  std::string url;                                           ///< that answered, after redirects
  std::string body;                                          ///< unless it went to Request::on_body
  std::vector<std::pair<std::string, std::string>> headers;  ///< names in lower case
  TransferFailure failure = TransferFailure::none;
  std::string failure_text;

  bool ok() const { return failure == TransferFailure::none && status >= 200 && status < 300; }
  /// The first header of that (lower-case) name, or "".
  std::string_view header(std::string_view name) const;
  std::vector<std::string> all(std::string_view name) const;
};

/// A body sent from a file, `size` bytes from `offset`, anew on every try.
struct FileUpload {
  FdRef file;
  std::uint64_t size = 0;
  std::function<void(std::uint64_t sent)> on_progress;
  std::uint64_t offset = 0;
};

struct Request {
  std::string method = "GET";
  std::string url;
  std::vector<std::string> headers;
  std::string authorization;  ///< value of the header, or ""
  std::string body;           ///< for POST and PUT
  std::optional<FileUpload> upload;
  std::size_t body_limit =
      64u << 10;  ///< of a 2xx answer kept in memory; more is corrupt. Other answers are cut at 64 KiB.
  /// Takes the body of a 2xx answer as it comes; `head` has status and headers. An error aborts the transfer
  /// and is returned.
  std::function<Result<void>(const Response& head, std::span<const std::byte> bytes)> on_body;
  TlsSettings tls;
  std::chrono::milliseconds connect_timeout{15000};
  std::chrono::seconds stall_timeout{60};  ///< without a byte
};

/// HTTP/1.1 and HTTP/2 over kept-alive connections. One thread each; follows no redirect, adds no credentials
/// of its own.
class HttpClient {
 public:
  static Result<HttpClient> create();
  HttpClient(HttpClient&&) noexcept;
  HttpClient& operator=(HttpClient&&) noexcept;
  ~HttpClient();
  /// An Error is ours (cancelled, on_body's); what the network did is in Response::failure. Returns within
  /// 100 ms of a stop.
  Result<Response> perform(const Request& request, const Stop& stop);

 private:
  struct State;
  explicit HttpClient(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace dray::registry
