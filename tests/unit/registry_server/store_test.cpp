// SPDX-License-Identifier: Apache-2.0
// Which repository has what, and when bytes go.
#include <catch.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include "repositories.hpp"
#include "uploads.hpp"

namespace dray::registry_server {
namespace {

struct Folder {
  TempDir dir = *TempDir::create("/tmp", "dray-registry-test-");
  std::string path = dir.path() + "/registry";
  std::unique_ptr<Repositories> open() { return *Repositories::open(path); }
  bool has_file(const Digest& digest) const {
    return ::access((path + "/content/blobs/" + digest.algorithm() + "/" + digest.hex()).c_str(), F_OK) == 0;
  }
};

Digest push(Repositories& repositories, const std::string& repository, const std::string& bytes) {
  const Digest digest = Digest::of(bytes);
  auto writer = *repositories.begin_blob("sha256");
  REQUIRE(writer.write(std::as_bytes(std::span(bytes))));
  REQUIRE(repositories.finish_blob(repository, digest, writer));
  return digest;
}

Digest put(Repositories& repositories, const std::string& repository, const Digest& config, const std::string& tag) {
  StoredManifest manifest;
  manifest.bytes = R"({"schemaVersion":2,"config":{"mediaType":"x/y","digest":")" + config.to_string() +
                   R"(","size":1},"layers":[],"annotations":{"tag":")" + tag + R"("}})";
  manifest.digest = Digest::of(manifest.bytes);
  REQUIRE(repositories.put_manifest(repository, manifest, *read_manifest(manifest.bytes, ""), {tag}));
  return manifest.digest;
}

TEST_CASE("a blob belongs to the repositories it was pushed to or mounted in, and goes with the last") {
  Folder folder;
  const auto repositories = folder.open();
  const Digest digest = push(*repositories, "a", "bytes");
  CHECK(repositories->open_blob("a", digest));
  CHECK(repositories->open_blob("b", digest).error().code() == ErrorCode::not_found);
  const std::string other = "other", a = "a";
  CHECK_FALSE(*repositories->mount_blob("b", digest, &other));
  CHECK(*repositories->mount_blob("b", digest, &a));
  CHECK(*repositories->mount_blob("c", digest, nullptr));
  CHECK(repositories->remove_blob("a", digest));
  CHECK(repositories->remove_blob("a", digest).error().code() == ErrorCode::not_found);
  CHECK(repositories->remove_blob("c", digest));
  CHECK(folder.has_file(digest));
  const auto reading = repositories->open_blob("b", digest);
  CHECK(repositories->remove_blob("b", digest));
  CHECK_FALSE(folder.has_file(digest));
  CHECK(*read_all(*reading, 100) == "bytes");  // who reads goes on
}

TEST_CASE("bytes with another digest get no name") {
  Folder folder;
  const auto repositories = folder.open();
  auto writer = *repositories->begin_blob("sha256");
  REQUIRE(writer.write(std::as_bytes(std::span(std::string_view("bytes")))));
  const Digest wrong = Digest::of("other bytes");
  CHECK(repositories->finish_blob("a", wrong, writer).error().code() == ErrorCode::corrupt);
  CHECK_FALSE(folder.has_file(wrong));
  CHECK_FALSE(repositories->has_blob("a", wrong));
  CHECK_FALSE(repositories->exists("a"));
}

TEST_CASE("tags point to manifests and go with them") {
  Folder folder;
  const auto repositories = folder.open();
  const Digest config = push(*repositories, "a", "{}");
  const Digest one = put(*repositories, "a", config, "one"), two = put(*repositories, "a", config, "two");
  CHECK(repositories->manifest("a", "one")->digest == one);
  CHECK(repositories->manifest("a", two.to_string())->digest == two);
  CHECK(repositories->manifest("b", two.to_string()).error().code() == ErrorCode::not_found);
  CHECK(*repositories->tags("a", "", 10) == std::vector<std::string>{"one", "two"});
  CHECK(*repositories->tags("a", "one", 10) == std::vector<std::string>{"two"});
  CHECK(*repositories->catalog("", 10) == std::vector<std::string>{"a"});
  CHECK(repositories->remove_manifest("a", one));
  CHECK(repositories->tag("a", "one").error().code() == ErrorCode::not_found);
  CHECK_FALSE(folder.has_file(one));
  CHECK(repositories->remove_tag("a", "two"));
  CHECK(repositories->remove_tag("a", "two").error().code() == ErrorCode::not_found);
  CHECK(repositories->manifest("a", two.to_string()));
}

