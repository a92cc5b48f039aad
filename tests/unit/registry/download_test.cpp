// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <unistd.h>

#include <dray/registry/client.hpp>

#include "catch.hpp"
#include "fake_server.hpp"

using namespace dray;
using namespace dray::registry;

namespace {

struct Bench {
  TempDir directory = *TempDir::create("/tmp", "dray-download-test-");
  std::string path = directory.path() + "/file";
  SilentProgress progress;
  CancelToken cancel;

  Result<Download> fetch(DownloadRequest request) {
    ::unlink(path.c_str());
    const FileDescriptor file = TRY(open_file(path, O_WRONLY | O_CREAT | O_EXCL, 0600));
    request.file = file;
    return download(request, progress, cancel);
  }
  Result<Download> fetch(const std::string& url) {
    DownloadRequest request;
    request.url = url;
    return fetch(request);
  }
  std::string content() { return *read_file(path); }
};

}  // namespace

TEST_CASE("download: a file, its digest and validators; 304 for a copy that is here") {
  Bench bench;
  FakeServer server([](const std::string& request) {
    if (request.find("If-None-Match: \"v1\"") != std::string::npos) return FakeServer::answer("304 Not Modified", "");
    return FakeServer::answer("200 OK", "hello",
                              "ETag: \"v1\"\r\nLast-Modified: Thu, 01 Jan 1970 00:16:40 GMT\r\n"
                              "Content-Disposition: attachment; filename=../../evil\r\n");
  });
  REQUIRE(server.ready());
  const auto first = bench.fetch(server.base() + "/f");
  REQUIRE_OK(first);
  CHECK(bench.content() == "hello");
  CHECK(first->digest == Digest::of("hello"));
  CHECK(first->etag == "\"v1\"");
  CHECK(first->last_modified == "Thu, 01 Jan 1970 00:16:40 GMT");
  DownloadRequest again;
  again.url = server.base() + "/f";
  again.etag = first->etag;
  const auto second = bench.fetch(again);
  REQUIRE_OK(second);
  CHECK(second->not_modified);
  CHECK(bench.content().empty());
}

TEST_CASE("download: hostile servers") {
  Bench bench;
  std::string other_base;
  FakeServer other([](const std::string&) { return FakeServer::answer("200 OK", "other"); });
  FakeServer server([&](const std::string& request) {
    const std::string path = request.substr(4, request.find_first_of(" ?", 4) - 4);
    const auto to = [](const std::string& where) {
      return FakeServer::answer("302 Found", "", "Location: " + where + "\r\n");
    };
    if (path == "/loop") return to("/loop");
    if (path == "/file") return to("file:///etc/passwd");
    if (path == "/scp") return to("scp://127.0.0.1/etc/passwd");
    if (path == "/elsewhere") return to(other_base + "/x");
    if (path == "/nowhere") return FakeServer::answer("302 Found", "");
    if (path == "/short") return std::string("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort");
    if (path == "/huge") return std::string("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\nx");
    if (path == "/endless") return "HTTP/1.1 200 OK\r\n\r\n" + std::string(1 << 20, 'x');
    if (path == "/304") return FakeServer::answer("304 Not Modified", "");
    if (path == "/none") return FakeServer::answer("404 Not Found", "secret page");
    return std::string("nonsense\r\n\r\n");
  });
  REQUIRE(server.ready());
  other_base = other.base();
  for (const char* path : {"/loop", "/file", "/scp", "/nowhere", "/short", "/304", "/none", "/nonsense"}) {
    INFO(path);
    const auto result = bench.fetch(server.base() + path);
    REQUIRE_FALSE(result);
    CHECK(result.error().message().find("fetching \"http://127.0.0.1:") != std::string::npos);
  }
  CHECK(bench.fetch(server.base() + "/loop").error().message().find("more than 10 redirects") != std::string::npos);
  for (const char* path : {"/huge", "/endless"}) {
    INFO(path);
    DownloadRequest request;
    request.url = server.base() + path;
    request.limit = 1000;
    const auto result = bench.fetch(request);
    REQUIRE_FALSE(result);
    CHECK(result.error().code() == ErrorCode::no_space);
  }
  for (const char* url : {"file:///etc/passwd", "ftp://127.0.0.1/x", "http://", "http://a b/"})
    CHECK_FALSE(bench.fetch(url));

  DownloadRequest request;
  request.url = server.base() + "/elsewhere?key=sentinel";
  request.authorization = "Bearer sentinel";
  REQUIRE_OK(bench.fetch(request));
  CHECK(server.requests().back().find("Authorization: Bearer sentinel") != std::string::npos);
  CHECK(other.requests().back().find("sentinel") == std::string::npos);
  request.url = "http://user:sentinel@" + server.host() + "/none?key=sentinel";
  const auto refused = bench.fetch(request);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().to_string().find("sentinel") == std::string::npos);
}

TEST_CASE("download: a server that falls silent is given up") {
  Bench bench;
  std::atomic<bool> done{false};
  FakeServer server([&](const std::string&) {
    while (!done) ::usleep(20000);
    return std::string();
  });
  DownloadRequest request;
  request.url = server.base() + "/slow";
  request.stall_timeout = std::chrono::seconds(1);
  const auto result = bench.fetch(request);
  done = true;
  REQUIRE_FALSE(result);
  CHECK(result.error().code() == ErrorCode::unavailable);
}
