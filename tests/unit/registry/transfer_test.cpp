// SPDX-License-Identifier: Apache-2.0
// The client against a registry on loopback that lies, breaks off, redirects and stalls.
#include "catch.hpp"

#include <fcntl.h>

#include <chrono>

#include <dray/registry/client.hpp>
#include <dray/store/store.hpp>

#include "fake_server.hpp"
#include "fetch.hpp"
#include "growing_file.hpp"
#include "session.hpp"

using namespace dray;
using namespace dray::registry;

namespace {

std::string line_of(const std::string& request) { return request.substr(0, request.find("\r\n")); }
bool asks(const std::string& request, const std::string& path) {
  return line_of(request).find(" " + path + " ") != std::string::npos;
}

struct World {
  TempDir directory = TempDir::create("/tmp", "dray-registry-test-").value();
  std::shared_ptr<store::Store> store = store::Store::open(directory.path() + "/root").value();
  SilentProgress progress;
  CancelToken cancel;
  Stop stop{cancel};
  Options options;
  HttpClient client = HttpClient::create().value();

  World() { options.docker_config_directory = directory.path(); }
  void log_in(const FakeServer& server) {
    REQUIRE_OK(write_file_atomically(directory.path() + "/config.json",
                                     "{\"auths\":{\"" + server.host() + "\":{\"auth\":\"dTpw\"}}}", 0600,
                                     Durability::none));
  }
  Result<std::unique_ptr<Session>> connect(const FakeServer& server, const std::string& rest = "/x:y") {
    return Session::connect(client, *Reference::parse(server.host() + rest), Purpose::pull_manifest, options, progress,
                            stop);
  }
};

image::Descriptor describe(const std::string& bytes) {
  image::Descriptor descriptor;
  descriptor.media_type = std::string(image::kOciConfig);
  descriptor.digest = Digest::of(bytes);
  descriptor.size = bytes.size();
  return descriptor;
}

}  // namespace

TEST_CASE("blob: connection lost again and again is resumed by Range", "[registry]") {
  const std::string blob(100000, 'b');
  FakeServer server([&](const std::string& request) -> std::string {
    if (request.find("/blobs/") == std::string::npos) return FakeServer::answer("200 OK", "{}");
    const auto range = request.find("Range: bytes=");
    const std::size_t offset = range == std::string::npos ? 0 : std::stoul(request.substr(range + 13));
    const std::string head = offset == 0 ? "200 OK" : "206 Partial Content";
    return "HTTP/1.1 " + head + "\r\nContent-Length: " + std::to_string(blob.size() - offset) +
           "\r\nContent-Range: bytes " + std::to_string(offset) + "-" + std::to_string(blob.size() - 1) + "/" +
           std::to_string(blob.size()) + "\r\n\r\n" + blob.substr(offset, 40000);
  });
  World world;
  auto session = world.connect(server);
  REQUIRE_OK(session);
  auto bytes = fetch_small_blob(**session, world.client, *world.store, describe(blob));
  REQUIRE_OK(bytes);
  CHECK(*bytes == blob);
  CHECK(server.requests().size() == 4);
}

TEST_CASE("blob: a server that ignores or misstates Range", "[registry]") {
  const std::string blob(60000, 'c');
  std::atomic<int> tries{0};
  const bool lies = GENERATE(false, true);
  FakeServer server([&](const std::string& request) -> std::string {
    if (request.find("/blobs/") == std::string::npos) return FakeServer::answer("200 OK", "{}");
    if (tries++ == 0) return "HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + blob.substr(0, 30000);
    if (lies && request.find("Range:") != std::string::npos)
      return FakeServer::answer("206 Partial Content", blob, "Content-Range: bytes 0-59999/60000\r\n");
    return FakeServer::answer("200 OK", blob);
  });
  World world;
  auto session = world.connect(server);
  REQUIRE_OK(session);
  REQUIRE_OK(fetch_small_blob(**session, world.client, *world.store, describe(blob)));
}

