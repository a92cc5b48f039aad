// SPDX-License-Identifier: Apache-2.0
#include "verify/verify.hpp"

#include <algorithm>
#include <cstring>

#include <dray/core/tar.hpp>

#include "catch.hpp"

using namespace dray;
using namespace dray::builder;

namespace {

struct File {
  std::string path, content;
  std::int64_t time = 100;
  std::uint32_t mode = 0644;
};

class Text : public ByteSink {
 public:
  Result<void> write(std::span<const std::byte> bytes) override {
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return {};
  }
  std::string text;
};

class TextSource : public ByteSource {
 public:
  explicit TextSource(std::string text) : text_(std::move(text)) {}
  Result<std::size_t> read(std::span<std::byte> buffer) override {
    const std::size_t count = std::min(buffer.size(), text_.size() - at_);
    std::memcpy(buffer.data(), text_.data() + at_, count);
    at_ += count;
    return count;
  }

 private:
  std::string text_;
  std::size_t at_ = 0;
};

std::string tar_of(const std::vector<File>& files) {
  Text sink;
  tar::Writer writer(sink);
  for (const File& file : files) {
    tar::Entry entry;
    entry.path = file.path;
    entry.mode = file.mode;
    entry.size = file.content.size();
    entry.mtime_seconds = file.time;
    TextSource content(file.content);
    REQUIRE_OK(writer.add(entry, file.content.empty() ? nullptr : &content));
  }
  REQUIRE_OK(writer.finish());
  return sink.text;
}

std::string compare(const std::vector<File>& a, const std::vector<File>& b, std::optional<std::int64_t> epoch = {}) {
  TextSource first(tar_of(a)), second(tar_of(b));
  const auto found = first_difference(first, second, epoch);
  REQUIRE_OK(found);
  return *found;
}

}  // namespace

TEST_CASE("two tars: the first entry that differs, and in what") {
  CHECK(compare({{"a", "1"}, {"b", "2"}}, {{"a", "1"}, {"b", "2"}}).empty());
  CHECK(compare({{"a", "1"}, {"b", "2"}}, {{"a", "1"}, {"b", "3"}}) == "\"b\" has another content");
  CHECK(compare({{"a", "1"}, {"b", "2"}}, {{"a", "1"}, {"b", "33"}}) == "\"b\" has 1 bytes and 2");
  CHECK(compare({{"a", "1"}, {"b", "2"}}, {{"b", "2"}}) == "\"a\" is only in the first build");
  CHECK(compare({{"a", "1"}}, {{"a", "1"}, {"b", "2"}}) == "\"b\" is only in the second build");
  CHECK(compare({{"a", "1", 100, 0600}}, {{"a", "1", 200, 0644}}) == "\"a\" has another mode");
}

TEST_CASE("two tars: times count last, and not above SOURCE_DATE_EPOCH where they are levelled") {
  CHECK(compare({{"a", "1", 100}, {"b", "2"}}, {{"a", "1", 200}, {"b", "3"}}) == "\"b\" has another content");
  CHECK(compare({{"a", "1", 100}}, {{"a", "1", 200}}) == "\"a\" has another time: 100.000000000 and 200.000000000");
  CHECK(compare({{"a", "1", 100}}, {{"a", "1", 200}}, 50).empty());
  CHECK_FALSE(compare({{"a", "1", 100}}, {{"a", "1", 200}}, 150).empty());
}
