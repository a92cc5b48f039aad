// SPDX-License-Identifier: Apache-2.0
// Text of strangers: names, targets, ranges, passwords, manifests.
#include <catch.hpp>

#include <crypt.h>

#include "documents_json.hpp"
#include "htpasswd.hpp"
#include "listener.hpp"
#include "names.hpp"
#include "ranges.hpp"
#include "target.hpp"

namespace dray::registry_server {
namespace {

TEST_CASE("repository names follow the spec's grammar") {
  for (const char* good : {"a", "library/debian", "a.b_c__d---e/f", "0/1/2", "a-b", "team/blobs/uploads/app"})
    CHECK(is_repository_name(good));
  CHECK(is_repository_name(std::string(255, 'a')));
  for (const char* bad : {"",     "/",  "a/", "/a", "a//b", "..",  "a/../b",   "A",    "a___b", "a..b",
                          "a._b", "-a", "a-", "a_", "a%b",  "a b", "_catalog", "a\nb", "a/.",   "ä"})
    CHECK_FALSE(is_repository_name(bad));
  CHECK_FALSE(is_repository_name(std::string(256, 'a')));
  CHECK_FALSE(is_repository_name(std::string_view("a\0b", 3)));
}

TEST_CASE("tags and media types") {
  for (const char* good : {"latest", "1.0", "_x", "A-b_c.d"}) CHECK(is_tag(good));
  CHECK(is_tag(std::string(128, 'x')));
  for (const char* bad : {"", ".x", "-x", "a/b", "..", "a:b", "a b"}) CHECK_FALSE(is_tag(bad));
  CHECK_FALSE(is_tag(std::string(129, 'x')));
  CHECK(is_media_type("application/vnd.oci.image.manifest.v1+json"));
  for (const char* bad : {"", "a", "/a", "a/", "a/b/c", "a/b; c", "a/\"b"}) CHECK_FALSE(is_media_type(bad));
}

TEST_CASE("a target is read from its end") {
  const auto target = parse_target("/v2/a/manifests/b/manifests/1.0?n=2&x");
  REQUIRE(target);
  CHECK(target->route == Route::manifest);
  CHECK(target->name == "a/manifests/b");
  CHECK(target->reference == "1.0");
  CHECK(*target->parameter("n") == "2");
  CHECK(target->parameter("x")->empty());
  CHECK(target->parameter("y") == nullptr);

  const auto route = [](std::string_view text) {
    const auto parsed = parse_target(text);
    return parsed ? parsed->route : Route::unknown;
  };
  CHECK(route("/v2/") == Route::version);
  CHECK(route("/v2") == Route::version);
  CHECK(route("/v2/_catalog?n=1") == Route::catalog);
  CHECK(route("/v2/a/blobs/uploads/") == Route::upload_start);
  CHECK(route("/v2/a/blobs/uploads") == Route::upload_start);
  CHECK(route("/v2/a/blobs/uploads/0b1c") == Route::upload);
  CHECK(route("/v2/a/blobs/sha256%3Aabc") == Route::blob);
  CHECK(route("/v2/a/b/tags/list") == Route::tags);
  CHECK(route("/v2/a/referrers/sha256:abc") == Route::referrers);
  for (const char* other : {"", "/", "/v1/a/tags/list", "/v2/a", "/v2/tags/list", "/v2/blobs/uploads/",
                            "/v2/a/tags/other", "http://x/v2/", "*", "/v2/blobs/sha256:abc"})
    CHECK(route(other) == Route::unknown);
}

TEST_CASE("an escaped slash or dot is decoded before names are checked") {
  const auto target = parse_target("/v2/a%2F..%2f..%2Fetc/manifests/%2e%2e");
  REQUIRE(target);
  CHECK(target->name == "a/../../etc");
  CHECK_FALSE(is_repository_name(target->name));
  CHECK_FALSE(is_tag(target->reference));
  for (const char* bad :
       {"/v2/a%/tags/list", "/v2/a%2/tags/list", "/v2/a%zz/tags/list", "/v2/a%00/tags/list", "/v2/?a=%0"})
    CHECK_FALSE(parse_target(bad));
}

TEST_CASE("a page's parameters") {
  const auto page = [](std::string_view query) {
    return parse_page(*parse_target("/v2/a/tags/list" + std::string(query)), 100);
  };
  CHECK(page("")->count == 100);
  CHECK(page("?n=0")->count == 0);
  CHECK(page("?n=7&last=x")->count == 7);
  CHECK(page("?n=7&last=x")->after == "x");
  CHECK(page("?n=1000")->count == 100);
  CHECK(page("?n=99999999999999999999999")->count == 100);
  for (const char* bad : {"?n=", "?n=-1", "?n=1x", "?n=x", "?n=+1"}) CHECK_FALSE(page(bad));
  CHECK(next_link("/v2/a/tags/list", 2, "x>y") == "</v2/a/tags/list?n=2&last=x%3Ey>; rel=\"next\"");
  CHECK(next_link("/v2/x?artifactType=a", 2, "b") == "</v2/x?artifactType=a&n=2&last=b>; rel=\"next\"");
}

TEST_CASE("Range headers") {
  const auto range = [](std::string_view header, std::uint64_t total = 100) { return parse_range(header, total); };
  const auto partial = [&](std::string_view header, std::uint64_t first, std::uint64_t size) {
    const RangeAnswer answer = range(header);
    return answer.kind == RangeAnswer::Kind::partial && answer.slice.first == first && answer.slice.size == size;
  };
  CHECK(partial("bytes=0-0", 0, 1));
  CHECK(partial("bytes=10-19", 10, 10));
  CHECK(partial("bytes=90-", 90, 10));
  CHECK(partial("bytes=90-1000", 90, 10));
  CHECK(partial("bytes=-10", 90, 10));
  CHECK(partial("bytes=-1000", 0, 100));
  CHECK(partial("bytes=0-18446744073709551615", 0, 100));
  for (const char* bad : {"bytes=100-", "bytes=100-200", "bytes=-0", "bytes=5-4"})
    CHECK(range(bad).kind == RangeAnswer::Kind::unsatisfiable);
  CHECK(range("bytes=0-", 0).kind == RangeAnswer::Kind::unsatisfiable);
  for (const char* ignored : {"", "bytes=", "bytes=-", "bytes=a-b", "bytes=1-2,4-5", "items=0-1", "bytes=--1",
                              "bytes=0-18446744073709551616"})
    CHECK(range(ignored).kind == RangeAnswer::Kind::none);
}

TEST_CASE("Content-Range of a chunk") {
  CHECK(parse_chunk_range("0-0")->size == 1);
  CHECK(parse_chunk_range("100-299")->first == 100);
  for (const char* bad : {"", "-", "0-", "-1", "5-4", "bytes=0-1", "0-1/2", "0 - 1", "0-18446744073709551615", "a-b"})
    CHECK_FALSE(parse_chunk_range(bad));
}

TEST_CASE("addresses to listen on") {
  CHECK(parse_listen_address("127.0.0.1:5000")->port == "5000");
  CHECK(parse_listen_address("[::1]:0")->host == "::1");
  CHECK(parse_listen_address(":443")->host.empty());
  for (const char* bad : {"", "5000", "localhost", "::1:5000", "a:65536", "a:-1", "a:x", "a:"})
    CHECK_FALSE(parse_listen_address(bad));
}

std::string hash_of(const char* password) {
  crypt_data data{};
  return ::crypt_rn(password, "$2y$04$abcdefghijklmnopqrstuu", &data, sizeof data);
}

TEST_CASE("users of an htpasswd file") {
  const auto users = Htpasswd::parse("# people\nuser:" + hash_of("secret") + "\r\n\nother:" + hash_of("pa:ss") + "\n");
  REQUIRE(users);
  for (int i = 0; i < 2; ++i) CHECK(users->user_of("Basic dXNlcjpzZWNyZXQ=") == "user");  // the second time remembered
  CHECK(users->user_of("basic dXNlcjpzZWNyZXQ") == "user");
  CHECK(users->user_of("Basic b3RoZXI6cGE6c3M=") == "other");
  for (const char* wrong : {"", "Basic ", "Basic", "Basic !!!!", "Bearer dXNlcjpzZWNyZXQ=", "Basic dXNlcg==",  // user
                            "Basic dXNlcjo=",                                                                  // user:
                            "Basic bm9ib2R5OnNlY3JldA==",  // nobody:secret
                            "Basic dXNlcjpzZWNyZXQA"})     // with a NUL
    CHECK(users->user_of(wrong).empty());
  CHECK(users->user_of("Basic " + std::string(1 << 20, 'A')).empty());
  for (const char* bad : {"", "user", "user:", ":hash", "user:$apr1$abc$def", "user:{SHA}abc", "user:plain"})
    CHECK_FALSE(Htpasswd::parse(bad));
}

const std::string kDigest = "sha256:" + std::string(64, 'a');

std::string descriptor(const std::string& type) {
  return R"({"mediaType":")" + type + R"(","digest":")" + kDigest + R"(","size":1})";
}

TEST_CASE("what a manifest says") {
  const std::string layer = "application/vnd.oci.image.layer.v1.tar", config = "application/vnd.example+json";
  const std::string text = R"({"schemaVersion":2,"config":)" + descriptor(config) + R"(,"layers":[)" +
                           descriptor(layer) + "," +
                           descriptor("application/vnd.oci.image.layer.nondistributable.v1.tar") + R"(],"subject":)" +
                           descriptor("x/y") + R"(,"annotations":{"a":"b"}})";
  const auto facts = read_manifest(text, "application/vnd.oci.image.manifest.v1+json");
  REQUIRE(facts);
  CHECK(facts->blobs.size() == 2);
  CHECK(facts->subject->to_string() == kDigest);
  CHECK(facts->artifact_type == config);
  CHECK(facts->annotations == R"({"a":"b"})");
  const auto index = read_manifest(R"({"schemaVersion":2,"manifests":[)" + descriptor("x/y") + "]}", "");
  REQUIRE(index);
  CHECK(index->media_type == "application/vnd.oci.image.index.v1+json");
  CHECK(index->artifact_type.empty());
}

TEST_CASE("manifests that are refused") {
  const std::string config = R"("config":)" + descriptor("x/y");
  const std::vector<std::string> refused{
      std::string(),
      std::string("{"),
      std::string("[]"),
      std::string("null"),
      std::string(R"({"schemaVersion":1})"),
      std::string(R"({"schemaVersion":"2",)") + config + "}",
      std::string(R"({"schemaVersion":2})"),
      R"({"schemaVersion":2,)" + config + R"(,"layers":[],"manifests":[]})",  // both kinds at once
      R"({"schemaVersion":2,"mediaType":"text/html",)" + config + "}",
      R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json",)" + config + "}",
      R"({"schemaVersion":2,)" + config + R"(,"layers":{}})",
      R"({"schemaVersion":2,)" + config + R"(,"layers":[null]})",
      R"({"schemaVersion":2,"config":{"digest":"sha256:../../x","size":1}})",
      R"({"schemaVersion":2,"config":{"digest":")" + kDigest + R"(","size":-1}})",
      R"({"schemaVersion":2,)" + config + R"(,"annotations":{"a":1}})",
      R"({"schemaVersion":2,)" + config + R"(,"subject":"x"})",
      R"({"schemaVersion":2,)" + config + R"(,"artifactType":"no type"})",
      std::string(1 << 20, '['),
  };
  for (const std::string& bad : refused) CHECK_FALSE(read_manifest(bad, ""));
  CHECK_FALSE(read_manifest("{\"schemaVersion\":2," + config + "}",
                            "application/vnd.docker.distribution.manifest.v1+prettyjws"));
  CHECK_FALSE(
      read_manifest(R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",)" + config + "}",
                    "application/vnd.docker.distribution.manifest.v2+json"));
}

TEST_CASE("error documents are JSON whatever the text") {
  CHECK(error_document("NAME_INVALID", "a\"b\n\xff") ==
        "{\"errors\":[{\"code\":\"NAME_INVALID\",\"message\":\"a\\\"b\\n\xef\xbf\xbd\"}]}\n");
}

}  // namespace
}  // namespace dray::registry_server
