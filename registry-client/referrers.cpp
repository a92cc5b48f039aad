// SPDX-License-Identifier: Apache-2.0
// Referrers (distribution-spec, "Listing Referrers" and "Pushing Manifests with Subject"). The tag schema is for
// registries of version 1.0: an index that every client updates for itself.
#include "referrers.hpp"

#include "listing.hpp"
#include "transport_json.hpp"

namespace dray::registry {
namespace {

std::string fallback_tag(const Digest& subject) { return subject.algorithm() + "-" + subject.hex().substr(0, 64); }

/// nullopt: the registry has no referrers API.
Result<std::optional<std::vector<image::Descriptor>>> ask_api(Session& session, HttpClient& client,
                                                              const Digest& subject) {
  std::vector<image::Descriptor> found;
  std::string url = session.url("referrers/" + subject.to_string());
  for (int pages = 0; pages < kMaxPages; ++pages) {
    Request request;
    request.url = url;
    request.headers = {"Accept: " + std::string(image::kOciIndex)};
    request.body_limit = image::kMaxManifestSize;
    const Response response = TRY(session.send_retrying(client, request));
    if (response.status == 404 && pages == 0) return std::optional<std::vector<image::Descriptor>>();
    if (!response.ok()) return Failure(remote_error(response, session.reference(), Purpose::pull_blob));
    if (!response.header("content-type").starts_with(image::kOciIndex))
      return std::optional<std::vector<image::Descriptor>>();
    const image::Index index = TRY_CTX(image::parse_index(response.body), "referrers of " + subject.to_string());
    found.insert(found.end(), index.manifests.begin(), index.manifests.end());
    const std::string next = next_link(response.header("link"));
    if (next.empty()) return std::optional(std::move(found));
    url = TRY(session.url_of_link(next));
  }
  return fail(ErrorCode::corrupt, "the registry's list of referrers does not end");
}

/// The index under the subject's tag, "" if there is none.
Result<std::string> read_tag(Session& session, HttpClient& client, const Digest& subject) {
  Request request;
  request.url = session.url("manifests/" + fallback_tag(subject));
  request.headers = {accept_all()};
  request.body_limit = image::kMaxManifestSize;
  Response response = TRY(session.send_retrying(client, request));
  if (response.status == 404) return std::string();
  if (!response.ok()) return Failure(remote_error(response, session.reference(), Purpose::pull_blob));
  return std::move(response.body);
}

}  // namespace

Result<std::vector<image::Descriptor>> fetch_referrers(Session& session, HttpClient& client, const Digest& subject) {
  auto listed = TRY(ask_api(session, client, subject));
  if (listed) return *std::move(listed);
  const std::string index = TRY(read_tag(session, client, subject));
  if (index.empty()) return std::vector<image::Descriptor>();
  return TRY(image::parse_index(index)).manifests;
}

Result<void> announce_referrer(Session& session, Uploader& uploader, HttpClient& client, const Document& document) {
  const Digest subject = subject_of(document.bytes);
  if (subject.empty() || TRY(ask_api(session, client, subject))) return {};
  image::Descriptor entry;
  entry.media_type = document.media_type;
  entry.digest = document.digest;
  entry.size = document.bytes.size();
  const std::string known = TRY(read_tag(session, client, subject));
  const std::string index = TRY(add_referrer(known, document.bytes, entry));
  if (index == known) return {};
  return uploader.put_manifest(client, fallback_tag(subject), index, std::string(image::kOciIndex), Digest::of(index));
}

}  // namespace dray::registry
