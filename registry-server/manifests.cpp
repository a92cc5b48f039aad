// SPDX-License-Identifier: Apache-2.0
// Manifests and indexes by tag or digest.
#include <algorithm>

#include "handlers.hpp"
#include "names.hpp"
#include "pull_through.hpp"

namespace dray::registry_server {
namespace {

constexpr std::size_t kMaxTags = 100;

Reply unknown(const std::string& reference) { return error_reply(404, "MANIFEST_UNKNOWN", "no manifest " + reference); }

Reply manifest_reply(const Request& request, StoredManifest manifest, bool stale) {
  const std::string tag = "\"" + manifest.digest.to_string() + "\"";
  Reply reply;
  reply.headers = {{"Docker-Content-Digest", manifest.digest.to_string()}, {"ETag", tag}};
  if (stale) reply.headers.emplace_back("Warning", "299 - \"the registry behind this cache does not answer\"");
  if (request.header("If-None-Match") == tag) {
    reply.status = 304;
    return reply;
  }
  reply.headers.emplace_back("Content-Type", std::move(manifest.media_type));
  reply.body = std::move(manifest.bytes);
  return reply;
}

Reply error_of(Handlers& handlers, const Request& request, const Error& error) {
  if (error.code() == ErrorCode::not_found) return unknown(request.target.reference);
  return failed(handlers, error);
}

class Putting : public Exchange {
 public:
  Putting(Handlers& handlers, const Request& request)
      : handlers_(handlers), name_(request.target.name), reference_(request.target.reference) {
    const std::string type = request.header("Content-Type");
    content_type_ = type.substr(0, type.find(';'));
    while (content_type_.ends_with(' ')) content_type_.pop_back();
    for (const auto& [key, value] : request.target.query)
      if (key == "tag") tags_.push_back(value);
  }

  void take(std::span<const std::byte> bytes) override {
    too_large_ = too_large_ || bytes.size() > kMaxManifest - bytes_.size();
    if (!too_large_) bytes_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }

  Reply reply() override {
    if (too_large_) return error_reply(413, "SIZE_INVALID", "manifests of more than 4 MiB are not accepted");
    StoredManifest manifest;
    const auto wanted = Digest::parse(reference_);
    Hasher hasher(wanted ? wanted->algorithm() : "sha256");
    hasher.update(bytes_);
    manifest.digest = hasher.finish();
    if (wanted && *wanted != manifest.digest)
      return error_reply(400, "DIGEST_INVALID", "the manifest has digest " + manifest.digest.to_string());
    if (!wanted) tags_ = {reference_};
    if (tags_.size() > kMaxTags) return error_reply(414, "MANIFEST_INVALID", "more than 100 tags");
    if (!std::ranges::all_of(tags_, is_tag)) return error_reply(400, "MANIFEST_INVALID", "not a tag");

    const auto facts = read_manifest(bytes_, content_type_);
    if (!facts) return error_reply(400, "MANIFEST_INVALID", facts.error().message());
    const auto missing = handlers_.repositories.missing(name_, *facts);
    if (!missing) return failed(handlers_, missing.error());
    if (*missing) return error_reply(400, "MANIFEST_BLOB_UNKNOWN", "push " + (*missing)->to_string() + " first");
    manifest.bytes = std::move(bytes_);
    const auto put = handlers_.repositories.put_manifest(name_, manifest, *facts, tags_);
    if (!put) return failed(handlers_, put.error());

    Reply reply;
    reply.status = 201;
    reply.headers = {{"Location", location(name_, "manifests", manifest.digest.to_string())},
                     {"Docker-Content-Digest", manifest.digest.to_string()}};
    if (facts->subject) reply.headers.emplace_back("OCI-Subject", facts->subject->to_string());
    if (wanted)
      for (const std::string& tag : tags_) reply.headers.emplace_back("OCI-Tag", tag);
    return reply;
  }

 private:
  Handlers& handlers_;
  const std::string name_, reference_;
  std::string content_type_, bytes_;
  std::vector<std::string> tags_;
  bool too_large_ = false;
};

}  // namespace

std::unique_ptr<Exchange> read_manifest_of(Handlers& handlers, const Request& request) {
  const std::string& name = request.target.name;
  if (handlers.upstream != nullptr) {
    auto found = handlers.upstream->manifest(name, request.target.reference);
    if (!found) return replying(error_of(handlers, request, found.error()));
    return replying(manifest_reply(request, std::move(found->manifest), found->stale));
  }
  auto found = handlers.repositories.manifest(name, request.target.reference);
  if (!found) return replying(error_of(handlers, request, found.error()));
  return replying(manifest_reply(request, *std::move(found), false));
}

std::unique_ptr<Exchange> put_manifest_of(Handlers& handlers, const Request& request) {
  if (request.content_length && *request.content_length > kMaxManifest)
    return replying(error_reply(413, "SIZE_INVALID", "manifests of more than 4 MiB are not accepted"));
  return std::make_unique<Putting>(handlers, request);
}

std::unique_ptr<Exchange> delete_manifest_of(Handlers& handlers, const Request& request) {
  const std::string& reference = request.target.reference;
  const auto digest = Digest::parse(reference);
  const auto removed = digest ? handlers.repositories.remove_manifest(request.target.name, *digest)
                              : handlers.repositories.remove_tag(request.target.name, reference);
  if (!removed) return replying(error_of(handlers, request, removed.error()));
  Reply reply;
  reply.status = 202;
  return replying(std::move(reply));
}

}  // namespace dray::registry_server
