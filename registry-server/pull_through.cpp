// SPDX-License-Identifier: Apache-2.0
#include "pull_through.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include <dray/core/thread.hpp>

namespace dray::registry_server {
namespace {

constexpr auto kSilence = std::chrono::seconds(10);

bool unreachable(const Error& error) { return error.code() == ErrorCode::unavailable; }

/// A registry says "denied" for what it hasn't got; our client gets the same answer for both.
Failure as_not_found(Error error) {
  if (error.code() == ErrorCode::permission_denied) return Failure(std::move(error).with_code(ErrorCode::not_found));
  return Failure(std::move(error));
}

}  // namespace

/// One blob on its way in. The bytes go through the verifying writer into the store, and into a file without a name,
/// from which the clients read them as they arrive: the last one only when the whole was verified.
class PullThrough::Download : public ArrivingBytes {
 public:
  Download(std::uint64_t size, FileDescriptor spool) : size_(size), spool_(std::move(spool)) {}
  std::uint64_t size() const { return size_; }

  std::size_t read(std::uint64_t offset, std::span<std::byte> buffer) override {
    std::uint64_t available = 0;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return offset < readable() || ended_; });
      if (offset >= readable()) return 0;
      available = readable() - offset;
    }
    const ssize_t got = ::pread(spool_.get(), buffer.data(), std::min<std::uint64_t>(buffer.size(), available),
                                static_cast<off_t>(offset));
    return got > 0 ? static_cast<std::size_t>(got) : 0;
  }

  Result<void> append(std::span<const std::byte> bytes) {
    TRY_CTX(write_all(spool_, {reinterpret_cast<const char*>(bytes.data()), bytes.size()}), "writing a blob");
    const std::lock_guard lock(mutex_);
    written_ += bytes.size();
    changed_.notify_all();
    return {};
  }
  void end(bool verified) {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    verified_ = verified;
    changed_.notify_all();
  }

  bool left = false;  ///< its thread needs nothing of ours any more; under PullThrough::mutex_

 private:
  std::uint64_t readable() const {
    return verified_ || written_ < size_ ? written_ : written_ - std::min<std::uint64_t>(written_, 1);
  }

  const std::uint64_t size_;
  const FileDescriptor spool_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t written_ = 0;
  bool ended_ = false, verified_ = false;
};

PullThrough::~PullThrough() {
  for (auto& [download, thread] : threads_) thread.join();
}

bool PullThrough::just_failed(const std::string& name) {
  const std::lock_guard lock(mutex_);
  return failed_.first == name && Clock::now() < failed_.second;
}

Result<PullThrough::Manifest> PullThrough::manifest(const std::string& repository, const std::string& reference) {
  const auto wanted = Digest::parse(reference);
  auto cached = repositories_.manifest(repository, reference);
  if (cached) {
    if (wanted) return Manifest{*std::move(cached), false};
    if (is_silent()) return Manifest{*std::move(cached), true};
    const auto now = upstream_->resolve(repository, reference);
    if (now && *now == cached->digest) return Manifest{*std::move(cached), false};
    if (!now && unreachable(now.error())) {
      silent_until_ = (Clock::now() + kSilence).time_since_epoch().count();
      return Manifest{*std::move(cached), true};
    }
    if (!now) {
      if (now.error().code() == ErrorCode::not_found) (void)repositories_.remove_tag(repository, reference);
      return as_not_found(now.error());
    }
  }
  const std::string name = repository + ":" + reference;
  if (!cached && just_failed(name))
    return fail(ErrorCode::unavailable, "the registry behind did not answer a moment ago");
  auto fetched = upstream_->manifest(repository, reference);
  if (!fetched) {
    if (unreachable(fetched.error())) {
      const std::lock_guard lock(mutex_);
      failed_ = {name, Clock::now() + kSilence};
    }
    if (cached && unreachable(fetched.error())) return Manifest{*std::move(cached), true};
    return as_not_found(std::move(fetched).error());
  }
  Manifest result;
  Hasher hasher(wanted ? wanted->algorithm() : "sha256");
  hasher.update(fetched->bytes);
  result.manifest = {std::move(fetched->bytes), std::move(fetched->media_type), hasher.finish()};
  if (wanted && *wanted != result.manifest.digest)
    return fail(ErrorCode::unavailable, "the registry behind sent another manifest than " + reference);
  auto facts = read_manifest(result.manifest.bytes, result.manifest.media_type);
  if (!facts) return fail(ErrorCode::unavailable, "the registry behind sent no manifest: " + facts.error().message());
  result.manifest.media_type = facts->media_type;
  const std::vector<std::string> tags = wanted ? std::vector<std::string>() : std::vector{reference};
  TRY(repositories_.put_manifest(repository, result.manifest, *facts, tags));
  return result;
}

Result<PullThrough::Blob> PullThrough::blob(const std::string& repository, const Digest& digest, Wanted wanted) {
  // Asked of the registry behind in any case: a repository gives out what it has itself.
  auto size = upstream_->blob_size(repository, digest);
  if (!size) return as_not_found(std::move(size).error());
  if (wanted == Wanted::size) return Blob{nullptr, *size};
  FileDescriptor spool = TRY(open_file(repositories_.directory(), O_TMPFILE | O_RDWR, 0600));
  const std::lock_guard lock(mutex_);
  reap();
  if (const auto found = downloads_.find(digest); found != downloads_.end() && found->second->size() == *size)
    return Blob{found->second, *size};
  auto download = std::make_shared<Download>(*size, std::move(spool));
  auto thread = TRY(start_thread([this, repository, digest, download] { run(repository, digest, *download); }));
  downloads_.insert_or_assign(digest, download);
  threads_.emplace_back(download, std::move(thread));
  return Blob{download, *size};
}

void PullThrough::run(const std::string& repository, const Digest& digest, Download& download) {
  const auto fetch = [&]() -> Result<void> {
    store::BlobWriter writer = TRY(repositories_.begin_blob(digest.algorithm()));
    TRY(upstream_->blob(repository, digest, download.size(), [&](std::span<const std::byte> bytes) -> Result<void> {
      TRY(writer.write(bytes));
      return download.append(bytes);
    }));
    return repositories_.finish_blob(repository, digest, writer);
  };
  const auto fetched = fetch();
  download.end(fetched.has_value());
  if (!fetched && log) log("error: blob " + digest.to_string() + ": " + fetched.error().to_string());
  const std::lock_guard lock(mutex_);
  if (const auto found = downloads_.find(digest); found != downloads_.end() && found->second.get() == &download)
    downloads_.erase(found);
  download.left = true;
}

/// Joins threads that are done. Caller holds mutex_.
void PullThrough::reap() {
  threads_.remove_if([](auto& entry) {
    if (entry.first->left) entry.second.join();
    return entry.first->left;
  });
}

}  // namespace dray::registry_server
