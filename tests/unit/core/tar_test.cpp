// SPDX-License-Identifier: Apache-2.0
#include <dray/core/tar.hpp>

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

std::string write_one(const tar::Entry& entry, const std::string& content) {
  StringSink sink;
  tar::Writer writer(sink);
  auto source = make_memory_source(content);
  REQUIRE_OK(writer.add(entry, source.get()));
  REQUIRE_OK(writer.finish());
  return sink.text;
}

}  // namespace

TEST_CASE("what the writer writes, the reader reads", "[core]") {
  tar::Entry entry;
  entry.path = std::string(300, 'd') + "/naïve-ü";
  entry.mode = 04755;
  entry.uid = 3000000;  // more than ustar's octal field holds
  entry.gid = 7;
  entry.size = 11;
  entry.mtime_seconds = 1700000000;
  entry.mtime_nanoseconds = 123456789;
  entry.xattrs["security.capability"] = std::string("\x01\0\0\x02", 4);
  entry.xattrs["user.note"] = "x=y\n";
  auto bytes = write_one(entry, "hello world");
  CHECK(bytes.size() % 512 == 0);
  CHECK(bytes == write_one(entry, "hello world"));

  auto source = make_memory_source(bytes);
  tar::Reader reader(*source);
  auto next = reader.next();
  REQUIRE_OK(next);
  REQUIRE(next->has_value());
  const tar::Entry& got = **next;
  CHECK(got.path == entry.path);
  CHECK(got.mode == entry.mode);
  CHECK(got.uid == entry.uid);
  CHECK(got.mtime_seconds == entry.mtime_seconds);
  CHECK(got.mtime_nanoseconds == entry.mtime_nanoseconds);
  CHECK(got.xattrs == entry.xattrs);
  std::array<std::byte, 64> buffer;
  CHECK(*reader.read(buffer) == 11);
  CHECK(std::string(reinterpret_cast<char*>(buffer.data()), 11) == "hello world");
  CHECK_FALSE((*reader.next()).has_value());
}

TEST_CASE("links and devices survive", "[core]") {
  StringSink sink;
  tar::Writer writer(sink);
  tar::Entry link;
  link.path = "link";
  link.type = tar::EntryType::symlink;
  link.link_target = std::string(150, 't');
  tar::Entry device;
  device.path = "null";
  device.type = tar::EntryType::character_device;
  device.device_major = 1;
  device.device_minor = 3;
  tar::Entry old;
  old.path = "old";
  old.mtime_seconds = -5;
  for (const auto* entry : {&link, &device, &old}) REQUIRE_OK(writer.add(*entry, nullptr));
  REQUIRE_OK(writer.finish());
  auto source = make_memory_source(sink.text);
  tar::Reader reader(*source);
  CHECK((**reader.next()).link_target == link.link_target);
  CHECK((**reader.next()).device_minor == 3);
  CHECK((**reader.next()).mtime_seconds == -5);
}

TEST_CASE("damaged archives are errors, an empty one is none", "[core]") {
  tar::Entry entry;
  entry.path = "f";
  entry.size = 5000;
  auto bytes = write_one(entry, std::string(5000, 'x'));
  for (std::string damaged : {bytes.substr(0, 700), bytes.substr(0, 100), std::string(2000, 'z')}) {
    auto source = make_memory_source(damaged);
    tar::Reader reader(*source);
    bool failed = false;
    std::array<std::byte, 1024> buffer;
    for (auto next = reader.next(); !failed; next = reader.next()) {
      failed = !next.has_value();
      if (failed || !next->has_value()) break;
      for (auto count = reader.read(buffer); !failed && (!count || *count > 0); count = reader.read(buffer))
        failed = !count;
    }
    CHECK(failed);
  }
  auto source = make_memory_source("");
  CHECK_FALSE((*tar::Reader(*source).next()).has_value());
}

TEST_CASE("content shorter than announced is an error", "[core]") {
  tar::Entry entry;
  entry.path = "f";
  entry.size = 10;
  StringSink sink;
  tar::Writer writer(sink);
  auto source = make_memory_source("short");
  CHECK_FALSE(writer.add(entry, source.get()).has_value());
}
