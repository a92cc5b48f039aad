// SPDX-License-Identifier: Apache-2.0
// A download begins as one connection, hashed as it comes. If that turns out slow (many servers bound the rate of a
// connection, not of a client) and much is left, the rest is cut into parts that several connections fetch; then this
// thread hashes what has come without a gap. The parts are taken in order, so that the unpacker is never far behind.
#include "layer_download.hpp"

#include <unistd.h>

#include <deque>

#include <dray/core/thread.hpp>

#include "blob_transfer.hpp"

namespace dray::registry {
namespace {

constexpr std::uint64_t kPart = 8u << 20;
constexpr int kMaxHelpers = 5;
/// A connection that is faster than this in bytes a second is limited by something that more of them would share.
constexpr double kFastEnough = 60e6;
constexpr auto kTrial = std::chrono::milliseconds(500);

struct Part {
  std::uint64_t begin, end;
  std::atomic<std::uint64_t> received;
  Part(std::uint64_t from, std::uint64_t to) : begin(from), end(to), received(from) {}
};

/// The parts of the rest of a blob, shared by the threads that fetch them.
class Parts {
 public:
  Parts(std::uint64_t begin, std::uint64_t end) {
    for (; begin < end; begin += kPart) parts_.emplace_back(begin, std::min(end, begin + kPart));
  }
  Part* claim() {
    const std::lock_guard lock(mutex_);
    return error_ || next_ == parts_.size() ? nullptr : &parts_[next_++];
  }
  bool left() const {
    const std::lock_guard lock(mutex_);
    return next_ < parts_.size();
  }
  void fail(Error error) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
    changed_.notify_all();
  }
  void came() { changed_.notify_all(); }
  std::optional<Error> error() const {
    const std::lock_guard lock(mutex_);
    return error_;
  }
  /// Waits a little for more bytes; those that are there without a gap, and all.
  std::pair<std::uint64_t, std::uint64_t> wait(std::uint64_t known) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::milliseconds(50), [&] { return error_ || without_gap() > known; });
    std::uint64_t total = 0;
    for (const Part& part : parts_) total += part.received - part.begin;
    return {without_gap(), total};
  }

 private:
  std::uint64_t without_gap() const {
    for (const Part& part : parts_)
      if (part.received < part.end) return part.received;
    return parts_.back().end;
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Part> parts_;
  std::size_t next_ = 0;
  std::optional<Error> error_;
};

}  // namespace

LayerDownload::LayerDownload(Session& session, HttpClient& client, const image::Descriptor& blob,
                             store::PartialBlob& partial, GrowingFile& readable, SpareConnections& spare,
                             StepProgress& progress)
    : session_(session),
      client_(client),
      blob_(blob),
      partial_(partial),
      readable_(readable),
      spare_(spare),
      progress_(progress),
      hasher_(blob.digest.algorithm()) {}

Result<void> LayerDownload::take_hashed(std::span<const std::byte> bytes) {
  TRY(check());
  TRY(partial_.write(hashed_, bytes));
  write_behind_.wrote(partial_.file(), bytes.size());
  hasher_.update(bytes);
  hashed_ += bytes.size();
  readable_.grow_to(hashed_);
  progress_.bytes("Downloading", hashed_, blob_.size);
  return {};
}

Result<void> LayerDownload::hash_until(std::uint64_t end) {
  std::vector<std::byte> buffer(256 * 1024);
  while (hashed_ < end) {
    if (session_.stop().requested()) return Failure(Stop::error());
    const std::size_t wanted = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), end - hashed_));
    const ssize_t got = ::pread(partial_.file().get(), buffer.data(), wanted, static_cast<off_t>(hashed_));
    if (got < 0) return fail_errno("reading a partial blob");
    if (got == 0) return fail(ErrorCode::corrupt, "a partial blob became shorter while it was read");
    write_behind_.wrote(partial_.file(), static_cast<std::uint64_t>(got));
    hasher_.update(std::span(buffer).first(static_cast<std::size_t>(got)));
    hashed_ += static_cast<std::uint64_t>(got);
    readable_.grow_to(hashed_);
  }
  return {};
}

