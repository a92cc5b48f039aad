// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include <dray/core/digest.hpp>
#include <dray/core/fd.hpp>
#include <dray/store/content_store.hpp>

namespace dray::store {

/// A blob that arrives in pieces under the digest it will have: content/ingest/partial-sha256-<hex>. Whoever has this
/// object is the only one, in all processes, who writes that blob. What was kept of an earlier try is a prefix of the
/// file; only commit() says that it is right.
class PartialBlob {
 public:
  /// nullopt while another thread or process has it.
  static Result<std::optional<PartialBlob>> try_open(const ContentStore& content, const Digest& digest);
  PartialBlob(PartialBlob&& other) noexcept;
  PartialBlob& operator=(PartialBlob&&) = delete;
  /// Removes the file unless keep() or commit() was called, and lets the next one in.
  ~PartialBlob();

  FdRef file() const { return file_; }
  /// Bytes of an earlier try, without a gap. What lies behind the first gap is cut off.
  std::uint64_t kept() const { return kept_; }
  /// Forgets all bytes.
  Result<void> restart();
  Result<void> write(std::uint64_t offset, std::span<const std::byte> bytes);
  /// Syncs and names it. The caller has hashed what it wrote and what was kept.
  Result<void> commit();
  /// For a later try to go on with.
  void keep() { keep_ = true; }

 private:
  PartialBlob(const ContentStore& content, const Digest& digest, std::string path, FileDescriptor file);
  const ContentStore& content_;
  Digest digest_;
  std::string path_;  ///< "" once the file has its final name
  FileDescriptor file_;
  std::uint64_t kept_ = 0;
  bool keep_ = false;
};

}  // namespace dray::store
