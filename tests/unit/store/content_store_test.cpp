// SPDX-License-Identifier: Apache-2.0
#include "support.hpp"

using namespace dray;
using namespace dray::store;
using namespace dray::store::test;

namespace {
Result<void> write(BlobWriter& writer, std::string_view text) { return writer.write(std::as_bytes(std::span(text))); }
}  // namespace

TEST_CASE("a blob has its name only after its digest was right", "[store][content]") {
  TempDir directory = *TempDir::create(temp_parent(), "dray-content-");
  auto content = *ContentStore::open(directory.path() + "/content");
  const Digest digest = Digest::of("hello");
  {
    auto writer = *content.begin_write();
    REQUIRE_OK(write(writer, "hel"));
    CHECK(writer.commit(digest).error().code() == ErrorCode::corrupt);
  }
  {
    auto writer = *content.begin_write();
    REQUIRE_OK(write(writer, "hello"));
    CHECK(writer.commit(digest, 6).error().code() == ErrorCode::corrupt);
  }
  CHECK(!content.contains(digest));
  CHECK(content.open_blob(digest).error().code() == ErrorCode::not_found);
  CHECK(count_entries(directory.path() + "/content/ingest") == 0);
  for (int round = 0; round < 2; ++round) {
    auto writer = *content.begin_write();
    REQUIRE_OK(write(writer, "hello"));
    REQUIRE_OK(writer.commit(digest, 5));
  }
  CHECK(content.contains(digest));
  CHECK(*content.size(digest) == 5);
  CHECK(content.list()->size() == 1);
  CHECK(count_entries(directory.path() + "/content/ingest") == 0);
  REQUIRE_OK(content.remove(digest));
  REQUIRE_OK(content.remove(digest));
}

TEST_CASE("large and sha512 blobs", "[store][content]") {
  TempDir directory = *TempDir::create(temp_parent(), "dray-content-");
  auto content = *ContentStore::open(directory.path() + "/content");
  std::string large;
  for (int i = 0; large.size() < 3'000'000; ++i) large += std::to_string(i);
  Hasher hasher("sha512");
  hasher.update(large);
  const Digest digest = hasher.finish();
  for (const char* algorithm : {"sha256", "sha512"}) {
    auto writer = *content.begin_write(algorithm);
    for (std::size_t at = 0; at < large.size(); at += 77'777)
      REQUIRE_OK(write(writer, std::string_view(large).substr(at, 77'777)));
    REQUIRE_OK(writer.commit(digest, large.size()));
    CHECK(content.contains(digest));
    CHECK(*read_all(*content.open_blob(digest), 4 << 20) == large);
    REQUIRE_OK(content.remove(digest));
  }
}

TEST_CASE("a damaged small blob is not handed out", "[store][content]") {
  TempDir directory = *TempDir::create(temp_parent(), "dray-content-");
  auto content = *ContentStore::open(directory.path() + "/content");
  const Digest digest = *content.write_blob("text");
  CHECK(*content.read_blob(digest) == "text");
  REQUIRE_OK(
      write_file_atomically(content.directory() + "/blobs/sha256/" + digest.hex(), "tex", 0600, Durability::none));
  CHECK(content.read_blob(digest).error().code() == ErrorCode::corrupt);
}
