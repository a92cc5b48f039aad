// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <dray/core/digest.hpp>
#include <dray/core/fd.hpp>
#include <dray/core/result.hpp>

namespace dray {

class CancelToken;

/// Bytes that are pulled. read() fills at most buffer.size() bytes and returns how many; 0 = end. Not thread-safe.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  virtual Result<std::size_t> read(std::span<std::byte> buffer) = 0;
};

/// Bytes that are pushed. finish() flushes (ends a compressed stream); without it the output is incomplete.
class ByteSink {
 public:
  virtual ~ByteSink() = default;
  virtual Result<void> write(std::span<const std::byte> bytes) = 0;
  virtual Result<void> finish() { return {}; }
};

std::unique_ptr<ByteSource> make_fd_source(FileDescriptor fd);
std::unique_ptr<ByteSource> make_fd_source(FdRef fd);
std::unique_ptr<ByteSource> make_memory_source(std::string bytes);
std::unique_ptr<ByteSink> make_fd_sink(FdRef fd);

/// Bytes that were read ahead, then the rest, which must outlive it.
class PrependedSource : public ByteSource {
 public:
  PrependedSource(std::vector<std::byte> head, ByteSource& rest) : head_(std::move(head)), rest_(rest) {}
  Result<std::size_t> read(std::span<std::byte> buffer) override;

 private:
  std::vector<std::byte> head_;
  ByteSource& rest_;
  std::size_t at_ = 0;
};

/// Passes bytes through until `cancel` is set: then the error is `cancelled`. Both must outlive it.
class CancellableSource : public ByteSource {
 public:
  CancellableSource(ByteSource& inner, const CancelToken& cancel) : inner_(inner), cancel_(cancel) {}
  Result<std::size_t> read(std::span<std::byte> buffer) override;

 private:
  ByteSource& inner_;
  const CancelToken& cancel_;
};

/// Passes bytes through and hashes and counts them. `inner` must outlive it.
class HashingSource : public ByteSource {
 public:
  explicit HashingSource(ByteSource& inner, std::string_view algorithm = "sha256")
      : inner_(inner), hasher_(algorithm) {}
  Result<std::size_t> read(std::span<std::byte> buffer) override;
  std::uint64_t size() const { return size_; }
  Digest finish() { return hasher_.finish(); }

 private:
  ByteSource& inner_;
  Hasher hasher_;
  std::uint64_t size_ = 0;
};
class HashingSink : public ByteSink {
 public:
  explicit HashingSink(ByteSink& inner) : inner_(inner) {}
  Result<void> write(std::span<const std::byte> bytes) override;
  Result<void> finish() override { return inner_.finish(); }
  std::uint64_t size() const { return size_; }
  Digest digest() { return hasher_.finish(); }

 private:
  ByteSink& inner_;
  Hasher hasher_;
  std::uint64_t size_ = 0;
};

/// Hands what it gets to `inner` in a thread of its own, so that two steps of work take two processors. What fits into
/// one buffer (256 KiB) starts no thread. An error of `inner` comes with a later write or with finish(); destroyed
/// without finish(), it stops the thread. `inner` must outlive it and be left alone until finish() or destruction.
class PipelinedSink : public ByteSink {
 public:
  explicit PipelinedSink(ByteSink& inner);
  ~PipelinedSink() override;
  Result<void> write(std::span<const std::byte> bytes) override;
  Result<void> finish() override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Reads `inner` ahead in a thread of its own, a few buffers of 256 KiB at most. What fits into one starts no thread.
/// An error of `inner` comes after the bytes before it. `inner` must outlive it and be left alone until the end (0) has
/// been read or this is destroyed.
class PipelinedSource : public ByteSource {
 public:
  explicit PipelinedSource(ByteSource& inner);
  ~PipelinedSource() override;
  Result<std::size_t> read(std::span<std::byte> buffer) override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

enum class Compression { none, gzip, zstd, bzip2, xz };
/// By magic bytes; none if unknown.
Compression detect_compression(std::span<const std::byte> first_bytes);
/// Reads `inner` uncompressed, whatever it is (by magic bytes). Concatenated gzip members are read through. `inner`
/// must outlive the result. Errors: corrupt (also for a truncated stream).
std::unique_ptr<ByteSource> make_decompressing_source(ByteSource& inner);
/// gzip through ISA-L level 1 (about 15 times the speed of zlib -6). One input gives one output for one version of
/// ISA-L. No timestamp, no file name in the header.
std::unique_ptr<ByteSink> make_gzip_sink(ByteSink& inner);
/// ISA-L knows levels 0 to 3; gzip's 0 to 9 are mapped to them.
std::unique_ptr<ByteSink> make_gzip_sink(ByteSink& inner, int level);
/// One thread, so that one input gives one output for one version of libzstd. Levels 1 to 22.
std::unique_ptr<ByteSink> make_zstd_sink(ByteSink& inner, int level = 3);
/// Reads to the end and discards. Returns the count.
Result<std::uint64_t> drain(ByteSource& source);
/// Copies all.
Result<std::uint64_t> copy(ByteSource& source, ByteSink& sink);

}  // namespace dray
