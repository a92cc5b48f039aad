// SPDX-License-Identifier: Apache-2.0
// What registries and configuration files say: challenges, locations, credentials, error bodies.
#include "catch.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <thread>

#include <dray/core/base64.hpp>
#include <dray/core/fd.hpp>
#include <dray/registry/helper_protocol.hpp>

#include "challenge.hpp"
#include "credential_helper.hpp"
#include "credentials.hpp"
#include "registry_json.hpp"
#include "remote_error.hpp"
#include "url.hpp"

using namespace dray;
using namespace dray::registry;

TEST_CASE("challenges: one header, several schemes, quotes", "[registry]") {
  const auto found =
      parse_challenges({"Bearer realm=\"https://auth.example/token\",service=\"a "
                        "\\\"b\\\"\",scope=\"repository:x:pull,push\", Basic realm=x"});
  REQUIRE(found.size() == 2);
  CHECK(found[0].scheme == "bearer");
  CHECK(found[0].parameters.at("realm") == "https://auth.example/token");
  CHECK(found[0].parameters.at("service") == "a \"b\"");
  CHECK(found[0].parameters.at("scope") == "repository:x:pull,push");
  CHECK(found[1].scheme == "basic");
  CHECK(found[1].parameters.at("realm") == "x");
}

TEST_CASE("challenges: hostile text ends quietly", "[registry]") {
  CHECK(parse_challenges({""}).empty());
  CHECK(parse_challenges({"=,=,=", "\"", "@@@"}).empty());
  CHECK(parse_challenges({"Bearer realm=\"unterminated"})[0].parameters.empty());
  CHECK(parse_challenges({"Negotiate", "Basic"}).size() == 2);
  std::string many;
  for (int i = 0; i < 1000; ++i) many += "Basic a=\"b\", ";
  CHECK(parse_challenges({many, many}).size() <= 16);
  CHECK(parse_challenges({"Bearer realm=\"" + std::string(1 << 20, 'x') + "\""}).size() == 1);
}

TEST_CASE("locations: relative, absolute, refused", "[registry]") {
  const std::string base = "https://r.example/v2/x/blobs/uploads/";
  CHECK(resolve_location(base, "/v2/x/blobs/uploads/1?s=2").value() == "https://r.example/v2/x/blobs/uploads/1?s=2");
  CHECK(resolve_location(base, "abc").value() == "https://r.example/v2/x/blobs/uploads/abc");
  CHECK(resolve_location(base, "https://cdn.example/y?z").value() == "https://cdn.example/y?z");
  CHECK(resolve_location("http://localhost:5000/v2/", "http://localhost:5000/q").value() == "http://localhost:5000/q");
  CHECK(resolve_location(base, "https://u:p@cdn.example/y").value() == "https://cdn.example/y");
  CHECK(resolve_location(base, "http://cdn.example/y").error().code() == ErrorCode::permission_denied);
  for (const char* bad : {"file:///etc/passwd", "gopher://x/", "", "https://a b/", "https://x/\r\nX: y", "https://"})
    CHECK_FALSE(resolve_location(base, bad));
  CHECK(with_query("https://x/u?a=b", "digest", "sha256:1") == "https://x/u?a=b&digest=sha256%3A1");
}

TEST_CASE("origins and insecure rules", "[registry]") {
  CHECK(parse_origin("https://R.example/v2/").value() == parse_origin("https://r.example:443/").value());
  CHECK(parse_origin("https://r.example/").value() != parse_origin("https://r.example:444/").value());
  CHECK(parse_origin("http://r.example/").value() != parse_origin("https://r.example/").value());
  CHECK(parse_origin("http://localhost:5000/")->host_and_port() == "localhost:5000");
  CHECK_FALSE(parse_origin("file:///x"));
  for (const char* loopback : {"localhost", "localhost:5000", "127.0.0.1:1", "127.9.9.9", "[::1]:5000"})
    CHECK(is_loopback(loopback));
  for (const char* other : {"localhost.example", "127.0.0.1.example", "128.0.0.1", "example:127"})
    CHECK_FALSE(is_loopback(other));
  CHECK(matches_insecure_rule("r.example:5000", "r.example:5000"));
  CHECK(matches_insecure_rule("10.1.2.3:5000", "10.0.0.0/8"));
  CHECK_FALSE(matches_insecure_rule("11.1.2.3:5000", "10.0.0.0/8"));
  CHECK_FALSE(matches_insecure_rule("10.1.2.3", "10.0.0.0/99"));
  CHECK_FALSE(matches_insecure_rule("r.example:5000", "r.example:5001"));
}

