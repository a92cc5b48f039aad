// SPDX-License-Identifier: Apache-2.0
// Search is no part of the distribution-spec. Docker Hub (and some others) answer the old index's GET /v1/search; a
// registry that does not is asked for its catalog, out of which names that hold the term are taken, as podman does.
#include <dray/registry/remote.hpp>

#include "credentials.hpp"
#include "registry_json.hpp"
#include "session.hpp"

namespace dray::registry {
namespace {

constexpr std::string_view kHub = "index.docker.io";
constexpr std::size_t kMaxAnswer = 4u << 20;

struct Term {
  std::string registry, text;  ///< "" = Docker Hub
};

/// "registry.example:5000/term": what stands before the first slash is a registry if it could not be part of a name.
Result<Term> split_term(const std::string& term) {
  for (const char c : term)
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7f')
      return fail(ErrorCode::invalid_argument, "a search term without control characters is needed");
  if (term.find("://") != std::string::npos)
    return fail(ErrorCode::invalid_argument, "invalid search term \"" + term + "\": it contains a scheme (\"://\")");
  const auto slash = term.find('/');
  Term split{"", term};
  if (slash != std::string::npos) {
    const std::string first = term.substr(0, slash);
    if (first == "localhost" || first.find_first_of(".:") != std::string::npos) split = {first, term.substr(slash + 1)};
  }
  if (split.registry == "docker.io" || split.registry == kHub) split.registry.clear();
  if (split.registry.empty() && split.text.starts_with("library/")) split.text.erase(0, 8);
  if (split.registry.empty() && split.text.empty())
    return fail(ErrorCode::invalid_argument, "the search term is empty");
  return split;
}

std::string query_of(const Term& term, std::size_t limit) {
  return with_query(with_query("/v1/search", "q", term.text), "n", std::to_string(limit));
}

/// Docker Hub's index is no registry: nothing is asked of /v2/ there, and no credentials are needed.
Result<std::vector<SearchResult>> search_hub(const Term& term, std::size_t limit, const Options& options,
                                             const Stop& stop) {
  HttpClient client = TRY(HttpClient::create());
  const Reference hub = TRY(Reference::parse("docker.io/library/search"));
  Request request;
  request.url = "https://" + std::string(kHub) + query_of(term, limit);
  request.body_limit = kMaxAnswer;
  request.tls = TRY(find_tls_settings(docker_config_directory(options.docker_config_directory), std::string(kHub)));
  for (Backoff backoff;;) {
    const Response response = TRY(client.perform(request, stop));
    if (response.ok()) return parse_search(response.body);
    const auto wait = backoff.next(response);
    if (!wait) {
      if (response.failure != TransferFailure::none) return Failure(transfer_error(response, std::string(kHub)));
      return Failure(remote_error(response, hub, Purpose::catalog));
    }
    if (!stop.sleep(*wait)) return Failure(Stop::error());
  }
}

/// nullopt where the registry knows no such search.
Result<std::optional<std::vector<SearchResult>>> search_index(const Term& term, std::size_t limit,
                                                              const Options& options, ProgressSink& progress,
                                                              const Stop& stop) {
  const Reference anything = TRY_CTX(Reference::parse(term.registry + "/search"), "registry \"" + term.registry + "\"");
  HttpClient client = TRY(HttpClient::create());
  const auto session = TRY(Session::connect(client, anything, Purpose::catalog, options, progress, stop));
  Request request;
  request.url = TRY(session->url_of_link(query_of(term, limit)));
  request.body_limit = kMaxAnswer;
  const Response response = TRY(session->send_retrying(client, request));
  if (!response.ok()) return std::optional<std::vector<SearchResult>>();
  auto found = parse_search(response.body);
  if (!found) return std::optional<std::vector<SearchResult>>();  // a web page for whatever is asked
  return std::optional(*std::move(found));
}

}  // namespace

Result<std::vector<SearchResult>> search(const std::string& term, std::size_t limit, const Options& options,
                                         ProgressSink& progress, const CancelToken& cancel) {
  const Term split = TRY(split_term(term));
  Stop stop(cancel);
  std::vector<SearchResult> found;
  if (split.registry.empty()) {
    found = TRY(search_hub(split, limit, options, stop));
  } else if (auto known = TRY(search_index(split, limit, options, progress, stop))) {
    found = *std::move(known);
  } else {
    for (std::string& name : TRY(list_repositories(split.registry, options, progress, cancel)))
      if (found.size() < limit && name.find(split.text) != std::string::npos)
        found.push_back({.name = std::move(name), .description = ""});
  }
  if (found.size() > limit) found.resize(limit);
  if (!split.registry.empty())
    for (SearchResult& result : found) result.name = split.registry + "/" + result.name;
  return found;
}

}  // namespace dray::registry
