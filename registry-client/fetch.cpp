// SPDX-License-Identifier: Apache-2.0
// Getting one document or blob. A layer goes three ways at once: the bytes that libcurl hands over are hashed
// and written by the BlobWriter and, through a BlobPipe, decompressed and unpacked by a second thread. When
// the connection breaks, the same writer and pipe continue from a Range request at the first missing byte;
// when the whole blob does not match its digest, it is fetched anew once (a broken cache between us and the
// registry is the usual reason), then given up with both digests named.
#include "fetch.hpp"

#include <thread>

#include "blob_pipe.hpp"
#include "registry_json.hpp"
#include "url.hpp"

namespace dray::registry {
namespace {

constexpr int kMaxResumes = 2000;  // a hostile registry that sends a byte a connection ends here

Digest hash(std::string_view bytes, const std::string& algorithm) {
  Hasher hasher(algorithm);
  hasher.update(bytes);
  return hasher.finish();
}

/// "bytes 100-199/200" begins at `offset`.
bool range_begins_at(std::string_view content_range, std::uint64_t offset) {
  return content_range.starts_with("bytes " + std::to_string(offset) + "-");
}

/// Receives a blob over as many connections as it takes; `take` gets each byte once, in order.
class BlobTransfer {
 public:
  using Take = std::function<Result<void>(std::span<const std::byte>)>;
  BlobTransfer(Session& session, HttpClient& client, const image::Descriptor& blob, Take take)
      : session_(session), client_(client), blob_(blob), take_(std::move(take)) {}

  Result<void> run() {
    Backoff backoff(Backoff::Patience::patient);
    int short_answers = 0;
    for (int tries = 0; tries < kMaxResumes; ++tries) {
      const std::uint64_t before = received_;
      const Response response = TRY(send());
      if (response.ok() && received_ == blob_.size) return {};
      const bool complete = response.failure == TransferFailure::none;
      if (complete && response.status == 416) use_range_ = false;
      if (complete && response.status != 416 && !response.ok() && !is_temporary(response))
        return Failure(remote_error(response, session_.reference(), Purpose::pull_blob).with_context(name()));
      if (complete && (response.ok() || response.status == 416)) {  // whole as HTTP goes, yet too short
        if (++short_answers == 3)
          return fail(ErrorCode::corrupt, name() + " ended after " + std::to_string(received_) + " of " +
                                              std::to_string(blob_.size) + " bytes");
      }
      std::optional<std::chrono::milliseconds> wait(100);
      if (received_ > before) {
        backoff.reset();
      } else if (!complete || is_temporary(response)) {
        wait = backoff.next(response);
      }
      if (!wait) {
        if (!complete) return Failure(transfer_error(response, session_.host()).with_context(name()));
        return Failure(remote_error(response, session_.reference(), Purpose::pull_blob).with_context(name()));
      }
      if (!session_.stop().sleep(*wait)) return Failure(Stop::error());
    }
    return fail(ErrorCode::unavailable, name() + ": the connection broke " + std::to_string(kMaxResumes) + " times");
  }

 private:
  std::string name() const { return "blob " + blob_.digest.to_string(); }

  Result<Response> send() {
    Request request;
    request.url = session_.url("blobs/" + blob_.digest.to_string());
    const std::uint64_t offset = use_range_ ? received_ : 0;
    if (offset > 0) request.headers.push_back("Range: bytes=" + std::to_string(offset) + "-");
    std::uint64_t position = 0;  // of the next byte of this answer, within the blob
    bool begun = false, wrong_range = false;
    request.on_body = [&](const Response& head, std::span<const std::byte> bytes) -> Result<void> {
      if (!begun) {
        begun = true;
        if (head.status == 206) {
          wrong_range = !range_begins_at(head.header("content-range"), offset);
          position = offset;
        }
      }
      if (wrong_range) return fail(ErrorCode::corrupt, "wrong range");
      if (position + bytes.size() > blob_.size)
        return fail(ErrorCode::corrupt,
                    name() + " is larger than the " + std::to_string(blob_.size) + " bytes its descriptor states");
      const std::uint64_t known = std::min<std::uint64_t>(received_ - position, bytes.size());  // sent from 0 again
      position += bytes.size();
      bytes = bytes.subspan(known);
      received_ += bytes.size();
      return bytes.empty() ? Result<void>() : take_(bytes);
    };
    auto response = session_.send(client_, std::move(request));
    if (!response && wrong_range && use_range_) {  // ask for the whole and skip what we have
      use_range_ = false;
      Response again;
      again.failure = TransferFailure::interrupted;
      again.failure_text = "the registry sent another range than the one asked for";
      return again;
    }
    return response;
  }

  Session& session_;
  HttpClient& client_;
  const image::Descriptor& blob_;
  Take take_;
  std::uint64_t received_ = 0;
  bool use_range_ = true;
};

/// Local bytes that end with an error when the work is stopped.
class StoppableSource : public ByteSource {
 public:
  StoppableSource(ByteSource& inner, const Stop& stop) : inner_(inner), stop_(stop) {}
  Result<std::size_t> read(std::span<std::byte> buffer) override {
    if (stop_.requested()) return Failure(Stop::error());
    return inner_.read(buffer);
  }

