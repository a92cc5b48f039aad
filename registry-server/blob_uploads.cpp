// SPDX-License-Identifier: Apache-2.0
// Pushing a blob: in one POST, POST and PUT, POST and any number of PATCHes and PUT, or a mount from another
// repository. A request that breaks off leaves the bytes that came, so the client can ask how far it got (GET) and go
// on.
#include "handlers.hpp"
#include "names.hpp"

namespace dray::registry_server {
namespace {

constexpr std::string_view kUploads = "blobs/uploads";

std::string bytes_so_far(std::uint64_t size) { return "0-" + std::to_string(size == 0 ? 0 : size - 1); }

Reply session_reply(int status, const std::string& name, const std::string& id, std::uint64_t size) {
  Reply reply;
  reply.status = status;
  reply.headers = {
      {"Location", location(name, kUploads, id)}, {"Range", bytes_so_far(size)}, {"Docker-Upload-UUID", id}};
  return reply;
}

Reply created(const std::string& name, const Digest& digest) {
  Reply reply;
  reply.status = 201;
  reply.headers = {{"Location", location(name, "blobs", digest.to_string())},
                   {"Docker-Content-Digest", digest.to_string()}};
  return reply;
}

Reply upload_error(Handlers& handlers, const Error& error) {
  if (error.code() == ErrorCode::not_found) return error_reply(404, "BLOB_UPLOAD_UNKNOWN", "no such upload");
  if (error.code() == ErrorCode::in_use)
    return error_reply(429, "TOOMANYREQUESTS", error.message()).with("Retry-After", "5");
  return failed(handlers, error);
}

Reply bad_digest() { return error_reply(400, "DIGEST_INVALID", "not a sha256 or sha512 digest"); }

/// Body into the upload; then the upload goes on (PATCH) or is finished as `digest` (PUT, POST with a digest).
class Receiving : public Exchange {
 public:
  Receiving(Handlers& handlers, std::string name, Uploads::Hold hold, std::optional<Digest> digest,
            std::optional<Slice> range)
      : handlers_(handlers),
        name_(std::move(name)),
        hold_(std::move(hold)),
        digest_(std::move(digest)),
        range_(range) {}

  void take(std::span<const std::byte> bytes) override {
    if (error_ || too_long_) return;
    received_ += bytes.size();
    if (range_ && received_ > range_->size) {
      too_long_ = true;
      return;
    }
    auto written = hold_.writer().write(bytes);
    if (written) return;
    error_ = std::move(written).error();
    hold_.end();  // what is on the disk and what was hashed may differ now
  }

  Reply reply() override {
    if (error_) return failed(handlers_, *error_);
    if (too_long_ || (range_ && received_ != range_->size)) {
      hold_.end();
      return error_reply(400, "SIZE_INVALID", "the chunk hasn't got the size that its Content-Range says");
    }
    if (!digest_) return session_reply(202, name_, hold_.id(), hold_.writer().size());
    hold_.end();
    const auto finished = handlers_.repositories.finish_blob(name_, *digest_, hold_.writer());
    if (finished) return created(name_, *digest_);
    if (finished.error().code() == ErrorCode::corrupt)
      return error_reply(400, "DIGEST_INVALID", finished.error().message());
    return failed(handlers_, finished.error());
  }

 private:
  Handlers& handlers_;
  const std::string name_;
  Uploads::Hold hold_;
  const std::optional<Digest> digest_;
  const std::optional<Slice> range_;
  std::uint64_t received_ = 0;
  bool too_long_ = false;
  std::optional<Error> error_;
};

Result<Uploads::Hold> begin(Handlers& handlers, const std::string& name, const std::string& algorithm) {
  return handlers.uploads.start(name, TRY(handlers.repositories.begin_blob(algorithm)));
}

/// PATCH and PUT. The order of chunks is checked before a byte of this one is taken.
std::unique_ptr<Exchange> receive(Handlers& handlers, const Request& request, Uploads::Hold hold,
                                  std::optional<Digest> digest) {
  std::optional<Slice> range;
  const std::string header = request.header("Content-Range");
  if (!header.empty()) {
    range = parse_chunk_range(header);
    if (!range) return replying(error_reply(400, "BLOB_UPLOAD_INVALID", "Content-Range is not FIRST-LAST"));
    const std::uint64_t size = hold.writer().size();
    if (range->first != size) {
      Reply reply = error_reply(416, "BLOB_UPLOAD_INVALID", "the next byte is number " + std::to_string(size));
      for (auto& field : session_reply(416, request.target.name, hold.id(), size).headers)
        reply.headers.push_back(std::move(field));
      return replying(std::move(reply));
    }
    if (request.content_length && *request.content_length != range->size)
      return replying(error_reply(400, "SIZE_INVALID", "Content-Range and Content-Length disagree"));
  }
  return std::make_unique<Receiving>(handlers, request.target.name, std::move(hold), std::move(digest), range);
}

}  // namespace

std::unique_ptr<Exchange> start_upload(Handlers& handlers, const Request& request) {
  const std::string& name = request.target.name;
  if (const std::string* mount = request.target.parameter("mount")) {
    const auto digest = Digest::parse(*mount);
    if (!digest) return replying(bad_digest());
    const std::string* from = request.target.parameter("from");
    if (from != nullptr && !is_repository_name(*from))
      return replying(error_reply(400, "NAME_INVALID", "\"from\" is not a repository's name"));
    const auto mounted = handlers.repositories.mount_blob(name, *digest, from);
    if (!mounted) return replying(failed(handlers, mounted.error()));
    if (*mounted) return replying(created(name, *digest));
  }
  std::string algorithm = "sha256";
  std::optional<Digest> digest;
  if (const std::string* text = request.target.parameter("digest")) {
    const auto parsed = Digest::parse(*text);
    if (!parsed) return replying(bad_digest());
    digest = *parsed;
    algorithm = parsed->algorithm();
  } else if (const std::string* wanted = request.target.parameter("digest-algorithm")) {
    if (*wanted != "sha256" && *wanted != "sha512") return replying(bad_digest());
    algorithm = *wanted;
  }
  auto hold = begin(handlers, name, algorithm);
  if (!hold) return replying(upload_error(handlers, hold.error()));
  if (digest) {
    hold->end();  // nobody knows its id: what breaks off can't be resumed
    return std::make_unique<Receiving>(handlers, name, *std::move(hold), digest, std::nullopt);
  }
  return replying(session_reply(202, name, hold->id(), 0));
}

std::unique_ptr<Exchange> continue_upload(Handlers& handlers, const Request& request) {
  const std::string& name = request.target.name;
  std::optional<Digest> digest;
  if (request.method == "PUT") {
    const std::string* text = request.target.parameter("digest");
    const auto parsed = Digest::parse(text != nullptr ? *text : "");
    if (!parsed) return replying(bad_digest());
    digest = *parsed;
  }
  auto hold = handlers.uploads.take(name, request.target.reference);
  if (!hold) return replying(upload_error(handlers, hold.error()));
  if (request.method == "PATCH" || request.method == "PUT")
    return receive(handlers, request, *std::move(hold), std::move(digest));
  if (request.method == "DELETE") {
    hold->end();
    Reply reply;
    reply.status = 204;
    return replying(std::move(reply));
  }
  return replying(session_reply(204, name, hold->id(), hold->writer().size()));
}

}  // namespace dray::registry_server
