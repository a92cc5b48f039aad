// SPDX-License-Identifier: Apache-2.0
// The endpoints without HTTP.
#include <catch.hpp>

#include <map>

#include "handlers.hpp"

namespace dray::registry_server {
namespace {

struct Server {
  TempDir dir = *TempDir::create("/tmp", "dray-registry-test-");
  std::unique_ptr<Repositories> repositories = *Repositories::open(dir.path());
  Uploads uploads;
  Handlers handlers{*repositories, uploads, nullptr, nullptr, [](const std::string&) {}};

  Reply ask(const std::string& method, const std::string& path, const std::string& body = "",
            const std::map<std::string, std::string>& headers = {}) {
    Request request;
    request.method = method;
    request.path = path;
    request.target = *parse_target(path);
    request.content_length = body.size();
    request.header = [&](std::string_view name) {
      const auto found = headers.find(std::string(name));
      return found == headers.end() ? "" : found->second;
    };
    const auto exchange = handlers.begin(request);
    for (std::size_t at = 0; at < body.size(); at += 7)
      exchange->take(std::as_bytes(std::span(body).subspan(at, std::min<std::size_t>(7, body.size() - at))));
    return exchange->reply();
  }
};

std::string header(const Reply& reply, const std::string& name) {
  for (const auto& [key, value] : reply.headers)
    if (key == name) return value;
  return "";
}

const std::string& text(const Reply& reply) { return std::get<std::string>(reply.body); }

TEST_CASE("a blob in chunks, out of order, resumed") {
  Server server;
  const std::string location = header(server.ask("POST", "/v2/a/blobs/uploads/"), "Location");
  CHECK(location.starts_with("/v2/a/blobs/uploads/"));
  Reply reply = server.ask("PATCH", location, "0123456789", {{"Content-Range", "0-9"}});
  CHECK(reply.status == 202);
  CHECK(header(reply, "Range") == "0-9");
  reply = server.ask("PATCH", location, "abc", {{"Content-Range", "13-15"}});
  CHECK(reply.status == 416);
  CHECK(header(reply, "Range") == "0-9");
  CHECK(server.ask("PATCH", location, "abc", {{"Content-Range", "0-2"}}).status == 416);
  CHECK(server.ask("PATCH", location, "abc", {{"Content-Range", "10-15"}}).status == 400);
  CHECK(server.ask("PATCH", location, "abc", {{"Content-Range", "x"}}).status == 400);
  reply = server.ask("GET", location);
  CHECK(reply.status == 204);
  CHECK(header(reply, "Range") == "0-9");
  const Digest digest = Digest::of("0123456789abc");
  CHECK(server.ask("PUT", location + "?digest=nonsense").status == 400);
  reply = server.ask("PUT", location + "?digest=" + digest.to_string(), "abc", {{"Content-Range", "10-12"}});
  CHECK(reply.status == 201);
  CHECK(header(reply, "Location") == "/v2/a/blobs/" + digest.to_string());
  CHECK(server.ask("GET", location).status == 404);
  CHECK(server.ask("HEAD", "/v2/a/blobs/" + digest.to_string()).status == 200);
  reply = server.ask("GET", "/v2/a/blobs/" + digest.to_string(), "", {{"Range", "bytes=10-"}});
  CHECK(reply.status == 206);
  CHECK(header(reply, "Content-Range") == "bytes 10-12/13");
  CHECK(server.ask("GET", "/v2/a/blobs/" + digest.to_string(), "", {{"Range", "bytes=13-"}}).status == 416);
  CHECK(server.ask("GET", "/v2/a/blobs/" + digest.to_string(), "", {{"Range", "bytes=1-2"}, {"If-Range", "\"other\""}})
            .status == 200);
  CHECK(
      server.ask("GET", "/v2/a/blobs/" + digest.to_string(), "", {{"If-None-Match", "\"" + digest.to_string() + "\""}})
          .status == 304);
}

TEST_CASE("one POST, a wrong digest, sha512, cancel") {
  Server server;
  CHECK(server.ask("POST", "/v2/a/blobs/uploads/?digest=" + Digest::of("x").to_string(), "x").status == 201);
  CHECK(server.ask("POST", "/v2/a/blobs/uploads/?digest=" + Digest::of("y").to_string(), "x").status == 400);
  CHECK(server.ask("POST", "/v2/a/blobs/uploads/?digest=md5:abc", "x").status == 400);
  CHECK(server.ask("POST", "/v2/a/blobs/uploads/?digest-algorithm=md5").status == 400);
  Hasher hasher("sha512");
  hasher.update("x");
  const std::string digest = hasher.finish().to_string();
  for (const char* start : {"/v2/a/blobs/uploads/?digest-algorithm=sha512", "/v2/a/blobs/uploads/"}) {
    const std::string location = header(server.ask("POST", start), "Location");
    CHECK(server.ask("PUT", location + "?digest=" + digest, "x").status == 201);
  }
  CHECK(server.ask("GET", "/v2/a/blobs/" + digest).status == 200);
  const std::string location = header(server.ask("POST", "/v2/a/blobs/uploads/"), "Location");
  CHECK(server.ask("DELETE", location).status == 204);
  CHECK(server.ask("PATCH", location, "x").status == 404);
  CHECK(server.uploads.count() == 0);
}

TEST_CASE("on loopback without users, only a name of loopback is served") {
  Server server;
  CHECK(server.ask("GET", "/v2/", "", {{"Host", "evil.example:5000"}}).status == 200);
  server.handlers.only_host = "registry.test";
  for (const char* host :
       {"localhost", "LocalHost:5000", "127.0.0.1:5000", "127.8.9.1", "[::1]", "[::1]:5000", "registry.test:5000"})
    CHECK(server.ask("GET", "/v2/", "", {{"Host", host}}).status == 200);
  for (const char* host : {"", ":5000", "evil.example:5000", "localhost.evil.example", "127.0.0.1.evil.example",
                           "10.0.0.1", "[::2]:5000", "[::1", "[evil.example]", "0.0.0.0"})
    CHECK(server.ask("GET", "/v2/", "", {{"Host", host}}).status == 403);
  server.handlers.only_host = "";
  CHECK(server.ask("GET", "/v2/", "", {{"Host", ""}}).status == 403);
}

TEST_CASE("a POST that breaks off leaves no upload") {
  Server server;
  Request request;
  request.method = "POST";
  request.target = *parse_target("/v2/a/blobs/uploads/?digest=" + Digest::of("xy").to_string());
  request.header = [](std::string_view) { return ""; };
  server.handlers.begin(request)->take(std::as_bytes(std::span(std::string_view("x"))));
  CHECK(server.uploads.count() == 0);
}

TEST_CASE("mounts") {
  Server server;
  const std::string digest = Digest::of("x").to_string();
  server.ask("POST", "/v2/a/blobs/uploads/?digest=" + digest, "x");
  CHECK(server.ask("POST", "/v2/b/blobs/uploads/?mount=" + digest + "&from=a").status == 201);
  CHECK(server.ask("POST", "/v2/c/blobs/uploads/?mount=" + digest).status == 201);
  CHECK(server.ask("POST", "/v2/d/blobs/uploads/?mount=" + digest + "&from=nosuch").status == 202);
  CHECK(server.ask("POST", "/v2/d/blobs/uploads/?mount=" + digest + "&from=../a").status == 400);
  CHECK(server.ask("POST", "/v2/d/blobs/uploads/?mount=x&from=a").status == 400);
}

TEST_CASE("manifests, tags, referrers") {
  Server server;
  const std::string config = Digest::of("{}").to_string();
  const auto manifest = [&](const std::string& rest) {
    return R"({"schemaVersion":2,"config":{"mediaType":"a/b","digest":")" + config + R"(","size":2},"layers":[])" +
           rest + "}";
  };
  const std::map<std::string, std::string> type{
      {"Content-Type", "application/vnd.oci.image.manifest.v1+json; charset=x"}};
  Reply reply = server.ask("PUT", "/v2/a/manifests/t", manifest(""), type);
  CHECK(reply.status == 400);
  CHECK(text(reply).find("MANIFEST_BLOB_UNKNOWN") != std::string::npos);
  server.ask("POST", "/v2/a/blobs/uploads/?digest=" + config, "{}");
  reply = server.ask("PUT", "/v2/a/manifests/t", manifest(""), type);
  CHECK(reply.status == 201);
  const std::string subject = header(reply, "Docker-Content-Digest");
  CHECK(subject == Digest::of(manifest("")).to_string());
  CHECK(server.ask("PUT", "/v2/a/manifests/" + config, manifest(""), type).status == 400);
  CHECK(server.ask("PUT", "/v2/a/manifests/..", manifest(""), type).status == 400);
  reply = server.ask("GET", "/v2/a/manifests/t");
  CHECK(text(reply) == manifest(""));
  CHECK(header(reply, "Content-Type") == "application/vnd.oci.image.manifest.v1+json");

  for (int i = 0; i < 40; ++i) {
    const std::string with =
        manifest(R"(,"artifactType":"t/)" + std::to_string(i % 2) + R"(","annotations":{"i":")" + std::to_string(i) +
                 R"("},"subject":{"mediaType":"x/y","size":1,"digest":")" + subject + R"("})");
    reply = server.ask(
        "PUT", "/v2/a/manifests/" + Digest::of(with).to_string() + "?tag=r" + std::to_string(100 + i) + "&tag=last",
        with);
    REQUIRE(reply.status == 201);
    CHECK(header(reply, "OCI-Subject") == subject);
    CHECK(header(reply, "OCI-Tag") == "r" + std::to_string(100 + i));
  }
  const auto count = [](const std::string& body, const std::string& part) {
    std::size_t found = 0;
    for (std::size_t at = body.find(part); at != std::string::npos; at = body.find(part, at + 1)) ++found;
    return found;
  };
  reply = server.ask("GET", "/v2/a/referrers/" + subject);
  CHECK(count(text(reply), "\"digest\"") == 40);
  CHECK(header(reply, "Link").empty());
  reply = server.ask("GET", "/v2/a/referrers/" + subject + "?artifactType=t/1");
  CHECK(count(text(reply), "\"digest\"") == 20);
  CHECK(header(reply, "OCI-Filters-Applied") == "artifactType");
  std::size_t pages = 0, seen = 0;
  for (std::string path = "/v2/a/referrers/" + subject + "?artifactType=t/0&n=7"; !path.empty(); ++pages) {
    reply = server.ask("GET", path);
    seen += count(text(reply), "\"digest\"");
    const std::string link = header(reply, "Link");
    path = link.empty() ? "" : link.substr(1, link.find('>') - 1);
  }
  CHECK(pages == 3);
  CHECK(seen == 20);
  CHECK(text(server.ask("GET", "/v2/nosuch/referrers/" + subject)).find("\"manifests\":[]") != std::string::npos);
  CHECK(server.ask("GET", "/v2/a/referrers/nonsense").status == 400);

