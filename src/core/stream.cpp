// SPDX-License-Identifier: Apache-2.0
// The plain sources and sinks; compression is in compression.cpp.
#include <cstring>

#include <dray/core/progress.hpp>
#include <dray/core/stream.hpp>

namespace dray {
namespace {

constexpr std::size_t kCopyBuffer = 256 * 1024;

class FdSource : public ByteSource {
 public:
  explicit FdSource(FileDescriptor owned) : owned_(std::move(owned)), fd_(owned_) {}
  explicit FdSource(FdRef fd) : fd_(fd) {}
  Result<std::size_t> read(std::span<std::byte> buffer) override { return read_some(fd_, buffer); }

 private:
  FileDescriptor owned_;
  FdRef fd_;
};

class MemorySource : public ByteSource {
 public:
  explicit MemorySource(std::string bytes) : bytes_(std::move(bytes)) {}
  Result<std::size_t> read(std::span<std::byte> buffer) override {
    std::size_t count = std::min(buffer.size(), bytes_.size() - position_);
    std::memcpy(buffer.data(), bytes_.data() + position_, count);
    position_ += count;
    return count;
  }

 private:
  std::string bytes_;
  std::size_t position_ = 0;
};

class FdSink : public ByteSink {
 public:
  explicit FdSink(FdRef fd) : fd_(fd) {}
  Result<void> write(std::span<const std::byte> bytes) override {
    return write_all(fd_, std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  }

 private:
  FdRef fd_;
};

}  // namespace

std::unique_ptr<ByteSource> make_fd_source(FileDescriptor fd) { return std::make_unique<FdSource>(std::move(fd)); }
std::unique_ptr<ByteSource> make_fd_source(FdRef fd) { return std::make_unique<FdSource>(fd); }
std::unique_ptr<ByteSource> make_memory_source(std::string bytes) {
  return std::make_unique<MemorySource>(std::move(bytes));
}
std::unique_ptr<ByteSink> make_fd_sink(FdRef fd) { return std::make_unique<FdSink>(fd); }

Result<std::size_t> PrependedSource::read(std::span<std::byte> buffer) {
  if (at_ == head_.size()) return rest_.read(buffer);
  const std::size_t count = std::min(buffer.size(), head_.size() - at_);
  std::memcpy(buffer.data(), head_.data() + at_, count);
  at_ += count;
  return count;
}

Result<std::size_t> CancellableSource::read(std::span<std::byte> buffer) {
  TRY(cancel_.check());
  return inner_.read(buffer);
}

Result<std::size_t> HashingSource::read(std::span<std::byte> buffer) {
  std::size_t count = TRY(inner_.read(buffer));
  hasher_.update(std::span<const std::byte>(buffer.first(count)));
  size_ += count;
  return count;
}

Result<void> HashingSink::write(std::span<const std::byte> bytes) {
  hasher_.update(bytes);
  size_ += bytes.size();
  return inner_.write(bytes);
}

Result<std::uint64_t> drain(ByteSource& source) {
  std::vector<std::byte> buffer(kCopyBuffer);
  std::uint64_t total = 0;
  for (;;) {
    std::size_t count = TRY(source.read(buffer));
    if (count == 0) return total;
    total += count;
  }
}

Result<std::uint64_t> copy(ByteSource& source, ByteSink& sink) {
  std::vector<std::byte> buffer(kCopyBuffer);
  std::uint64_t total = 0;
  for (;;) {
    std::size_t count = TRY(source.read(buffer));
    if (count == 0) return total;
    TRY(sink.write(std::span<const std::byte>(buffer).first(count)));
    total += count;
  }
}

}  // namespace dray
