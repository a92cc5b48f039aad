// SPDX-License-Identifier: Apache-2.0
#include <dray/core/progress.hpp>
#include <dray/core/stream.hpp>

#include "catch.hpp"

using namespace dray;

namespace {

class StringSink : public ByteSink {
 public:
  Result<void> write(std::span<const std::byte> bytes) override {
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return {};
  }
  std::string text;
};

std::string sample() {
  std::string text;
  for (int i = 0; i < 200000; ++i) text += std::to_string(i * 7919) + "\n";
  return text;
}

std::string gzip(const std::string& text, std::size_t piece) {
  StringSink sink;
  auto compressor = make_gzip_sink(sink);
  for (std::size_t at = 0; at < text.size(); at += piece) {
    auto part = std::string_view(text).substr(at, piece);
    REQUIRE_OK(compressor->write(std::as_bytes(std::span(part))));
  }
  REQUIRE_OK(compressor->finish());
  return sink.text;
}

Result<std::string> decompress(std::string bytes) {
  auto source = make_memory_source(std::move(bytes));
  auto plain = make_decompressing_source(*source);
  StringSink sink;
  TRY(copy(*plain, sink));
  return sink.text;
}

}  // namespace

TEST_CASE("gzip round trip, independent of how the writes are cut", "[core]") {
  std::string text = sample();
  std::string packed = gzip(text, 1000);
  CHECK(packed == gzip(text, 333333));
  auto back = decompress(packed);
  REQUIRE_OK(back);
  CHECK(*back == text);
  CHECK(*decompress(packed + gzip("more", 9)) == text + "more");
  CHECK(*decompress(packed + std::string(512, '\0')) == text);
  CHECK(*decompress(gzip("", 1)) == "");
}

TEST_CASE("damaged and truncated streams are errors", "[core]") {
  std::string packed = gzip(sample(), 1000);
  for (std::size_t length : {std::size_t{3}, std::size_t{20}, packed.size() / 2, packed.size() - 1}) {
    auto result = decompress(packed.substr(0, length));
    REQUIRE_FALSE(result.has_value());
    CHECK(result.error().code() == ErrorCode::corrupt);
  }
  std::string flipped = packed;
  flipped[flipped.size() - 6] ^= 1;  // in the checksum
  CHECK_FALSE(decompress(flipped).has_value());
  CHECK_FALSE(decompress(std::string("\x28\xb5\x2f\xfd") + "garbage").has_value());
  CHECK_FALSE(decompress("BZh9garbage").has_value());
  CHECK_FALSE(decompress(std::string("\xfd"
                                     "7zXZ\0garbage",
                                     13))
                  .has_value());
}

TEST_CASE("what is not compressed passes through", "[core]") {
  CHECK(*decompress("plain") == "plain");
  CHECK(*decompress("") == "");
}

TEST_CASE("a pipelined sink passes all on, in order, and its thread ends in every case") {
  const std::string text = sample();
  const auto bytes = std::as_bytes(std::span(text));
  for (const std::size_t piece : {std::size_t{1000}, std::size_t{300000}, text.size()}) {
    StringSink inner;
    PipelinedSink sink(inner);
    for (std::size_t at = 0; at < bytes.size(); at += piece)
      REQUIRE_OK(sink.write(bytes.subspan(at, std::min(piece, bytes.size() - at))));
    REQUIRE_OK(sink.finish());
    CHECK(inner.text == text);
  }
  StringSink small;
  PipelinedSink one_buffer(small);
  REQUIRE_OK(one_buffer.write(bytes.first(10)));
  REQUIRE_OK(one_buffer.finish());
  CHECK(small.text == text.substr(0, 10));
  StringSink unfinished;
  {
    PipelinedSink sink(unfinished);
    REQUIRE_OK(sink.write(bytes));
  }
  CHECK(text.starts_with(unfinished.text));
}

TEST_CASE("an error behind a pipelined sink comes back, however full the queue is") {
  class Full : public ByteSink {
   public:
    Result<void> write(std::span<const std::byte> bytes) override {
      room -= std::min(room, bytes.size());
      if (room == 0) return fail(ErrorCode::no_space, "full");
      return {};
    }
    std::size_t room = 500000;
  } full;
  PipelinedSink sink(full);
  const std::vector<std::byte> chunk(100000);
  Result<void> outcome;
  for (int i = 0; i < 100 && outcome; ++i) outcome = sink.write(chunk);
  CHECK(outcome.error().code() == ErrorCode::no_space);
  CHECK(sink.finish().error().code() == ErrorCode::no_space);
}

TEST_CASE("a pipelined source gives all, then the end or the error, and its thread ends in every case") {
  const std::string text = sample();
  for (const std::size_t size : {std::size_t{0}, std::size_t{5}, std::size_t{256 * 1024}, text.size()}) {
    const auto inner = make_memory_source(text.substr(0, size));
    PipelinedSource source(*inner);
    StringSink got;
    REQUIRE_OK(copy(source, got));
    CHECK(got.text == text.substr(0, size));
    std::vector<std::byte> more(1);
    CHECK(*source.read(more) == 0);
  }
  class Torn : public ByteSource {
   public:
    Result<std::size_t> read(std::span<std::byte> buffer) override {
      if (left == 0) return fail(ErrorCode::corrupt, "torn");
      const std::size_t count = std::min(left, buffer.size());
      left -= count;
      return count;
    }
    std::size_t left = 1'000'000;
  } torn;
  PipelinedSource source(torn);
  std::vector<std::byte> buffer(1000);
  std::size_t total = 0;
  Result<std::size_t> count = source.read(buffer);
  for (; count && *count > 0; count = source.read(buffer)) total += *count;
  CHECK(total == 1'000'000);
  CHECK(count.error().code() == ErrorCode::corrupt);
  const auto endless = make_memory_source(text);
  PipelinedSource abandoned(*endless);
  REQUIRE_OK(abandoned.read(buffer));
}

TEST_CASE("a source may begin with what was read ahead, and end when the work is cancelled", "[core]") {
  const std::string head = "read ahead, ";
  const auto seen = std::as_bytes(std::span(head));
  auto rest = make_memory_source("the rest");
  PrependedSource all({seen.begin(), seen.end()}, *rest);
  CancelToken cancel;
  CancellableSource cancellable(all, cancel);
  std::array<std::byte, 5> buffer{};
  std::string text;
  while (const std::size_t count = cancellable.read(buffer).value())
    text.append(reinterpret_cast<const char*>(buffer.data()), count);
  CHECK(text == "read ahead, the rest");
  cancel.cancel();
  CHECK(cancellable.read(buffer).error().code() == ErrorCode::cancelled);
}
