// SPDX-License-Identifier: Apache-2.0
// What stands before every endpoint: who may ask, does the name fit the grammar, has the endpoint that method.
#include "handlers.hpp"

#include <algorithm>
#include <array>

#include "listener.hpp"
#include "names.hpp"

namespace dray::registry_server {
namespace {

struct Methods {
  Route route;
  std::string_view allowed;
};
constexpr auto kMethods = std::to_array<Methods>({{Route::version, "GET, HEAD"},
                                                  {Route::catalog, "GET, HEAD"},
                                                  {Route::blob, "GET, HEAD, DELETE"},
                                                  {Route::upload_start, "POST"},
                                                  {Route::upload, "GET, HEAD, PATCH, PUT, DELETE"},
                                                  {Route::manifest, "GET, HEAD, PUT, DELETE"},
                                                  {Route::tags, "GET, HEAD"},
                                                  {Route::referrers, "GET, HEAD"}});

bool lists(std::string_view allowed, std::string_view method) {
  while (!allowed.empty()) {
    const std::size_t comma = std::min(allowed.find(", "), allowed.size());
    if (allowed.substr(0, comma) == method) return true;
    allowed.remove_prefix(std::min(comma + 2, allowed.size()));
  }
  return false;
}

bool reads(const Request& request) { return request.method == "GET" || request.method == "HEAD"; }

std::unique_ptr<Exchange> refuse(int status, std::string_view code, std::string_view message) {
  return replying(error_reply(status, code, message));
}

std::unique_ptr<Exchange> blob(Handlers& handlers, const Request& request) {
  const auto digest = Digest::parse(request.target.reference);
  if (!digest) return refuse(400, "DIGEST_INVALID", "not a sha256 or sha512 digest");
  return reads(request) ? read_blob(handlers, request, *digest) : delete_blob(handlers, request, *digest);
}

std::unique_ptr<Exchange> manifest(Handlers& handlers, const Request& request) {
  const std::string& reference = request.target.reference;
  if (reference.find(':') != std::string::npos) {
    if (!Digest::parse(reference)) return refuse(400, "DIGEST_INVALID", "not a sha256 or sha512 digest");
  } else if (!is_tag(reference)) {
    return reads(request) ? refuse(404, "MANIFEST_UNKNOWN", "no such manifest")
                          : refuse(400, "MANIFEST_INVALID", "not a tag");
  }
  if (reads(request)) return read_manifest_of(handlers, request);
  return request.method == "PUT" ? put_manifest_of(handlers, request) : delete_manifest_of(handlers, request);
}

}  // namespace

std::unique_ptr<Exchange> Handlers::begin(const Request& request) {
  const Target& target = request.target;
  // No client of registries sends it, every browser does when a page writes: a page must not push to a loopback
  // registry.
  if (!request.header("Origin").empty()) return refuse(403, "DENIED", "not for web pages");
  if (only_host && !is_host_of_loopback(request.header("Host"), *only_host))
    return refuse(403, "DENIED", "not the name of this registry; a name of --listen is served");
  if (users != nullptr && users->user_of(request.header("Authorization")).empty())
    return replying(error_reply(401, "UNAUTHORIZED", "authentication required")
                        .with("WWW-Authenticate", "Basic realm=\"Dray registry\", charset=\"UTF-8\""));
  if (target.route == Route::unknown) return refuse(404, "NAME_UNKNOWN", "no such endpoint");
  const auto methods = std::ranges::find(kMethods, target.route, &Methods::route);
  if (!lists(methods->allowed, request.method))
    return replying(error_reply(405, "UNSUPPORTED", "the endpoint has not got this method")
                        .with("Allow", std::string(methods->allowed)));
  if (target.route == Route::version) {
    Reply reply;
    reply.headers.emplace_back("Content-Type", "application/json");
    reply.body = "{}";
    return replying(std::move(reply));
  }
  if (target.route == Route::catalog) return list_repositories(*this, request);
  if (!is_repository_name(target.name)) return refuse(400, "NAME_INVALID", "not a repository's name");
  if (upstream != nullptr && !reads(request))
    return refuse(405, "UNSUPPORTED", "this registry is a pull-through cache; push to the registry behind it");
  switch (target.route) {
    case Route::blob:
      return blob(*this, request);
    case Route::upload_start:
      return start_upload(*this, request);
    case Route::upload:
      return continue_upload(*this, request);
    case Route::manifest:
      return manifest(*this, request);
    case Route::tags:
      return list_tags(*this, request);
    default:
      return list_referrers(*this, request);
  }
}

Reply failed(Handlers& handlers, const Error& error) {
  handlers.log("error: " + error.to_string());
  return failure_reply(error);
}

std::string location(const std::string& name, std::string_view kind, std::string_view reference) {
  return "/v2/" + name + "/" + std::string(kind) + "/" + std::string(reference);
}

}  // namespace dray::registry_server
