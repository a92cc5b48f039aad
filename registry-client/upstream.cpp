// SPDX-License-Identifier: Apache-2.0
#include <dray/registry/upstream.hpp>

#include <charconv>

#include "fetch.hpp"
#include "session.hpp"
#include "url.hpp"

namespace dray::registry {

struct Upstream::State {
  explicit State(const CancelToken& cancel) : stop(cancel) {}

  std::string domain;
  Options options;
  SilentProgress progress;
  Stop stop;
  std::mutex mutex;
  std::map<std::string, std::shared_ptr<Session>> sessions;  ///< by repository
  std::vector<HttpClient> idle;

  Result<std::shared_ptr<Session>> session(HttpClient& client, const std::string& repository) {
    {
      const std::lock_guard lock(mutex);
      if (const auto known = sessions.find(repository); known != sessions.end()) return known->second;
    }
    const Reference reference = TRY(Reference::parse(domain + "/" + repository));
    std::shared_ptr<Session> made =
        TRY(Session::connect(client, reference, Purpose::pull_manifest, options, progress, stop));
    const std::lock_guard lock(mutex);
    constexpr std::size_t kMostSessions = 1000;
    if (sessions.size() >= kMostSessions) sessions.clear();
    return sessions.emplace(repository, std::move(made)).first->second;
  }

  /// A connection for one piece of work; kept alive for the next.
  Result<HttpClient> take_client() {
    const std::lock_guard lock(mutex);
    if (idle.empty()) return HttpClient::create();
    HttpClient client = std::move(idle.back());
    idle.pop_back();
    return client;
  }
  void give_back(HttpClient client) {
    constexpr std::size_t kMostIdle = 8;
    const std::lock_guard lock(mutex);
    if (idle.size() < kMostIdle) idle.push_back(std::move(client));
  }

  template <typename Work>
  auto with(const std::string& repository, Work work)
      -> decltype(work(std::declval<Session&>(), std::declval<HttpClient&>())) {
    HttpClient client = TRY(take_client());
    const std::shared_ptr<Session> connected = TRY(session(client, repository));
    auto result = work(*connected, client);
    give_back(std::move(client));
    return result;
  }
};

Upstream::Upstream(std::unique_ptr<State> state) : state_(std::move(state)) {}
Upstream::~Upstream() = default;

Result<std::unique_ptr<Upstream>> Upstream::create(const std::string& url, const CancelToken& cancel) {
  const Origin origin = TRY(parse_origin(url));
  const std::size_t host = url.find("://") + 3;
  const std::string rest = url.substr(host).ends_with('/') ? url.substr(host, url.size() - host - 1) : url.substr(host);
  if (rest.find_first_of("/?#@") != std::string::npos)
    return fail(ErrorCode::invalid_argument, "\"" + url + "\" has more than a host and a port");
  auto state = std::make_unique<State>(cancel);
  state->domain = rest == "registry-1.docker.io" || rest == "index.docker.io" ? "docker.io" : rest;
  if (state->domain.find_first_of(".:") == std::string::npos && state->domain != "localhost") {
    state->domain += origin.scheme == "https" ? ":443" : ":80";  // or its name would read as one of Docker Hub's
  }
  if (origin.scheme == "http") state->options.insecure_registries.push_back(state->domain);
  return std::unique_ptr<Upstream>(new Upstream(std::move(state)));
}

Result<Digest> Upstream::resolve(const std::string& repository, const std::string& tag) {
  return state_->with(repository, [&](Session& session, HttpClient& client) -> Result<Digest> {
    Request request;
    request.method = "HEAD";
    request.url = session.url("manifests/" + tag);
    request.headers = {accept_all()};
    request.connect_timeout = std::chrono::seconds(5);
    request.stall_timeout = std::chrono::seconds(10);
    const Response response = TRY(session.send(client, request));
    if (response.failure != TransferFailure::none) return Failure(transfer_error(response, session.host()));
    if (!response.ok()) return Failure(remote_error(response, session.reference(), Purpose::pull_manifest));
    const auto digest = Digest::parse(response.header("docker-content-digest"));
    return digest ? *digest : Digest();
  });
}

Result<Upstream::Manifest> Upstream::manifest(const std::string& repository, const std::string& reference) {
  return state_->with(repository, [&](Session& session, HttpClient& client) -> Result<Manifest> {
    Document document = TRY(fetch_document(session, client, reference, nullptr));
    return Manifest{std::move(document.bytes), std::move(document.media_type)};
  });
}

Result<std::uint64_t> Upstream::blob_size(const std::string& repository, const Digest& digest) {
  return state_->with(repository, [&](Session& session, HttpClient& client) -> Result<std::uint64_t> {
    Request request;
    request.method = "HEAD";
    request.url = session.url("blobs/" + digest.to_string());
    const Response response = TRY(session.send_retrying(client, request));
    if (!response.ok()) return Failure(remote_error(response, session.reference(), Purpose::pull_blob));
    const std::string_view text = response.header("content-length");
    std::uint64_t size = 0;
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), size);
    if (error != std::errc() || rest != text.data() + text.size())
      return fail(ErrorCode::unavailable, "the registry does not say how large " + digest.to_string() + " is");
    return size;
  });
}

Result<void> Upstream::blob(const std::string& repository, const Digest& digest, std::uint64_t size,
                            const std::function<Result<void>(std::span<const std::byte>)>& take) {
  return state_->with(repository, [&](Session& session, HttpClient& client) -> Result<void> {
    image::Descriptor blob;
    blob.digest = digest;
    blob.size = size;
    return fetch_blob(session, client, blob, take);
  });
}

}  // namespace dray::registry
