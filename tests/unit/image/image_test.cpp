// SPDX-License-Identifier: Apache-2.0
#include <dray/image/image.hpp>

#include "catch.hpp"

using namespace dray;
using namespace dray::image;

namespace {
std::string digest(char c) { return "sha256:" + std::string(64, c); }
std::string manifest_text(const std::string& layers) {
  return R"({"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":")" +
         digest('a') + R"(","size":3},"layers":)" + layers + "}";
}
}  // namespace

TEST_CASE("a manifest parses and keeps its fields", "[image]") {
  auto manifest =
      parse_manifest(manifest_text(R"([{"mediaType":"x","digest":")" + digest('b') + R"(","size":9,"unknown":[1]}])"));
  REQUIRE_OK(manifest);
  CHECK(manifest->media_type == kOciManifest);
  REQUIRE(manifest->layers.size() == 1);
  CHECK(manifest->layers[0].size == 9);
  auto again = parse_manifest(serialize(*manifest));
  REQUIRE_OK(again);
  CHECK(serialize(*again) == serialize(*manifest));
}

TEST_CASE("hostile documents are refused with the field's name", "[image]") {
  for (std::string bad :
       {std::string(""), std::string("[]"), std::string("{"), std::string("{}"), std::string(R"({"schemaVersion":1})"),
        manifest_text("{}"), manifest_text("[1]"),
        manifest_text(R"([{"mediaType":"x","digest":"sha256:../../etc/passwd","size":1}])"),
        manifest_text(R"([{"mediaType":"x","digest":")" + digest('b') + R"(","size":-1}])"),
        manifest_text(R"([{"mediaType":"x","digest":")" + digest('b') + R"(","size":18446744073709551615}])"),
        manifest_text(R"([{"mediaType":"x","digest":")" + digest('b') + R"(","size":1.5}])"), std::string(200000, '['),
        std::string(R"({"manifests":[]})")}) {
    CAPTURE(bad.substr(0, 200));
    auto result = parse_manifest(bad);
    REQUIRE_FALSE(result.has_value());
    CHECK(result.error().message().starts_with("image manifest"));
  }
  CHECK_FALSE(parse_config("{}").has_value());
  CHECK_FALSE(parse_config(R"({"rootfs":{"diff_ids":["x"]}})").has_value());
  CHECK_FALSE(parse_config(R"({"rootfs":{},"config":{"Env":"A"},"history":{}})").has_value());
  CHECK_FALSE(parse_index(manifest_text("[]")).has_value());
}

TEST_CASE("a config round-trips", "[image]") {
  ImageConfig config;
  config.platform = {"linux", "arm64", "v8", ""};
  config.config.env = {"A=b", "PATH=/bin"};
  config.config.cmd = {"sh"};
  config.config.exposed_ports = {"53/udp", "80/tcp"};
  config.config.labels = {{"k", "v"}};
  config.config.healthcheck = Healthcheck{{"CMD", "true"}, 1, 2, 3, 4, 5};
  config.diff_ids = {DiffId{*Digest::parse(digest('c'))}};
  config.history = {{"2020-01-01T00:00:00Z", "RUN x", "", "c", false}, {"", "ENV", "", "", true}};
  auto back = parse_config(serialize(config));
  REQUIRE_OK(back);
  CHECK(serialize(*back) == serialize(config));
  CHECK(back->config.exposed_ports == config.config.exposed_ports);
  CHECK(back->history[1].empty_layer);
}

TEST_CASE("the platform is selected from an index", "[image]") {
  Index index;
  for (const char* text : {"linux/arm64", "linux/amd64", "linux/arm/v7"}) {
    Descriptor entry;
    entry.platform = *Platform::parse(text);
    entry.digest = Digest::of(text);
    index.manifests.push_back(entry);
  }
  CHECK(select_platform(index, *Platform::parse("linux/x86_64"))->digest == Digest::of("linux/amd64"));
  CHECK(select_platform(index, *Platform::parse("linux/arm64/v8"))->digest == Digest::of("linux/arm64"));
  auto missing = select_platform(index, *Platform::parse("linux/s390x"));
  REQUIRE_FALSE(missing.has_value());
  CHECK(missing.error().message().find("linux/arm/v7") != std::string::npos);
  CHECK_FALSE(Platform::parse("linux//x").has_value());
  CHECK_FALSE(Platform::parse("linuxamd64").has_value());
  CHECK_FALSE(Platform::parse("l.inux/amd64").has_value());
  CHECK_FALSE(Platform::parse("").has_value());
  CHECK(Platform::parse("RISCV64")->to_string() == "linux/riscv64");
  CHECK(Platform::parse("MacOS/AArch64")->to_string() == "darwin/arm64");
  CHECK(Platform::parse("windows")->os == "windows");
  CHECK_FALSE(Platform::parse("a/b/c/d").has_value());
}