TEST_CASE("blob: wrong bytes, too short, too long", "[registry]") {
  const std::string blob(5000, 'd');
  const std::string sent = GENERATE(std::string(5000, 'e'), std::string(4000, 'd'), std::string(6000, 'd'));
  FakeServer server([&](const std::string& request) -> std::string {
    if (request.find("/blobs/") == std::string::npos) return FakeServer::answer("200 OK", "{}");
    if (request.find("Range:") != std::string::npos) return FakeServer::answer("416 Range Not Satisfiable", "");
    return FakeServer::answer("200 OK", sent);
  });
  World world;
  auto session = world.connect(server);
  REQUIRE_OK(session);
  auto bytes = fetch_small_blob(**session, world.client, *world.store, describe(blob));
  REQUIRE_FALSE(bytes);
  INFO(bytes.error().message());
  CHECK(bytes.error().code() == ErrorCode::corrupt);
  CHECK_FALSE(world.store->content().contains(Digest::of(blob)));
  CHECK(world.store->content().list()->empty());
}

TEST_CASE("manifest: endless body and wrong digest", "[registry]") {
  const bool endless = GENERATE(false, true);
  FakeServer server([&](const std::string& request) -> std::string {
    if (asks(request, "/v2/")) return FakeServer::answer("200 OK", "{}");
    if (!endless)
      return FakeServer::answer("200 OK", "{}", "Docker-Content-Digest: " + Digest::of("other").to_string() + "\r\n");
    return "HTTP/1.1 200 OK\r\n\r\n" + std::string(image::kMaxManifestSize + 10000, ' ');
  });
  World world;
  auto session = world.connect(server);
  REQUIRE_OK(session);
  auto document = fetch_document(**session, world.client, "y", nullptr);
  REQUIRE_FALSE(document);
  CHECK(document.error().code() == ErrorCode::corrupt);
}

TEST_CASE("redirects: no credentials for another origin, loops end", "[registry]") {
  FakeServer other([](const std::string&) { return FakeServer::answer("200 OK", "{\"schemaVersion\":2}"); });
  FakeServer server([&](const std::string& request) -> std::string {
    if (asks(request, "/v2/")) return FakeServer::answer("200 OK", "{}");
    if (request.find("loop") != std::string::npos) return FakeServer::answer("307 X", "", "Location: ?again\r\n");
    if (request.find("file") != std::string::npos)
      return FakeServer::answer("302 X", "", "Location: file:///etc/passwd\r\n");
    if (request.find("Authorization: Basic dTpw") == std::string::npos)
      return FakeServer::answer("401 X", "", "WWW-Authenticate: Basic realm=\"x\"\r\n");
    return FakeServer::answer("307 X", "", "Location: " + other.base() + "/stolen\r\n");
  });
  World world;
  world.log_in(server);
  auto session = world.connect(server);
  REQUIRE_OK(session);
  REQUIRE_OK(fetch_document(**session, world.client, "y", nullptr));
  REQUIRE(other.requests().size() == 1);
  CHECK(other.requests()[0].find("Authorization") == std::string::npos);
  CHECK(fetch_document(**session, world.client, "loop", nullptr).error().message().find("redirects") !=
        std::string::npos);
  CHECK_FALSE(fetch_document(**session, world.client, "file", nullptr));
}

TEST_CASE("bearer: token fetched once, renewed after 401, scope is ours", "[registry]") {
  std::atomic<int> tokens{0};
  FakeServer server([&](const std::string& request) -> std::string {
    const std::string challenge =
        "WWW-Authenticate: Bearer realm=\"http://" +
        request.substr(request.find("Host: ") + 6,
                       request.find("\r\n", request.find("Host: ")) - request.find("Host: ") - 6) +
        "/token\",service=\"s&t\",scope=\"repository:secret:pull\"\r\n";
    if (line_of(request).starts_with("GET /token"))
      return FakeServer::answer("200 OK", "{\"token\":\"t" + std::to_string(++tokens) + "\"}");
    if (asks(request, "/v2/")) return FakeServer::answer("401 X", "", challenge);
    const std::string wanted = line_of(request).find("/late") != std::string::npos ? "Bearer t2" : "Bearer t1";
    if (request.find("Authorization: " + wanted) == std::string::npos)
      return FakeServer::answer("401 X", "", challenge);
    return FakeServer::answer("200 OK", "{\"schemaVersion\":2}");
  });
  World world;
  auto session = world.connect(server);
  REQUIRE_OK(session);
  REQUIRE_OK(fetch_document(**session, world.client, "y", nullptr));
  REQUIRE_OK(fetch_document(**session, world.client, "y", nullptr));
  CHECK(tokens == 1);
  REQUIRE_OK(fetch_document(**session, world.client, "late", nullptr));
  CHECK(tokens == 2);
  for (const std::string& request : server.requests())
    if (line_of(request).starts_with("GET /token")) {
      CHECK(request.find("scope=repository%3Ax%3Apull") != std::string::npos);
      CHECK(request.find("service=s%26t") != std::string::npos);
      CHECK(request.find("secret") == std::string::npos);
    }
}

