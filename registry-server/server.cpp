// SPDX-License-Identifier: Apache-2.0
// Puts the parts together and lets them run.
#include <dray/registry/server.hpp>

#include <sys/resource.h>

#include <optional>
#include <thread>

#include "handlers.hpp"
#include "http_server.hpp"
#include "listener.hpp"
#include "pull_through.hpp"

namespace dray::registry {
namespace {

using namespace registry_server;

constexpr auto kTick = std::chrono::seconds(1);
constexpr auto kNap = std::chrono::milliseconds(50);
constexpr std::int64_t kGarbageAge = 3600;
constexpr std::size_t kMaxPem = 1u << 20;

Result<HttpServer::Options> tls_of(const ServerOptions& options) {
  HttpServer::Options http;
  if (options.tls_certificate.empty() != options.tls_key.empty())
    return fail(ErrorCode::invalid_argument, "--tls-cert and --tls-key belong together");
  if (options.tls_certificate.empty()) return http;
  http.certificate_pem = TRY(read_file(options.tls_certificate, kMaxPem));
  http.key_pem = TRY(read_file(options.tls_key, kMaxPem));
  return http;
}

/// A connection and an upload each need descriptors; the usual soft limit is 1024.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

Result<void> serve(const ServerOptions& options, const CancelToken& cancel, const LogLine& log) {
  raise_descriptor_limit();
  const HttpServer::Options http = TRY(tls_of(options));
  const bool tls = !http.certificate_pem.empty();
  std::optional<Htpasswd> users;
  if (!options.htpasswd.empty()) users = TRY(Htpasswd::load(options.htpasswd));
  std::unique_ptr<Upstream> upstream;
  if (!options.proxy.empty()) upstream = TRY_CTX(Upstream::create(options.proxy, cancel), "--proxy");
  Listener listener = TRY(listen_on(options.listen));
  if (!tls && !listener.loopback && !options.insecure)
    return Failure(
        Error(ErrorCode::invalid_argument, listener.address + " is not on loopback, and there is no TLS")
            .with_hint("give --tls-cert and --tls-key, or --insecure for plain http where nobody listens in"));

  const std::unique_ptr<Repositories> repositories = TRY(Repositories::open(options.storage));
  Uploads uploads;
  std::optional<PullThrough> cache;
  if (upstream) {
    cache.emplace(*repositories, std::move(upstream));
    cache->log = log;
  }
  Handlers handlers{*repositories, uploads, users ? &*users : nullptr, cache ? &*cache : nullptr, log};
  if (listener.loopback && !users) handlers.only_host = TRY(parse_listen_address(options.listen)).host;
  const std::unique_ptr<HttpServer> server = TRY(HttpServer::start(
      std::move(listener.socket), http, [&](const Request& request) { return handlers.begin(request); }, log));
  log("serving " + std::string(tls ? "https" : "http") + "://" + listener.address + " from " + options.storage +
      (options.proxy.empty() ? "" : ", a pull-through cache of " + options.proxy));
  auto next = std::chrono::steady_clock::now() + kTick;
  while (!cancel.cancelled()) {
    std::this_thread::sleep_for(kNap);
    if (std::chrono::steady_clock::now() < next) continue;
    next += kTick;
    server->tick();
    uploads.expire();
  }
  log("stopping");
  return {};
}

Result<Garbage> collect_registry_garbage(const std::string& storage) {
  const std::unique_ptr<Repositories> repositories = TRY(Repositories::open(storage));
  const auto collected = TRY(repositories->collect_garbage(kGarbageAge));
  return Garbage{collected.blobs, collected.bytes};
}

}  // namespace dray::registry
