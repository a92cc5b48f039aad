// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"

#include "container_record.hpp"

using namespace dray;
using namespace dray::engine;

TEST_CASE("a record survives its JSON", "[engine]") {
  ContainerRecord record;
  record.id = "abc";
  record.name = "calm_hopper";
  record.image_id = Digest::of("image");
  record.layers = {DiffId{Digest::of("layer")}};
  record.snapshot = "17";
  record.boot = "0-1-2";
  record.entrypoint = {"/bin/sh"};
  record.cmd = {"-c", "echo \xff\n"};  // not UTF-8: must not break the file
  record.env = {"A=1"};
  record.options.entrypoint.emplace();
  record.options.ports = {{"127.0.0.1", 8080, 80, "tcp"}};
  record.options.ulimits = {{"RLIMIT_NOFILE", 1, 18446744073709551615ull}};
  record.options.memory = 1ll << 40;
  record.options.trust_host_ca = true;
  MountPoint point;
  point.mount.kind = VolumeMount::Kind::tmpfs;
  point.mount.destination = "/run";
  point.mount.options = {"size=1m"};
  record.mounts = {point};
  auto read = parse_record(serialize(record));
  REQUIRE_OK(read);
  CHECK(read->id == record.id);
  CHECK(read->image_id == record.image_id);
  CHECK(read->boot == record.boot);
  CHECK(read->layers == record.layers);
  CHECK(read->env == record.env);
  CHECK(read->options.entrypoint.has_value());
  REQUIRE(read->options.ports.size() == 1);
  CHECK(read->options.ports[0].host_port == 8080);
  CHECK(read->options.ulimits[0].hard == 18446744073709551615ull);
  CHECK(read->options.memory == 1ll << 40);
  CHECK(read->options.trust_host_ca);
  REQUIRE(read->mounts.size() == 1);
  CHECK(read->mounts[0].mount.kind == VolumeMount::Kind::tmpfs);
  CHECK(read->args().size() == 3);
}

TEST_CASE("state files that a power failure tore", "[engine]") {
  for (const char* text : {"", "{", "[]", "null", "{\"pid\":\"7\"}", "{\"pid\":-4}", "\xff\xfe"}) {
    INFO(text);
    CHECK_FALSE(parse_record(text));
    CHECK_FALSE(parse_running(text));
    CHECK_FALSE(parse_exit(text));
    CHECK_FALSE(parse_log_line(text));
  }
  auto exit = parse_exit(R"({"exit_code":137,"oom_killed":true,"finished_at":"2026-01-01T00:00:00Z"})");
  REQUIRE_OK(exit);
  CHECK(exit->exit_code == 137);
  CHECK(exit->oom_killed);
  auto again = parse_exit(serialize(*exit));
  REQUIRE_OK(again);
  CHECK(again->oom_killed);
  CHECK(again->finished_at == exit->finished_at);
  auto line = parse_log_line(R"({"log":"hello\n","stream":"stderr","time":"2026-01-01T00:00:00.5Z"})");
  REQUIRE(line);
  CHECK(line->text == "hello\n");
  CHECK(line->stream == "stderr");
}

TEST_CASE("endpoints and running state round-trip", "[engine]") {
  network::Endpoint endpoint;
  endpoint.network = "bridge";
  endpoint.ip_address = "172.29.0.2";
  endpoint.ports = {{"", 5000, 5000, "udp"}};
  auto read = parse_endpoint(serialize(endpoint));
  REQUIRE_OK(read);
  CHECK(read->ip_address == "172.29.0.2");
  REQUIRE(read->ports.size() == 1);
  CHECK(read->ports[0].protocol == "udp");
  auto running = parse_running(serialize(RunningState{42, 7, "t"}));
  REQUIRE_OK(running);
  CHECK(running->pid == 42);
  CHECK(running->start_ticks == 7);
}
