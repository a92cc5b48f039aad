// SPDX-License-Identifier: Apache-2.0
// Lists, and single manifests. Lists come in pages, each naming the next by a Link header, which may only lead to the
// registry itself as far as credentials go (Session::send sees to that).
#include <dray/registry/remote.hpp>

#include <set>
#include "blob_transfer.hpp"

#include "blob_upload.hpp"
#include "fetch.hpp"
#include "listing.hpp"
#include "platform_choice.hpp"
#include "transport_json.hpp"
#include "url.hpp"

namespace dray::registry {
namespace {

constexpr std::size_t kMaxNames = 1u << 20;
constexpr std::size_t kMaxPage = 16u << 20;

/// A session with what it stands on.
struct Connection {
  Stop stop;
  HttpClient client;
  std::unique_ptr<Session> session;

  Connection(const CancelToken& cancel, HttpClient http) : stop(cancel), client(std::move(http)) {}
  static Result<std::unique_ptr<Connection>> open(const Reference& reference, Purpose purpose, const Options& options,
                                                  ProgressSink& progress, const CancelToken& cancel) {
    auto connection = std::make_unique<Connection>(cancel, TRY(HttpClient::create()));
    connection->session =
        TRY(Session::connect(connection->client, reference, purpose, options, progress, connection->stop));
    return connection;
  }
};

Result<std::vector<std::string>> read_pages(Connection& connection, std::string url, const char* key) {
  Session& session = *connection.session;
  std::vector<std::string> names;
  std::set<std::string> seen;
  for (int page = 0; page < kMaxPages; ++page) {
    Request request;
    request.url = url;
    request.body_limit = kMaxPage;
    const Response response = TRY(session.send_retrying(connection.client, request));
    if (!response.ok()) return Failure(remote_error(response, session.reference(), Purpose::pull_manifest));
    std::vector<std::string> more = TRY(parse_names(response.body, key));
    names.insert(names.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
    const std::string next = next_link(response.header("link"));
    if (next.empty() || more.empty()) return names;
    url = TRY(session.url_of_link(next));
    if (names.size() > kMaxNames || !seen.insert(url).second) break;
  }
  return fail(ErrorCode::corrupt, "the registry's list does not end");
}

}  // namespace

std::string next_link(std::string_view header) {
  const auto begin = header.find('<');
  const auto end = header.find('>');
  if (begin == std::string_view::npos || end == std::string_view::npos || end < begin) return "";
  const std::string_view parameters = header.substr(end);
  if (parameters.find("rel=\"next\"") == std::string_view::npos &&
      parameters.find("rel=next") == std::string_view::npos)
    return "";
  return std::string(header.substr(begin + 1, end - begin - 1));
}

Result<std::vector<std::string>> list_tags(const Reference& reference, const Options& options, ProgressSink& progress,
                                           const CancelToken& cancel) {
  const auto connection = TRY(Connection::open(reference, Purpose::pull_manifest, options, progress, cancel));
  return read_pages(*connection, connection->session->url("tags/list?n=1000"), "tags");
}

Result<std::vector<std::string>> list_repositories(const std::string& registry, const Options& options,
                                                   ProgressSink& progress, const CancelToken& cancel) {
  const Reference anything = TRY_CTX(Reference::parse(registry + "/catalog"), "registry \"" + registry + "\"");
  if (anything.domain() != registry)
    return fail(ErrorCode::invalid_argument, "\"" + registry + "\" is not the name of a registry (host or host:port)");
  const auto connection = TRY(Connection::open(anything, Purpose::catalog, options, progress, cancel));
  return read_pages(*connection, TRY(connection->session->url_of_link("/v2/_catalog?n=1000")), "repositories");
}

Result<RemoteDocument> get_manifest(const Reference& reference, const Options& options, ProgressSink& progress,
                                    const CancelToken& cancel) {
  const auto connection = TRY(Connection::open(reference, Purpose::pull_manifest, options, progress, cancel));
  Document document = TRY(fetch_document(*connection->session, connection->client, reference.tag_or_digest(), nullptr));
  return RemoteDocument{std::move(document.bytes), std::move(document.media_type), document.digest};
}

Result<std::string> get_config(const Reference& reference, const image::Platform& platform, const Options& options,
                               ProgressSink& progress, const CancelToken& cancel) {
  const auto connection = TRY(Connection::open(reference, Purpose::pull_manifest, options, progress, cancel));
  Session& session = *connection->session;
  Document top = TRY(fetch_document(session, connection->client, reference.tag_or_digest(), nullptr));
  const Document document =
      TRY(choose_platform(std::move(top), platform, reference.familiar(), [&](const image::Descriptor& entry) {
        return fetch_document(session, connection->client, entry.digest.to_string(), &entry);
      }));
  const image::Manifest manifest = TRY(image::parse_manifest(document.bytes));
  if (manifest.config.size > image::kMaxManifestSize) return fail(ErrorCode::corrupt, "the image config is too large");
  std::string bytes;
  TRY(fetch_blob(session, connection->client, manifest.config, [&](std::span<const std::byte> more) -> Result<void> {
    bytes.append(reinterpret_cast<const char*>(more.data()), more.size());
    return {};
  }));
  Hasher hasher(manifest.config.digest.algorithm());
  hasher.update(bytes);
  if (const Digest actual = hasher.finish(); actual != manifest.config.digest)
    return fail(ErrorCode::corrupt, "the image config has digest " + actual.to_string() + ", expected " +
                                        manifest.config.digest.to_string());
  return bytes;
}

Result<Digest> put_manifest(const Reference& reference, const RemoteDocument& document, const Options& options,
                            ProgressSink& progress, const CancelToken& cancel) {
  const auto connection = TRY(Connection::open(reference, Purpose::push, options, progress, cancel));
  Uploader uploader(*connection->session);
  TRY(uploader.put_manifest(connection->client, reference.tag_or_digest(), document.bytes, document.media_type,
                            document.digest));
  return document.digest;
}

Result<std::string> remove_manifest(const Reference& reference, const Options& options, ProgressSink& progress,
                                    const CancelToken& cancel) {
  const auto connection = TRY(Connection::open(reference, Purpose::remove, options, progress, cancel));
  Session& session = *connection->session;
  const auto remove = [&](const std::string& name) {
    Request request;
    request.method = "DELETE";
    request.url = session.url("manifests/" + name);
    return session.send_retrying(connection->client, request);
  };
  const std::string asked = reference.tag_or_digest();
  Response response = TRY(remove(asked));
  if (response.ok()) return asked;
  const bool by_tag = !reference.digest();
  // 400 and 405 are how registries say that a tag cannot be removed by itself (docker-registry: "DIGEST_INVALID").
  if (by_tag && (response.status == 400 || response.status == 405 || response.status == 404)) {
    Request head;
    head.method = "HEAD";
    head.url = session.url("manifests/" + asked);
    head.headers = {accept_all()};
    const Response found = TRY(session.send_retrying(connection->client, head));
    if (!found.ok()) return Failure(remote_error(found, reference, Purpose::pull_manifest));
    const auto digest = Digest::parse(found.header("docker-content-digest"));
    if (digest) {
      response = TRY(remove(digest->to_string()));
      if (response.ok()) return digest->to_string();
    }
  }
  if (response.status == 405)
    return Failure(Error(ErrorCode::unsupported, "the registry " + session.host() + " does not allow to remove images")
                       .with_hint("docker-registry needs REGISTRY_STORAGE_DELETE_ENABLED=true"));
  return Failure(remote_error(response, reference, Purpose::pull_manifest));
}

}  // namespace dray::registry
