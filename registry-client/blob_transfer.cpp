// SPDX-License-Identifier: Apache-2.0
// When the connection breaks, the transfer goes on from a Range request at the first missing byte. A registry that
// ignores Range, or sends another one, is asked for the whole, and what is known of it is skipped.
#include "blob_transfer.hpp"

#include "url.hpp"

namespace dray::registry {
namespace {

constexpr int kMaxResumes = 2000;  // a hostile registry that sends a byte a connection ends here

/// "bytes 100-199/200" begins at `offset`.
bool range_begins_at(std::string_view content_range, std::uint64_t offset) {
  return content_range.starts_with("bytes " + std::to_string(offset) + "-");
}

}  // namespace

Result<void> BlobTransfer::run() {
  const std::atomic<std::uint64_t> end(blob_.size);
  return run(end);
}

Result<void> BlobTransfer::run(const std::atomic<std::uint64_t>& end) {
  Backoff backoff(Backoff::Patience::patient);
  int short_answers = 0;
  for (int tries = 0; tries < kMaxResumes; ++tries) {
    const std::uint64_t before = received_;
    const Response response = TRY(send(end, end));
    if (response.ok() && received_ >= end) return {};
    const bool complete = response.failure == TransferFailure::none;
    if (refused_) return fail(ErrorCode::unsupported, name() + ": the registry gives out no parts of it");
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

Result<Response> BlobTransfer::send(std::uint64_t end_now, const std::atomic<std::uint64_t>& end) {
  Request request;
  request.url = session_.url("blobs/" + blob_.digest.to_string());
  const std::uint64_t offset = use_range_ ? received_ : 0;
  if (offset > 0 || (use_range_ && end_now < blob_.size))
    request.headers.push_back("Range: bytes=" + std::to_string(offset) + "-" +
                              (end_now < blob_.size ? std::to_string(end_now - 1) : ""));
  std::uint64_t position = 0;  // of the next byte of this answer, within the blob
  bool begun = false, wrong_range = false, at_end = false;
  request.on_body = [&](const Response& head, std::span<const std::byte> bytes) -> Result<void> {
    if (!begun) {
      begun = true;
      serves_ranges_ = head.status == 206 || head.header("accept-ranges") == "bytes";
      if (head.status == 206) {
        wrong_range = !range_begins_at(head.header("content-range"), offset);
        position = offset;
      } else if (insist_ && offset > 0) {
        refused_ = true;
      }
    }
    if (wrong_range || refused_) return fail(ErrorCode::corrupt, "wrong range");
    if (position + bytes.size() > blob_.size)
      return fail(ErrorCode::corrupt,
                  name() + " is larger than the " + std::to_string(blob_.size) + " bytes its descriptor states");
    const std::uint64_t known = std::min<std::uint64_t>(received_ - position, bytes.size());  // sent from 0 again
    position += bytes.size();
    bytes = bytes.subspan(known);
    const std::uint64_t limit = end;
    if (received_ + bytes.size() > limit) bytes = bytes.first(limit - std::min(limit, received_));
    received_ += bytes.size();
    if (!bytes.empty()) TRY(take_(bytes));
    at_end = received_ >= end && end < blob_.size;
    // What follows belongs to others.
    return at_end ? Result<void>(fail(ErrorCode::cancelled, "enough")) : Result<void>();
  };
  auto response = session_.send(client_, std::move(request));
  if (!response && at_end) {
    Response enough;
    enough.status = 206;
    return enough;
  }
  if (!response && (refused_ || (wrong_range && use_range_))) {  // ask for the whole and skip what we have
    use_range_ = false;
    if (insist_) refused_ = true;
    Response again;
    again.failure = TransferFailure::interrupted;
    again.failure_text = "the registry sent another range than the one asked for";
    return again;
  }
  return response;
}

}  // namespace dray::registry