 private:
  ByteSource& inner_;
  const Stop& stop_;
};

Error layer_error(Error error, const image::Descriptor& layer) {
  if (error.code() == ErrorCode::cancelled) return Stop::error();
  return std::move(error).with_context("unpacking layer " + layer.digest.short_hex());
}

Result<void> unpack_stored(Session& session, store::Store& store, const image::Descriptor& layer,
                           const DiffId& diff_id) {
  auto blob = make_fd_source(TRY(store.content().open_blob(layer.digest)));
  StoppableSource source(*blob, session.stop());
  auto unpacked = store.snapshots().unpack(source, diff_id);
  if (!unpacked) return Failure(layer_error(std::move(unpacked).error(), layer));
  return {};
}

/// Whether a stored blob's bytes are no longer those of its name.
bool is_damaged(store::Store& store, const Digest& digest) {
  auto file = store.content().open_blob(digest);
  if (!file) return false;
  auto source = make_fd_source(*std::move(file));
  const std::string algorithm = digest.algorithm();
  HashingSource hashing(*source, algorithm);
  if (!drain(hashing)) return false;
  return hashing.finish() != digest;
}

/// One download of a layer's blob, unpacked on the way unless that layer exists.
Result<void> download_layer(Session& session, HttpClient& client, store::Store& store, const image::Descriptor& layer,
                            const DiffId& diff_id, StepProgress& progress) {
  store::BlobWriter writer = TRY(store.content().begin_write(layer.digest.algorithm()));
  BlobPipe pipe(session.stop());
  std::optional<Error> unpack_error;
  std::atomic<bool> unpack_failed{false};
  const bool unpacking = !store.snapshots().contains(diff_id);
  std::thread unpacker;
  if (unpacking) {
    unpacker = std::thread([&] {
      auto unpacked = store.snapshots().unpack(pipe, diff_id);
      if (!unpacked) {
        unpack_error = std::move(unpacked).error();
        unpack_failed = true;
      }
      pipe.leave();
    });
  }

  std::uint64_t done = 0;
  BlobTransfer transfer(session, client, layer, [&](std::span<const std::byte> bytes) -> Result<void> {
    // A layer that does not unpack is downloaded to its end all the same: if its digest is wrong, that is
    // what to report.
    if (unpack_failed && unpack_error->code() != ErrorCode::corrupt) return Failure(layer_error(*unpack_error, layer));
    TRY(writer.write(bytes));
    if (unpacking) TRY(pipe.write(bytes));
    done += bytes.size();
    progress.bytes("Downloading", done, layer.size);
    return {};
  });
  auto received = transfer.run();
  if (received) {
    auto committed = writer.commit(layer.digest, layer.size);
    if (!committed)
      received = Failure(std::move(committed).error().with_context("verifying blob " + layer.digest.short_hex()));
  }
  if (received) {
    pipe.finish();
    if (unpacking) progress.status("Extracting");
  } else {
    pipe.fail(received.error());
  }
  if (unpacker.joinable()) unpacker.join();
  // Wrong bytes make unpacking fail first, but that they are wrong is the better explanation.
  if (!received) return received;
  if (unpack_failed) return Failure(layer_error(*std::move(unpack_error), layer));
  return {};
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
  return BlobTransfer(session, client, blob, take).run();
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
  BlobTransfer transfer(session, client, descriptor, [&](std::span<const std::byte> more) -> Result<void> {
    bytes.append(reinterpret_cast<const char*>(more.data()), more.size());
    return {};
  });
  TRY(transfer.run());
  store::BlobWriter writer = TRY(store.content().begin_write(descriptor.digest.algorithm()));
  TRY(writer.write(std::as_bytes(std::span(bytes))));
  TRY_CTX(writer.commit(descriptor.digest, descriptor.size), "verifying blob " + descriptor.digest.short_hex());
  return bytes;
}

Result<void> fetch_layer(Session& session, HttpClient& client, store::Store& store, const image::Descriptor& layer,
                         const DiffId& diff_id, StepProgress& progress) {
  progress.started();
  if (store.content().contains(layer.digest) && store.snapshots().contains(diff_id)) {
    progress.end(ProgressEvent::Kind::cached, "Already exists");
    return {};
  }
  Result<void> fetched;
  if (store.content().contains(layer.digest)) {
    progress.status("Extracting");
    fetched = unpack_stored(session, store, layer, diff_id);
    if (!fetched && fetched.error().code() == ErrorCode::corrupt && is_damaged(store, layer.digest))
      TRY(store.content().remove(layer.digest));  // the disk's fault, not the image's: fetched again below
  }
  // Twice, since a proxy may hold a broken copy; but not where the blob is right and the layer in it bad.
  for (int tries = 0; tries < 2 && !store.content().contains(layer.digest); ++tries) {
    fetched = download_layer(session, client, store, layer, diff_id, progress);
    if (fetched || fetched.error().code() != ErrorCode::corrupt) break;
  }
  if (fetched) {
    progress.end(ProgressEvent::Kind::completed, "Pull complete");
  } else if (fetched.error().code() != ErrorCode::cancelled) {
    progress.end(ProgressEvent::Kind::failed, fetched.error().message());
  }
  return fetched;
}

}  // namespace dray::registry
