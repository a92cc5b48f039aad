// SPDX-License-Identifier: Apache-2.0
// Getting one layer: its blob is written into the content store's partial file and, by a second thread, decompressed
// and unpacked from there while it grows. The partial file's lock makes sure that a blob is fetched once, whoever wants
// it; it is held until the layer has its name too. When the whole blob does not match its digest, it is fetched anew
// once (a broken cache between us and the registry is the usual reason), then given up with both digests named.

#include <dray/core/thread.hpp>

#include "layer_download.hpp"
#include "stoppable_source.hpp"

namespace dray::registry {
namespace {

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

/// One download of a blob, unpacked on the way where `diff_id` is given and that layer does not exist.
Result<void> download(Session& session, HttpClient& client, store::Store& store, const image::Descriptor& layer,
                      const DiffId* diff_id, store::PartialBlob& partial, SpareConnections& spare,
                      StepProgress& progress) {
  GrowingFile file(partial.file(), session.stop());
  std::optional<Error> unpack_error;
  std::atomic<bool> unpack_failed{false};
  const bool unpacking = diff_id != nullptr && !store.snapshots().contains(*diff_id);
  std::thread unpacker;
  if (unpacking) {
    unpacker = TRY(start_thread([&] {
      auto unpacked = store.snapshots().unpack(file, *diff_id);
      if (!unpacked) {
        unpack_error = std::move(unpacked).error();
        unpack_failed = true;
      }
    }));
  }
  LayerDownload download(session, client, layer, partial, file, spare, progress);
  download.check = [&]() -> Result<void> {
    // A layer that does not unpack is downloaded to its end all the same: if its digest is wrong, that is
    // what to report.
    if (unpack_failed && unpack_error->code() != ErrorCode::corrupt) return Failure(layer_error(*unpack_error, layer));
    return {};
  };
  auto received = download.run();
  if (received) {
    file.finish();
    if (unpacking) progress.status("Extracting");
  } else {
    file.fail(received.error());
  }
  if (unpacker.joinable()) unpacker.join();
  // Wrong bytes make unpacking fail first, but that they are wrong is the better explanation.
  if (!received) return received;
  if (unpack_failed) return Failure(layer_error(*std::move(unpack_error), layer));
  return {};
}

Result<store::PartialBlob> wait_for_turn(Session& session, store::Store& store, const Digest& digest,
                                         StepProgress& progress) {
  for (bool told = false;; told = true) {
    auto partial = TRY(store::PartialBlob::try_open(store.content(), digest));
    if (partial) return *std::move(partial);
    if (!told) progress.status("Waiting for another pull of this layer");
    if (!session.stop().sleep(std::chrono::milliseconds(50))) return Failure(Stop::error());
  }
}

bool is_here(store::Store& store, const Digest& blob, const DiffId* diff_id) {
  return store.content().contains(blob) && (diff_id == nullptr || store.snapshots().contains(*diff_id));
}

Result<void> fetch(Session& session, HttpClient& client, store::Store& store, const image::Descriptor& layer,
                   const DiffId* diff_id, SpareConnections& spare, StepProgress& progress) {
  progress.started();
  Result<void> fetched;
  bool already = is_here(store, layer.digest, diff_id);
  if (!already) {
    auto turn = wait_for_turn(session, store, layer.digest, progress);
    if (!turn) return Failure(std::move(turn).error());
    store::PartialBlob partial = *std::move(turn);
    already = is_here(store, layer.digest, diff_id);
    if (!already && store.content().contains(layer.digest)) {
      progress.status("Extracting");
      fetched = unpack_stored(session, store, layer, *diff_id);
      if (!fetched && fetched.error().code() == ErrorCode::corrupt && is_damaged(store, layer.digest))
        TRY(store.content().remove(layer.digest));  // the disk's fault, not the image's: fetched again below
    }
    // Twice, since a proxy may hold a broken copy, and what was kept may be wrong; but not where the blob is right
    // and the layer in it bad.
    for (int tries = 0; tries < 2 && !store.content().contains(layer.digest); ++tries) {
      if (tries > 0) TRY(partial.restart());
      fetched = download(session, client, store, layer, diff_id, partial, spare, progress);
      if (fetched || fetched.error().code() != ErrorCode::corrupt) break;
    }
    if (!fetched &&
        (fetched.error().code() == ErrorCode::cancelled || fetched.error().code() == ErrorCode::unavailable))
      partial.keep();
  }
  if (already) {
    progress.end(ProgressEvent::Kind::cached, "Already exists");
  } else if (fetched) {
    progress.end(ProgressEvent::Kind::completed, "Pull complete");
  } else if (fetched.error().code() != ErrorCode::cancelled) {
    progress.end(ProgressEvent::Kind::failed, fetched.error().message());
  }
  return fetched;
}

}  // namespace

Result<void> fetch_layer(Session& session, HttpClient& client, store::Store& store, const image::Descriptor& layer,
                         const DiffId& diff_id, SpareConnections& spare, StepProgress& progress) {
  return fetch(session, client, store, layer, &diff_id, spare, progress);
}

Result<void> fetch_blob(Session& session, HttpClient& client, store::Store& store, const image::Descriptor& blob,
                        SpareConnections& spare, StepProgress& progress) {
  return fetch(session, client, store, blob, nullptr, spare, progress);
}

}  // namespace dray::registry
