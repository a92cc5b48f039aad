// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <dray/core/digest.hpp>
#include <dray/core/fd.hpp>
#include <dray/core/stream.hpp>

namespace dray::store {

/// Writes one blob: bytes go to a temporary file under content/ingest; commit() checks digest and size, fsyncs and
/// renames. Destroyed without commit = discarded. Left over by kill -9 = removed by collect_garbage.
class BlobWriter : public ByteSink {
 public:
  BlobWriter(BlobWriter&&) noexcept;
  ~BlobWriter() override;
  Result<void> write(std::span<const std::byte> bytes) override;
  /// Commits as `expected` (corrupt if the bytes differ; size is checked when not 0). Idempotent where the blob exists.
  Result<void> commit(const Digest& expected, std::uint64_t expected_size = 0);
  /// Commits under whatever digest the bytes have; returns it.
  Result<Digest> commit();
  std::uint64_t size() const;

 private:
  friend class ContentStore;
  struct State;
  explicit BlobWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// An OCI image layout under root/content: blobs/sha256/<hex>, named only after their digest was verified; immutable.
/// Thread-safe and process-safe: it has no state but the directory.
class ContentStore {
 public:
  /// Creates the layout if missing.
  static Result<ContentStore> open(const std::string& directory);

  bool contains(const Digest& digest) const;
  Result<std::uint64_t> size(const Digest& digest) const;
  /// not_found if absent.
  Result<FileDescriptor> open_blob(const Digest& digest) const;
  /// Small blobs (manifest, config), verified again while read; at most image::kMaxManifestSize.
  Result<std::string> read_blob(const Digest& digest) const;
  /// `algorithm` is the one of the digest that will be expected (another one costs a second reading).
  Result<BlobWriter> begin_write(std::string_view algorithm = "sha256") const;
  /// Convenience: writes bytes and returns the digest.
  Result<Digest> write_blob(std::string_view bytes) const;
  /// Of a known digest, whichever its algorithm; corrupt if the bytes have another. Nothing is done where it exists.
  Result<void> write_blob(std::string_view bytes, const Digest& expected) const;
  Result<void> remove(const Digest& digest) const;
  Result<std::vector<Digest>> list() const;
  const std::string& directory() const { return directory_; }

 private:
  std::string directory_;
};

}  // namespace dray::store
