// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"

#include <dray/engine/containers.hpp>

using namespace dray;
using namespace dray::engine;

TEST_CASE("-v takes what Docker takes", "[engine]") {
  auto bind = parse_volume("/srv/x:/data:ro");
  REQUIRE_OK(bind);
  CHECK(bind->kind == VolumeMount::Kind::bind);
  CHECK(bind->source == "/srv/x");
  CHECK(bind->destination == "/data");
  CHECK(bind->read_only);
  CHECK(bind->create_source);
  auto named = parse_volume("db-data:/var/lib/db:nocopy");
  REQUIRE_OK(named);
  CHECK(named->kind == VolumeMount::Kind::volume);
  CHECK(named->no_copy);
  auto anonymous = parse_volume("/var/cache/");
  REQUIRE_OK(anonymous);
  CHECK(anonymous->kind == VolumeMount::Kind::volume);
  CHECK(anonymous->source.empty());
  CHECK(anonymous->destination == "/var/cache");
  auto shared = parse_volume("/a:/b:rshared,ro,z");
  REQUIRE_OK(shared);
  CHECK(shared->options == std::vector<std::string>{"rshared"});
}

TEST_CASE("-v refuses what Docker refuses", "[engine]") {
  for (const char* text : {"", ":", "a:", ":/b", "/a:/b:ro:x", "/a:b", "/a:/", "/a:/..", "../../x y/z:/b:nope",
                           "na/me:/b", "name:/b:rshared", "/a:/b:ro,sideways", "x", "-v:/b"}) {
    INFO(text);
    auto result = parse_volume(text);
    REQUIRE_FALSE(result);
    CHECK(result.error().code() == ErrorCode::invalid_argument);
  }
}

TEST_CASE("--mount keys", "[engine]") {
  auto bind = parse_mount("target=/data,source=/srv,type=bind,readonly,bind-propagation=rslave");
  REQUIRE_OK(bind);
  CHECK(bind->kind == VolumeMount::Kind::bind);
  CHECK(bind->read_only);
  CHECK_FALSE(bind->create_source);
  CHECK(bind->options == std::vector<std::string>{"rslave"});
  auto tmpfs = parse_mount("type=tmpfs,dst=/run,tmpfs-size=64m,tmpfs-mode=1770");
  REQUIRE_OK(tmpfs);
  CHECK(tmpfs->options == std::vector<std::string>{"size=64m", "mode=1770"});
  auto quoted = parse_mount("type=bind,\"src=/a,b\",dst=/c");
  REQUIRE_OK(quoted);
  CHECK(quoted->source == "/a,b");
  for (const char* text :
       {"type=bind,dst=/a", "type=tmpfs,src=/x,dst=/a", "type=volume", "type=npipe,dst=/a", "dst=/a,bogus=1",
        "type=volume,src=../x,dst=/a", "dst=/a,ro=maybe", "type=tmpfs,dst=/a,bind-propagation=rslave", "dst"}) {
    INFO(text);
    CHECK_FALSE(parse_mount(text));
  }
}