TEST_CASE("docker's config.json", "[registry]") {
  const auto config = parse_docker_config(
      R"({"auths":{"https://index.docker.io/v1/":{"auth":"dTpwOnE="},"r.example:5000":{"identitytoken":"t"},"bad":7},)"
      R"("credHelpers":{"h.example":"pass"},"credsStore":"desktop"})");
  REQUIRE_OK(config);
  REQUIRE(find_auth(*config, "docker.io") != nullptr);
  CHECK(find_auth(*config, "docker.io")->username == "u");
  CHECK(find_auth(*config, "docker.io")->password == "p:q");
  CHECK(find_auth(*config, "r.example:5000")->identity_token == "t");
  CHECK(find_auth(*config, "r.example") == nullptr);
  CHECK(config->helpers.at("h.example") == "pass");
  CHECK_FALSE(parse_docker_config("[]"));
  CHECK_FALSE(parse_docker_config(R"({"auths":{"x":{"auth":"!!!"}}})"));
  CHECK_FALSE(parse_docker_config(std::string(100000, '[')));
  CHECK(encode_base64("u:p:q") == "dTpwOnE=");
  CHECK(encode_base64("ab") == "YWI=");
  CHECK(encode_base64("a") == "YQ==");
}

TEST_CASE("credentials: file, missing file, hostile helper name", "[registry]") {
  auto directory = TempDir::create("/tmp", "dray-registry-test-");
  REQUIRE_OK(directory);
  CancelToken cancel;
  Stop stop(cancel);
  std::vector<std::string> warnings;
  auto none = find_credentials(directory->path(), "r.example", stop, warnings);
  REQUIRE_OK(none);
  CHECK(none->empty());
  REQUIRE_OK(write_file_atomically(directory->path() + "/config.json",
                                   R"({"auths":{"r.example":{"auth":"dTpw"}},"credsStore":"../../bin/sh"})", 0600,
                                   Durability::none));
  auto found = find_credentials(directory->path(), "r.example", stop, warnings);
  REQUIRE_OK(found);
  CHECK(found->username == "u");
  CHECK(warnings.size() == 1);
}

TEST_CASE("config.json keeps its owner, and its link", "[registry]") {
  auto directory = TempDir::create("/tmp", "dray-registry-test-");
  REQUIRE_OK(directory);
  const std::string home = directory->path() + "/home", config = home + "/.docker";
  REQUIRE_OK(make_directories(home));
  const unsigned owner = ::geteuid() == 0 ? 4711 : ::geteuid();
  if (::geteuid() == 0) REQUIRE(::chown(home.c_str(), owner, owner) == 0);
  CancelToken cancel;
  Stop stop(cancel);
  Credentials credentials;
  credentials.username = "u";
  credentials.password = "p";
  struct stat status;
  REQUIRE_OK(store_credentials(config, "r.example", credentials, stop));
  for (const std::string& made : {config, config + "/config.json"}) {
    REQUIRE(::stat(made.c_str(), &status) == 0);
    CHECK(status.st_uid == owner);
  }
  const unsigned changed = ::geteuid() == 0 ? 4712 : owner;
  if (::geteuid() == 0) REQUIRE(::chown((config + "/config.json").c_str(), changed, changed) == 0);
  REQUIRE(::rename((config + "/config.json").c_str(), (home + "/real").c_str()) == 0);
  REQUIRE(::symlink("../real", (config + "/config.json").c_str()) == 0);
  REQUIRE_OK(store_credentials(config, "other.example", credentials, stop));
  REQUIRE_OK(erase_credentials(config, "r.example", stop));
  REQUIRE(::lstat((config + "/config.json").c_str(), &status) == 0);
  CHECK(S_ISLNK(status.st_mode));
  REQUIRE(::lstat((home + "/real").c_str(), &status) == 0);
  CHECK(status.st_uid == changed);
  CHECK((status.st_mode & 07777) == 0600);
  CHECK(read_file(home + "/real")->find("other.example") != std::string::npos);
}

TEST_CASE("a credential helper that closes its output and stays is not waited for", "[registry]") {
  auto directory = TempDir::create("/tmp", "dray-registry-test-");
  REQUIRE_OK(directory);
  REQUIRE_OK(write_file_atomically(directory->path() + "/docker-credential-stays",
                                   "#!/bin/sh\nexec >&-\nexec sleep 20\n", 0755, Durability::none));
  const std::string path = ::getenv("PATH");
  ::setenv("PATH", (directory->path() + ":" + path).c_str(), 1);
  CancelToken cancel;
  Stop stop(cancel);
  const auto begin = std::chrono::steady_clock::now();
  std::thread canceller([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    cancel.cancel();
  });
  const auto answer = get_from_helper("stays", "r.example", stop);
  canceller.join();
  ::setenv("PATH", path.c_str(), 1);
  REQUIRE_FALSE(answer);
  CHECK(answer.error().code() == ErrorCode::cancelled);
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(10));
}