TEST_CASE("401 without credentials, 429 and 503 that pass", "[registry]") {
  std::atomic<int> tries{0};
  FakeServer server([&](const std::string& request) -> std::string {
    if (asks(request, "/v2/")) return FakeServer::answer("200 OK", "{}");
    if (line_of(request).find("/private") != std::string::npos)
      return FakeServer::answer("401 X", "", "WWW-Authenticate: Basic realm=\"x\"\r\n");
    if (tries++ == 0) return FakeServer::answer("503 X", "");
    return FakeServer::answer("200 OK", "{\"schemaVersion\":2}");
  });
  World world;
  auto session = world.connect(server);
  REQUIRE_OK(session);
  REQUIRE_OK(fetch_document(**session, world.client, "y", nullptr));
  auto refused = fetch_document(**session, world.client, "private", nullptr);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message().find("no basic auth credentials") != std::string::npos);
}

TEST_CASE("a registry that is down is reported within two seconds", "[registry]") {
  World world;
  const auto begin = std::chrono::steady_clock::now();
  auto pulled = pull(*world.store, *Reference::parse("127.0.0.1:1/x"), PullOptions{image::Platform::host()},
                     world.options, world.progress, world.cancel);
  REQUIRE_FALSE(pulled);
  CHECK(pulled.error().code() == ErrorCode::unavailable);
  CHECK(pulled.error().message().starts_with("registry 127.0.0.1:1 is not reachable: "));
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(2));
}

TEST_CASE("cancel ends a stalled transfer within 200 ms", "[registry]") {
  std::atomic<bool> stalled{false}, release{false};
  FakeServer server([&](const std::string& request) -> std::string {
    if (asks(request, "/v2/")) return FakeServer::answer("200 OK", "{}");
    stalled = true;
    for (int i = 0; i < 500 && !release; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return "";
  });
  World world;
  auto session = world.connect(server);
  REQUIRE_OK(session);
  std::chrono::steady_clock::time_point cancelled;
  std::thread canceller([&] {
    while (!stalled) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    cancelled = std::chrono::steady_clock::now();
    world.cancel.cancel();
  });
  auto document = fetch_document(**session, world.client, "y", nullptr);
  const auto end = std::chrono::steady_clock::now();
  canceller.join();
  release = true;
  REQUIRE_FALSE(document);
  CHECK(document.error().code() == ErrorCode::cancelled);
  CHECK(end - cancelled < std::chrono::milliseconds(200));
}

TEST_CASE("growing file: read as it grows, ends only when told, passes errors on", "[registry]") {
  CancelToken cancel;
  Stop stop(cancel);
  const TempDir directory = TempDir::create("/tmp", "dray-growing-test-").value();
  const FileDescriptor file = open_file(directory.path() + "/f", O_RDWR | O_CREAT, 0600).value();
  REQUIRE_OK(write_all(file, std::string(100000, 'p')));
  GrowingFile growing(file, stop);
  std::uint64_t total = 0;
  std::thread reader([&] { total = drain(growing).value_or(0); });
  growing.grow_to(60000);  // what the file holds beyond that is not to be seen
  growing.grow_to(70000);
  growing.finish();
  reader.join();
  CHECK(total == 70000);

  GrowingFile broken(file, stop);
  broken.grow_to(10);
  broken.fail(Error(ErrorCode::corrupt, "wrong digest"));
  CHECK(drain(broken).error().code() == ErrorCode::corrupt);

  GrowingFile endless(file, stop);
  cancel.cancel();
  CHECK(drain(endless).error().code() == ErrorCode::cancelled);
}