bool LayerDownload::should_split(const BlobTransfer& transfer) {
  if (!may_split_ || !transfer.serves_ranges() || blob_.size - hashed_ < 3 * kPart || spare_ <= 0) return false;
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - started_;
  return elapsed > kTrial && static_cast<double>(hashed_ - kept_) < kFastEnough * elapsed.count();
}

Result<void> LayerDownload::run() {
  if (partial_.kept() > blob_.size) TRY(partial_.restart());
  kept_ = partial_.kept();
  if (kept_ > 0) progress_.status("Resuming");
  TRY(hash_until(kept_));
  started_ = std::chrono::steady_clock::now();
  while (hashed_ < blob_.size) {
    std::atomic<std::uint64_t> end(blob_.size);
    BlobTransfer* running = nullptr;
    BlobTransfer transfer(session_, client_, blob_, hashed_, [&](std::span<const std::byte> bytes) -> Result<void> {
      TRY(take_hashed(bytes));
      if (end == blob_.size && should_split(*running)) end = hashed_;
      return {};
    });
    running = &transfer;
    TRY(transfer.run(end));
    if (hashed_ < blob_.size) TRY(fetch_parts());
  }
  const Digest actual = hasher_.finish();
  if (actual != blob_.digest)
    return fail(ErrorCode::corrupt, "verifying blob " + blob_.digest.short_hex() + ": content has digest " +
                                        actual.to_string() + ", expected " + blob_.digest.to_string());
  return partial_.commit();
}

/// Success with less than the whole if the registry would not give out parts: then the caller goes on alone.
Result<void> LayerDownload::fetch_parts() {
  may_split_ = false;
  Parts parts(hashed_, blob_.size);
  std::atomic<bool> refused{false};
  const std::uint64_t before = hashed_;
  const auto work = [&](HttpClient& client) {
    while (Part* part = parts.claim()) {
      BlobTransfer transfer(session_, client, blob_, part->begin,
                            [&](std::span<const std::byte> bytes) -> Result<void> {
                              if (parts.error()) return fail(ErrorCode::cancelled, "another part failed");
                              TRY(partial_.write(part->received, bytes));
                              part->received += bytes.size();
                              parts.came();
                              return {};
                            });
      transfer.insist_on_range();
      const std::atomic<std::uint64_t> end(part->end);
      auto fetched = transfer.run(end);
      if (fetched) continue;
      if (transfer.range_was_refused()) refused = true;
      return parts.fail(std::move(fetched).error());
    }
  };
  std::vector<std::thread> helpers;
  const auto start_helper = [&] {
    auto client = HttpClient::create();
    if (!client) return false;
    auto helper = start_thread([&work, own = *std::move(client)]() mutable { work(own); });
    if (helper) helpers.push_back(*std::move(helper));
    return helper.has_value();
  };
  helpers.push_back(TRY(start_thread([&] { work(client_); })));
  int borrowed = 0;
  std::optional<Error> failure;
  while (hashed_ < blob_.size && !failure) {
    if (borrowed < kMaxHelpers && parts.left()) {
      if (spare_-- > 0 && start_helper()) {
        ++borrowed;
      } else {
        ++spare_;
      }
    }
    const auto [ready, all] = parts.wait(hashed_);
    auto hashed = hash_until(ready);
    if (hashed) hashed = check();
    if (!hashed) parts.fail(std::move(hashed).error());
    progress_.bytes("Downloading", before + all, blob_.size);
    if (hashed_ < blob_.size) failure = parts.error();
  }
  for (std::thread& helper : helpers) helper.join();
  spare_ += borrowed;
  if (failure && !refused) return Failure(*std::move(failure));
  return {};
}

}  // namespace dray::registry