TEST_CASE("errors in docker's words", "[registry]") {
  const Reference reference = *Reference::parse("localhost:5000/x:y");
  Response response;
  response.url = "http://localhost:5000/v2/x/manifests/y";
  response.status = 404;
  response.body = R"({"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"y"}}]})";
  CHECK(remote_error(response, reference, Purpose::pull_manifest).message() ==
        "manifest for localhost:5000/x:y not found: manifest unknown");
  response.status = 401;
  response.body = R"({"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]})";
  const Error denied = remote_error(response, reference, Purpose::pull_manifest);
  CHECK(denied.code() == ErrorCode::permission_denied);
  CHECK(denied.message() ==
        "pull access denied for localhost:5000/x, repository does not exist or may require 'docker login': "
        "unauthorized: authentication required");
  response.status = 503;
  response.body = "<html>" + std::string(100, '\x1b');
  CHECK(remote_error(response, reference, Purpose::push).code() == ErrorCode::unavailable);
  CHECK(is_temporary(response));
  CHECK(parse_registry_errors(R"({"errors":[{"message":"a\u001b[31mb"}]})")[0].message == "a[31mb");
}

TEST_CASE("documents that are two things at once are refused", "[registry]") {
  CHECK(check_document("[]", "").error().code() == ErrorCode::corrupt);
  CHECK(check_document(R"({"manifests":[],"layers":[]})", "").error().code() == ErrorCode::corrupt);
  CHECK(check_document(R"({"schemaVersion":1,"fsLayers":[]})", "").error().code() == ErrorCode::unsupported);
  const std::string body = R"({"schemaVersion":2,"mediaType":")" + std::string(image::kOciManifest) + R"("})";
  CHECK(check_document(body, image::kOciManifest).value() == image::kOciManifest);
  CHECK(check_document(body, "text/plain").value() == image::kOciManifest);
  CHECK(check_document(body, image::kOciIndex).error().code() == ErrorCode::corrupt);
  CHECK(check_document(R"({"schemaVersion":2})", std::string(image::kDockerManifest) + "; charset=utf-8").value() ==
        image::kDockerManifest);
}

TEST_CASE("what a search found", "[registry]") {
  const auto found = parse_search(
      R"({"results":[{"name":"a/\u001bb","description":"one\ntwo","star_count":7,"is_official":true},)"
      R"({"name":"c","description":null,"star_count":-1,"is_official":"yes"},{"description":"no name"},3,null]})");
  REQUIRE_OK(found);
  REQUIRE(found->size() == 2);
  CHECK(found->at(0).name == "a/b");
  CHECK(found->at(0).description == "onetwo");
  CHECK(found->at(0).stars == 7);
  CHECK(found->at(0).is_official);
  CHECK(found->at(1).description.empty());
  CHECK(found->at(1).stars == 0);
  CHECK_FALSE(found->at(1).is_official);
  for (const char* bad : {"", "[]", "{}", "<html>", R"({"results":{}})"}) CHECK_FALSE(parse_search(bad));
  CHECK(encode_found(*found).find('\n') == std::string::npos);
}

TEST_CASE("tokens", "[registry]") {
  CHECK(parse_token(R"({"access_token":"t","expires_in":300})")->expires_in_seconds == 300);
  CHECK_FALSE(parse_token(R"({"token":"a\r\nX-Evil: 1"})"));
  CHECK_FALSE(parse_token(R"({"token":7})"));
  CHECK_FALSE(parse_token(""));
}

TEST_CASE("helper lines stay one line", "[registry]") {
  ProgressEvent event;
  event.text = "a\nb\xff";
  CHECK(encode_event(event).find('\n') == std::string::npos);
  CHECK(encode_error(Error(ErrorCode::not_found, "x\ny")).find('\n') == std::string::npos);
}

TEST_CASE("backoff gives up", "[registry]") {
  Response busy;
  busy.status = 503;
  Backoff backoff;
  int tries = 0;
  while (backoff.next(busy)) ++tries;
  CHECK(tries == 4);
  Response refused;
  refused.failure = TransferFailure::unreachable;
  Backoff quick;
  std::chrono::milliseconds total{0};
  while (auto wait = quick.next(refused)) total += *wait;
  CHECK(total < std::chrono::seconds(1));
  Response wait;
  wait.status = 429;
  wait.headers = {{"retry-after", "99999999999999999999"}};
  CHECK(Backoff().next(wait) <= std::chrono::seconds(30));
  wait.headers = {{"retry-after", "2"}};
  CHECK(Backoff().next(wait) >= std::chrono::seconds(2));
  Response missing;
  missing.status = 404;
  CHECK_FALSE(Backoff().next(missing));
}