TEST_CASE("garbage is what no manifest of the repository names") {
  Folder folder;
  const auto repositories = folder.open();
  const Digest config = push(*repositories, "a", "{}"), loose = push(*repositories, "a", "loose");
  const Digest elsewhere = push(*repositories, "b", "{}");
  put(*repositories, "a", config, "t");
  CHECK(repositories->collect_garbage(3600)->blobs == 0);  // too young
  const auto collected = repositories->collect_garbage(-1);
  CHECK(collected->blobs == 1);
  CHECK(collected->bytes == 5);
  CHECK_FALSE(folder.has_file(loose));
  CHECK(repositories->has_blob("a", config));
  CHECK_FALSE(repositories->has_blob("b", elsewhere));
}

TEST_CASE("what a killed process left is cleared by the next") {
  Folder folder;
  Digest kept, lost_config, lost;
  {
    const auto repositories = folder.open();
    kept = push(*repositories, "a", "kept");
    lost_config = push(*repositories, "a", "{}");
    lost = put(*repositories, "a", kept, "lost");
    CHECK(Repositories::open(folder.path).error().code() == ErrorCode::in_use);
  }
  const Digest orphan = Digest::of("orphan");
  const std::string blobs = folder.path + "/content/blobs/sha256/";
  REQUIRE(write_file_atomically(blobs + orphan.hex(), "orphan", 0600, Durability::none));
  REQUIRE(write_file_atomically(folder.path + "/content/ingest/blob-1", "half", 0600, Durability::none));
  REQUIRE(::unlink((blobs + lost.hex()).c_str()) == 0);
  REQUIRE(::unlink((blobs + lost_config.hex()).c_str()) == 0);
  const auto repositories = folder.open();
  CHECK_FALSE(folder.has_file(orphan));
  CHECK(::access((folder.path + "/content/ingest/blob-1").c_str(), F_OK) != 0);
  CHECK(repositories->has_blob("a", kept));
  CHECK_FALSE(repositories->has_blob("a", lost_config));
  CHECK(repositories->tag("a", "lost").error().code() == ErrorCode::not_found);
}

TEST_CASE("a push heals what the disk has damaged") {
  Folder folder;
  const auto repositories = folder.open();
  const Digest blob = push(*repositories, "a", "bytes"), manifest = put(*repositories, "a", blob, "t");
  const std::string blobs = folder.path + "/content/blobs/sha256/";
  REQUIRE(write_file_atomically(blobs + blob.hex(), "byt", 0600, Durability::none));
  REQUIRE(write_file_atomically(blobs + manifest.hex(), "other", 0600, Durability::none));
  CHECK(repositories->manifest("a", "t").error().code() == ErrorCode::corrupt);
  push(*repositories, "a", "bytes");
  put(*repositories, "a", blob, "t");
  CHECK(*read_all(*repositories->open_blob("a", blob), 100) == "bytes");
  CHECK(repositories->manifest("a", "t")->digest == manifest);
}

TEST_CASE("an upload is one request's at a time, of its repository only, and expires") {
  Folder folder;
  const auto repositories = folder.open();
  Uploads uploads;
  std::string id;
  {
    auto hold = uploads.start("a", *repositories->begin_blob("sha256"));
    id = hold->id();
    CHECK(id.size() == 36);
    CHECK(uploads.take("b", id).error().code() == ErrorCode::not_found);
    uploads.expire(std::chrono::steady_clock::now() + std::chrono::hours(2));  // not while it is used
  }
  CHECK(uploads.take("a", id));
  CHECK(uploads.take("a", "../" + id).error().code() == ErrorCode::not_found);
  uploads.expire();
  CHECK(uploads.count() == 1);
  uploads.expire(std::chrono::steady_clock::now() + std::chrono::hours(2));
  CHECK(uploads.count() == 0);
  for (std::size_t i = 0; i < Uploads::kMost; ++i) REQUIRE(uploads.start("a", *repositories->begin_blob("sha256")));
  CHECK(uploads.start("a", *repositories->begin_blob("sha256")).error().code() == ErrorCode::in_use);
  uploads.least_idle = std::chrono::seconds(0);
  CHECK(uploads.start("a", *repositories->begin_blob("sha256")));
  CHECK(uploads.count() == Uploads::kMost);
}

}  // namespace
}  // namespace dray::registry_server
