// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <dray/core/progress.hpp>
#include <dray/core/reference.hpp>
#include <dray/registry/client.hpp>

#include "authorizer.hpp"
#include "http.hpp"
#include "remote_error.hpp"
#include "url.hpp"

namespace dray::registry {

/// Where a repository is to be had.
struct Endpoint {
  std::string host;        ///< "registry-1.docker.io", "mirror.example:5000"
  std::string scheme;      ///< "https", "http", or "" = find out
  std::string repository;  ///< "library/debian", with a mirror's path before it
};
/// The registry that `reference` names.
Endpoint origin_of(const Reference& reference);
Result<Endpoint> mirror_of(const Mirror& mirror, const Reference& reference);

/// One repository of one registry while a pull or push lasts: its base URL, trust and authorization.
/// Thread-safe; each thread brings its own HttpClient.
class Session {
 public:
  /// Finds out how the registry is spoken to (https, or http where allowed) and what it wants to know from
  /// us.
  static Result<std::unique_ptr<Session>> connect(HttpClient& client, const Reference& reference, Purpose purpose,
                                                  const Options& options, ProgressSink& progress, const Stop& stop) {
    return connect(client, origin_of(reference), reference, purpose, options, progress, stop);
  }
  static Result<std::unique_ptr<Session>> connect(HttpClient& client, const Endpoint& endpoint,
                                                  const Reference& reference, Purpose purpose, const Options& options,
                                                  ProgressSink& progress, const Stop& stop);

  /// Asks the registry whether it knows `credentials` (`docker login`); permission_denied if not. Returns the identity
  /// token its token server gave for the password, or "".
  static Result<std::string> try_credentials(HttpClient& client, const std::string& registry, Credentials credentials,
                                             const Options& options, ProgressSink& progress, const Stop& stop);

  /// The absolute URL of "/v2/<repository>/<path>".
  std::string url(const std::string& path) const { return base_ + "/v2/" + endpoint_.repository + "/" + path; }
  /// The same for a path that belongs to no repository ("_catalog"), or one the registry sent as a link.
  Result<std::string> url_of_link(const std::string& link) const;
  const Reference& reference() const { return reference_; }
  const std::string& host() const { return endpoint_.host; }

  /// One try: adds authorization (for the registry itself only), answers one 401, follows redirects of GET
  /// and HEAD.
  Result<Response> send(HttpClient& client, Request request);
  /// send() until it succeeds or fails for good. For requests whose on_body can start anew (or that have
  /// none). A transfer that failed becomes an Error; any HTTP status is returned.
  Result<Response> send_retrying(HttpClient& client, const Request& request);

  /// Adds the right to read `repository` to the tokens that are asked for (cross-repository mount).
  void add_pull_scope(const std::string& repository);
  const Stop& stop() const { return stop_; }

 private:
  static Result<std::unique_ptr<Session>> connect_as(HttpClient& client, const Endpoint& endpoint,
                                                     const Reference& reference, Purpose purpose,
                                                     const Options& options, const Stop& stop,
                                                     std::optional<Credentials> credentials, ProgressSink& progress);
  Session(const Endpoint& endpoint, const Reference& reference, Purpose purpose, const Options& options,
          const Stop& stop)
      : endpoint_(endpoint), reference_(reference), purpose_(purpose), options_(options), stop_(stop) {}
  Result<Response> probe(HttpClient& client);
  Result<Response> follow(HttpClient& client, Request request);
  Result<TlsSettings> tls_for(const std::string& url);
  bool may_be_insecure(const std::string& host_and_port) const;

  const Endpoint endpoint_;
  const Reference reference_;
  const Purpose purpose_;
  const Options& options_;
  const Stop& stop_;
  std::string base_;  ///< "https://registry-1.docker.io"
  Origin origin_;
  std::string config_directory_;
  std::unique_ptr<Authorizer> authorizer_;
  std::mutex tls_mutex_;
  std::map<std::string, TlsSettings> tls_;
};

}  // namespace dray::registry
