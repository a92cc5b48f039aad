// SPDX-License-Identifier: Apache-2.0
// The rules of the road between HttpClient and the registry protocol: which scheme a registry is spoken to
// with, who may see credentials (the registry's own origin, and the token server it names; never the target
// of a redirect), which answers are worth a second try.
#include "session.hpp"

#include "step_progress.hpp"

namespace dray::registry {
namespace {

constexpr int kMaxRedirects = 10;

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

std::string scope_for(Purpose purpose, const std::string& repository) {
  if (purpose == Purpose::catalog) return "registry:catalog:*";
  const std::string rights = purpose == Purpose::push     ? "pull,push"
                             : purpose == Purpose::remove ? "pull,push,delete"
                                                          : "pull";
  return "repository:" + repository + ":" + rights;
}

}  // namespace

Endpoint origin_of(const Reference& reference) {
  return {reference.domain() == "docker.io" ? "registry-1.docker.io" : reference.domain(), "", reference.repository()};
}

Result<Endpoint> mirror_of(const Mirror& mirror, const Reference& reference) {
  const Origin origin = TRY_CTX(parse_origin(mirror.url), "registry mirror");
  std::string path = mirror.url.substr(mirror.url.find("://") + 3);
  path = path.find('/') == std::string::npos ? "" : path.substr(path.find('/') + 1);
  while (path.ends_with('/')) path.pop_back();
  if (path.find_first_of("?#") != std::string::npos)
    return fail(ErrorCode::invalid_argument, "registry mirror \"" + mirror.url + "\": it has a query or a fragment");
  return Endpoint{origin.host_and_port(), origin.scheme, path + (path.empty() ? "" : "/") + reference.repository()};
}

Result<std::unique_ptr<Session>> Session::connect(HttpClient& client, const Endpoint& endpoint,
                                                  const Reference& reference, Purpose purpose, const Options& options,
                                                  ProgressSink& progress, const Stop& stop) {
  return connect_as(client, endpoint, reference, purpose, options, stop, std::nullopt, progress);
}

Result<std::string> Session::try_credentials(HttpClient& client, const std::string& registry, Credentials credentials,
                                             const Options& options, ProgressSink& progress, const Stop& stop) {
  // A token for no repository at all: what is asked is who we are.
  const Reference anything = TRY(Reference::parse(registry + "/login"));
  const auto session = TRY(connect_as(client, origin_of(anything), anything, Purpose::login, options, stop,
                                      std::move(credentials), progress));
  Request request;
  request.url = session->base_ + "/v2/";
  const Response response = TRY(session->send_retrying(client, request));
  if (response.status == 401 || response.status == 403)
    return Failure(denied(anything, Purpose::login, "incorrect username or password"));
  if (!response.ok()) return Failure(remote_error(response, anything, Purpose::login));
  return session->authorizer_->identity_token();
}

Result<std::unique_ptr<Session>> Session::connect_as(HttpClient& client, const Endpoint& endpoint,
                                                     const Reference& reference, Purpose purpose,
                                                     const Options& options, const Stop& stop,
                                                     std::optional<Credentials> given, ProgressSink& progress) {
  std::unique_ptr<Session> session(new Session(endpoint, reference, purpose, options, stop));
  session->config_directory_ = docker_config_directory(options.docker_config_directory);
  std::vector<std::string> warnings;
  // A mirror is another registry: it sees only what is meant for it.
  const bool is_origin = endpoint.host == origin_of(reference).host;
  const std::string domain = is_origin ? reference.domain() : endpoint.host;
  if (!given) {
    given = TRY(find_credentials(session->config_directory_, domain, stop, warnings));
    if (given->empty()) given = TRY(find_containers_credentials(domain, endpoint.repository));
  }
  for (const std::string& warning : warnings) report_message(progress, warning);
  const Response first = TRY(session->probe(client));
  session->authorizer_ = std::make_unique<Authorizer>(*std::move(given), session->origin_.scheme == "http");
  if (purpose == Purpose::login) {
    session->authorizer_->want_identity_token();
  } else {
    session->authorizer_->add_scope(scope_for(purpose, endpoint.repository));
  }
  if (first.status == 401) {
    auto prepared = session->authorizer_->prepare(parse_challenges(first.all("www-authenticate")));
    if (!prepared) return Failure(denied(reference, purpose, prepared.error().message()));
  }
  return session;
}

bool Session::may_be_insecure(const std::string& host_and_port) const {
  if (is_loopback(host_and_port)) return true;
  return std::ranges::any_of(options_.insecure_registries,
                             [&](const std::string& rule) { return matches_insecure_rule(host_and_port, rule); });
}

Result<TlsSettings> Session::tls_for(const std::string& url) {
  const Origin origin = TRY(parse_origin(url));
  if (origin.scheme != "https") return TlsSettings{};
  const std::string host = origin.host_and_port();
  const std::lock_guard lock(tls_mutex_);
  if (const auto known = tls_.find(host); known != tls_.end()) return known->second;
  TlsSettings settings = TRY(find_tls_settings(config_directory_, host));
  if (may_be_insecure(host)) settings.verify = false;
  return tls_.emplace(host, std::move(settings)).first->second;
}

// GET /v2/: any answer at all shows that the scheme is right.
Result<Response> Session::probe(HttpClient& client) {
  const std::string& host = endpoint_.host;
  const bool insecure = endpoint_.scheme.empty() && may_be_insecure(host);
  Backoff backoff;
  for (;;) {
    Response response;
    for (const char* scheme : {"https://", "http://"}) {
      if (endpoint_.scheme == "http" && scheme == std::string_view("https://")) continue;
      Request request;
      request.url = scheme + host + "/v2/";
      TRY_CTX(parse_origin(request.url), "registry " + host);
      request.tls = TRY(tls_for(request.url));
      // A plain server may sit there and wait for the rest of what it takes for a request.
      if (is_loopback(host)) request.connect_timeout = std::chrono::seconds(5);
      response = TRY(client.perform(request, stop_));
      if (response.failure == TransferFailure::none) {
        base_ = scheme + host;
        origin_ = TRY(parse_origin(base_));
        if (!is_temporary(response)) return response;
        break;
      }
      if (!insecure) break;
    }
    const auto wait = backoff.next(response);
    if (!wait) {
      if (response.failure != TransferFailure::none) return Failure(transfer_error(response, host));
      return response;  // busy: the real request will say with what
    }
    if (!stop_.sleep(*wait)) return Failure(Stop::error());
  }
}

Result<Response> Session::follow(HttpClient& client, Request request) {
  for (int hops = 0; hops <= kMaxRedirects; ++hops) {
    request.tls = TRY(tls_for(request.url));
    Response response = TRY(client.perform(request, stop_));
    const bool repeatable = request.method == "GET" || request.method == "HEAD";
    if (response.failure != TransferFailure::none || !is_redirect(response.status) || !repeatable) return response;
    const std::string next = TRY(resolve_location(request.url, std::string(response.header("location"))));
    const Origin from = TRY(parse_origin(request.url));
    const Origin to = TRY(parse_origin(next));
    if (from != to) request.authorization.clear();
    request.url = next;
  }
  return fail(ErrorCode::unavailable,
              "registry " + endpoint_.host + ": more than " + std::to_string(kMaxRedirects) + " redirects");
}

Result<Response> Session::send(HttpClient& client, Request request) {
  const Origin target = TRY(parse_origin(request.url));
  if (target != origin_) return follow(client, std::move(request));  // an upload location elsewhere: no credentials

  const Authorizer::Transport transport = [&](Request token_request) -> Result<Response> {
    Backoff backoff;
    for (;;) {
      Response response = TRY(follow(client, token_request));
      if (!is_temporary(response) && response.failure == TransferFailure::none) return response;
      const auto wait = backoff.next(response);
      if (!wait) {
        if (response.failure == TransferFailure::none) return response;
        const Origin realm = TRY(parse_origin(token_request.url));
        return Failure(transfer_error(response, realm.host_and_port()));
      }
      if (!stop_.sleep(*wait)) return Failure(Stop::error());
    }
  };
  const auto explain = [&](Error error) {
    return error.code() == ErrorCode::permission_denied ? denied(reference_, purpose_, error.message())
                                                        : std::move(error);
  };

  for (int tries = 0;; ++tries) {
    auto header = authorizer_->header(transport);
    if (!header) return Failure(explain(std::move(header).error()));
    request.authorization = *header;
    Response response = TRY(follow(client, request));
    if (response.failure != TransferFailure::none || response.status != 401 || tries == 1) return response;
    const auto answered_by = parse_origin(response.url);
    if (!answered_by || *answered_by != origin_) return response;  // a redirect's target may not ask us for anything
    auto better = authorizer_->answer(parse_challenges(response.all("www-authenticate")), *header, transport);
    if (!better) return Failure(explain(std::move(better).error()));
    if (!*better) return response;
  }
}

Result<Response> Session::send_retrying(HttpClient& client, const Request& request) {
  Backoff backoff(Backoff::Patience::patient);
  for (;;) {
    Response response = TRY(send(client, request));
    if (response.failure == TransferFailure::none && !is_temporary(response)) return response;
    const auto wait = backoff.next(response);
    if (!wait) {
      if (response.failure != TransferFailure::none) return Failure(transfer_error(response, endpoint_.host));
      return response;
    }
    if (!stop_.sleep(*wait)) return Failure(Stop::error());
  }
}

Result<std::string> Session::url_of_link(const std::string& link) const {
  return resolve_location(base_ + "/v2/", link);
}

void Session::add_pull_scope(const std::string& repository) {
  authorizer_->add_scope("repository:" + repository + ":pull");
}

}  // namespace dray::registry
