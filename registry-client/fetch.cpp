// SPDX-License-Identifier: Apache-2.0
// Getting what is small enough for memory: manifests, indexes, configs.
#include "fetch.hpp"

#include "blob_transfer.hpp"
#include "registry_json.hpp"

namespace dray::registry {
namespace {

constexpr std::uint64_t kFewPulls = 20;

Digest hash(std::string_view bytes, const std::string& algorithm) {
  Hasher hasher(algorithm);
  hasher.update(bytes);
  return hasher.finish();
}

}  // namespace

std::string accept_all() {
  std::string header = "Accept: ";
  for (const std::string_view type :
       {image::kOciIndex, image::kDockerIndex, image::kOciManifest, image::kDockerManifest})
    header += std::string(type) + ", ";
  return header + "*/*;q=0.1";
}

Result<void> fetch_blob(Session& session, HttpClient& client, const image::Descriptor& blob,
                        const std::function<Result<void>(std::span<const std::byte>)>& take) {
  return BlobTransfer(session, client, blob, 0, take).run();
}

Result<Document> fetch_document(Session& session, HttpClient& client, const std::string& name,
                                const image::Descriptor* expected) {
  Request request;
  request.url = session.url("manifests/" + name);
  request.headers = {accept_all()};
  request.body_limit = image::kMaxManifestSize;
  auto sent = session.send_retrying(client, request);
  if (!sent) return Failure(std::move(sent).error());
  if (!sent->ok()) return Failure(remote_error(*sent, session.reference(), Purpose::pull_manifest));
  Document document;
  document.rate_limit = rate_limit(*sent, kFewPulls);
  document.bytes = std::move(sent->body);
  document.digest = Digest::of(document.bytes);

  const auto must_be = [&](const Digest& digest, const std::string& said_by) -> Result<void> {
    const Digest actual = digest.algorithm() == "sha256" ? document.digest : hash(document.bytes, digest.algorithm());
    if (actual == digest) return {};
    return fail(ErrorCode::corrupt, "manifest verification failed: " + said_by + " " + digest.to_string() +
                                        ", received " + actual.to_string());
  };
  if (expected != nullptr) {
    TRY(must_be(expected->digest, "the index states"));
    if (expected->size != document.bytes.size())
      return fail(ErrorCode::corrupt, "manifest " + expected->digest.to_string() + " has " +
                                          std::to_string(document.bytes.size()) + " bytes, the index states " +
                                          std::to_string(expected->size));
    document.digest = expected->digest;
  } else if (session.reference().digest()) {
    TRY(must_be(*session.reference().digest(), "asked for"));
    document.digest = *session.reference().digest();
  }
  if (const auto header = Digest::parse(sent->header("docker-content-digest")))
    TRY(must_be(*header, "the registry states"));
  document.media_type = TRY(check_document(document.bytes, sent->header("content-type")));
  return document;
}

Result<std::string> fetch_small_blob(Session& session, HttpClient& client, store::Store& store,
                                     const image::Descriptor& descriptor) {
  if (descriptor.size > image::kMaxManifestSize)
    return fail(ErrorCode::corrupt, "blob " + descriptor.digest.to_string() + " is too large for an image config");
  if (store.content().contains(descriptor.digest)) {
    auto known = store.content().read_blob(descriptor.digest);
    if (known || known.error().code() != ErrorCode::corrupt) return known;
    TRY(store.content().remove(descriptor.digest));  // damaged on disk
  }
  std::string bytes;
  BlobTransfer transfer(session, client, descriptor, 0, [&](std::span<const std::byte> more) -> Result<void> {
    bytes.append(reinterpret_cast<const char*>(more.data()), more.size());
    return {};
  });
  TRY(transfer.run());
  store::BlobWriter writer = TRY(store.content().begin_write(descriptor.digest.algorithm()));
  TRY(writer.write(std::as_bytes(std::span(bytes))));
  TRY_CTX(writer.commit(descriptor.digest, descriptor.size), "verifying blob " + descriptor.digest.short_hex());
  return bytes;
}

}  // namespace dray::registry