  reply = server.ask("GET", "/v2/a/tags/list?n=2");
  CHECK(text(reply) == "{\"name\":\"a\",\"tags\":[\"last\",\"r100\"]}\n");
  CHECK(header(reply, "Link") == "</v2/a/tags/list?n=2&last=r100>; rel=\"next\"");
  CHECK(header(server.ask("GET", "/v2/a/tags/list?n=0"), "Link").empty());
  CHECK(server.ask("GET", "/v2/nosuch/tags/list").status == 404);
  CHECK(server.ask("GET", "/v2/a/tags/list?n=x").status == 400);
  CHECK(text(server.ask("GET", "/v2/_catalog")) == "{\"repositories\":[\"a\"]}\n");

  CHECK(server.ask("DELETE", "/v2/a/manifests/last").status == 202);
  CHECK(server.ask("DELETE", "/v2/a/manifests/last").status == 404);
  CHECK(server.ask("DELETE", "/v2/a/manifests/" + subject).status == 202);
  CHECK(server.ask("GET", "/v2/a/manifests/t").status == 404);
  CHECK(server.ask("DELETE", "/v2/a/blobs/" + config).status == 202);
  CHECK(server.ask("DELETE", "/v2/a/blobs/" + config).status == 404);
}

TEST_CASE("limits, methods, web pages") {
  Server server;
  CHECK(server.ask("PUT", "/v2/a/manifests/t", std::string(kMaxManifest + 1, ' ')).status == 413);
  CHECK(server.ask("GET", "/v2/").status == 200);
  CHECK(server.ask("PUT", "/v2/").status == 405);
  CHECK(header(server.ask("POST", "/v2/a/tags/list"), "Allow") == "GET, HEAD");
  CHECK(server.ask("GET", "/elsewhere").status == 404);
  CHECK(server.ask("GET", "/v2/A/tags/list").status == 400);
  CHECK(server.ask("GET", "/v2/a/blobs/sha256:..%2f..%2fx").status == 400);
  CHECK(server.ask("POST", "/v2/a/blobs/uploads/", "", {{"Origin", "http://page"}}).status == 403);
}

TEST_CASE("nobody comes in without a password where there are users") {
  Server server;
  const auto users = Htpasswd::parse("u:$2y$04$abcdefghijklmnopqrstuuP0bV6aUHwF4kP2n9s3Qe8mXG5WZ1y2C\n");
  REQUIRE(users);
  server.handlers.users = &*users;
  for (const char* path : {"/v2/", "/v2/_catalog", "/v2/a/tags/list", "/elsewhere"}) {
    const Reply reply = server.ask("GET", path);
    CHECK(reply.status == 401);
    CHECK(header(reply, "WWW-Authenticate").starts_with("Basic realm="));
  }
}

}  // namespace
}  // namespace dray::registry_server
