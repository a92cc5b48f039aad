// SPDX-License-Identifier: Apache-2.0
#include "commands/bake_definition.hpp"

#include <algorithm>
#include <map>

#include "catch.hpp"

using namespace dray;
using namespace dray::cli;

namespace {

const std::map<std::string, std::string> kEnvironment = {{"FROM_ENV", "given"}, {"EMPTY", ""}};

BakeOptions options(std::string name, std::string text, std::vector<std::string> targets = {}) {
  BakeOptions options;
  options.files = {{std::move(name), std::move(text)}};
  options.targets = std::move(targets);
  options.environment = [](const std::string& variable) -> std::optional<std::string> {
    const auto found = kEnvironment.find(variable);
    if (found == kEnvironment.end()) return std::nullopt;
    return found->second;
  };
  return options;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

/// "name: arguments", a target a line; or the error.
std::string baked(const BakeOptions& options) {
  const auto plan = plan_bake(options);
  if (!plan) return plan.error().to_string();
  std::string text;
  for (const BakeTarget& target : plan->targets) text += target.name + ": " + joined(target.arguments) + "\n";
  return text;
}

std::string json(std::string text, std::vector<std::string> targets = {}) {
  return baked(options("docker-bake.json", std::move(text), std::move(targets)));
}
std::string compose(std::string text) { return baked(options("compose.yaml", std::move(text))); }

}  // namespace

TEST_CASE("bake: a target's attributes are a build's arguments") {
  CHECK(json(R"({"target": {"default": {}}})") == "default: --file ./Dockerfile .\n");
  CHECK(
      json(
          R"({"target": {"default": {"context": "a", "dockerfile": "D", "tags": ["x", "y"], "args": {"K": "V", "N": null},
                 "labels": {"l": "1"}, "platforms": ["linux/amd64", "linux/arm64"], "target": "t", "no-cache": true,
                 "output": ["type=local,dest=out"], "cache-from": [{"type": "registry", "ref": "r"}],
                 "secret": [{"id": "s", "src": "f,g"}], "ssh": [{"id": "k", "paths": ["p", "q"]}], "pull": false,
                 "extra-hosts": {"h": "1.2.3.4"}, "contexts": {"c": "../c"}, "shm-size": "64m", "network": "host",
                 "ulimits": ["nofile=1"], "entitlements": ["network.host"], "annotations": ["a=b"],
                 "attest": ["type=sbom"], "no-cache-filter": ["t"], "description": "what it is"}}})") ==
      "default: --tag x --tag y --build-arg K=V --label l=1 --platform linux/amd64,linux/arm64 --target t --no-cache "
      "--output type=local,dest=out --cache-from type=registry,ref=r --secret id=s,\"src=f,g\" --ssh k=p,q "
      "--add-host h=1.2.3.4 --build-context c=../c --shm-size 64m --network host --ulimit nofile=1 --allow "
      "network.host --annotation a=b --attest type=sbom --no-cache-filter t --file a/D a\n");
  CHECK(json(R"({"target": {"default": {"tag": ["x"]}}})").find("unknown attribute \"tag\"") != std::string::npos);
  CHECK(json(R"({"target": {"default": {"tags": "x"}}})").find("must be a list") != std::string::npos);
  CHECK(json("variable \"X\" {}").find("HCL") != std::string::npos);
  CHECK(json("[]") != "");
}

TEST_CASE("bake: groups, inheritance, several files") {
  const std::string file = R"({"group": {"default": {"targets": ["b", "more"]}, "more": {"targets": ["c", "b"]}},
    "target": {"a": {"context": "x", "tags": ["t:a"], "args": {"K": "1", "L": "1"}},
               "b": {"inherits": ["a"], "args": {"K": "2"}}, "c": {"inherits": ["a"], "tags": ["t:c"]}}})";
  CHECK(json(file) ==
        "b: --tag t:a --build-arg K=2 --build-arg L=1 --file x/Dockerfile x\n"
        "c: --tag t:c --build-arg K=1 --build-arg L=1 --file x/Dockerfile x\n");
  CHECK(json(file, {"c"}) == "c: --tag t:c --build-arg K=1 --build-arg L=1 --file x/Dockerfile x\n");
  CHECK(json(file, {"d"}) == "there is no target or group \"d\"");
  CHECK(
      json(R"({"target": {"a": {"inherits": ["b"]}, "b": {"inherits": ["a"]}}})", {"a"}).find("inherits from itself") !=
      std::string::npos);
  CHECK(json(R"({"group": {"g": {"targets": ["g"]}}})", {"g"}) == "group \"g\" contains itself");
  BakeOptions two = options("docker-bake.json", file, {"c"});
  two.files.push_back({"docker-bake.override.json", R"({"target": {"c": {"tags": ["over"], "args": {"L": "9"}}}})"});
  CHECK(baked(two) == "c: --tag over --build-arg K=1 --build-arg L=9 --file x/Dockerfile x\n");
}

TEST_CASE("bake: variables and matrices") {
  CHECK(json(R"({"variable": {"TAG": {"default": "v${MINOR}"}, "MINOR": {"default": 2}, "FROM_ENV": {"default": "not"}},
                 "target": {"default": {"tags": ["x:${TAG}", "y:${FROM_ENV}", "$${z}"]}}})") ==
        "default: --tag x:v2 --tag y:given --tag ${z} --file ./Dockerfile .\n");
  CHECK(json(R"({"target": {"default": {"tags": ["x:${NO}"]}}})").find("there is no variable \"NO\"") !=
        std::string::npos);
  CHECK(json(R"({"target": {"default": {"tags": ["x:${upper(\"a\")}"]}}})") == "default: --tag x:A --file ./Dockerfile .\n");
  CHECK(json(R"({"variable": {"A": {"default": "${B}"}, "B": {"default": "${A}"}}})") != "");
  CHECK(json(R"({"target": {"app": {"name": "app-${v}-${os.short}", "matrix": {"v": ["1", "2"], "os": [{"short": "d"}]},
                 "args": {"V": "${v}"}}}})",
             {"app"}) ==
        "app-1-d: --build-arg V=1 --file ./Dockerfile .\n"
        "app-2-d: --build-arg V=2 --file ./Dockerfile .\n");
  CHECK(json(R"({"target": {"a": {"name": "x", "matrix": {"v": ["1", "2"]}}}})", {"a"}).find("twice") !=
        std::string::npos);
}

TEST_CASE("bake: --set, --push, --print") {
  BakeOptions with = options("docker-bake.json", R"({"target": {"app": {"tags": ["x"]}, "web": {"tags": ["y"]}}})");
  with.sets = {"app.tags=z", "app.tags=w", "w*.args.K=1", "*.platform=linux/arm64", "web.tags+=v", "app.target=t"};
  CHECK(baked(with) ==
        "app: --tag z --tag w --platform linux/arm64 --target t --file ./Dockerfile .\n"
        "web: --tag y --tag v --build-arg K=1 --platform linux/arm64 --file ./Dockerfile .\n");
  with.sets = {"app.nothing=1"};
  CHECK(baked(with).find("unknown attribute \"nothing\"") != std::string::npos);
  with.sets = {"app"};
  CHECK(baked(with).find("TARGET.KEY=VALUE") != std::string::npos);
  with.sets.clear();
  with.targets = {"app"};
  with.push = true;
  CHECK(baked(with) == "app: --tag x --output type=registry --file ./Dockerfile .\n");
  with.push = false;
  CHECK(plan_bake(with)->printed ==
        R"({
  "group": {
    "default": {
      "targets": [
        "app"
      ]
    }
  },
  "target": {
    "app": {
      "tags": [
        "x"
      ],
      "context": ".",
      "dockerfile": "Dockerfile"
    }
  }
}
)");
}

TEST_CASE("bake: a target as another's context comes before it") {
  const auto plan = plan_bake(options("docker-bake.json", R"({"target": {"app": {"contexts": {"base": "target:low"}},
                                      "low": {"context": "low"}}})",
                                      {"app"}));
  REQUIRE_OK(plan);
  REQUIRE(plan->targets.size() == 2);
  CHECK(plan->targets[0].name == "low");
  CHECK(plan->targets[1].needs == std::vector<std::pair<std::string, std::string>>{{"base", "low"}});
  CHECK(json(R"({"target": {"a": {"contexts": {"x": "target:a"}}}})", {"a"}) == "target \"a\" needs itself");
  CHECK(json(R"({"target": {"a": {"contexts": {"x": "target:b"}}}})", {"a"}).find("no target \"b\"") !=
        std::string::npos);
}

TEST_CASE("bake: compose files") {
  CHECK(compose("services:\n  web:\n    build: ./web\n    image: me/web:1\n  db:\n    image: postgres\n") ==
        "web: --tag me/web:1 --file ./web/Dockerfile ./web\n");
  CHECK(compose(R"(
x-common: &common
  args: {A: 1.10, B: "${FROM_ENV}", C: "${NO:-fall${NO-back}}"}
services:
  web:
    build:
      <<: *common
      context: .
      dockerfile_inline: FROM x
      target: t
      secrets: [key, {source: key, target: other}]
      additional_contexts: [base=service:low]
      extra_hosts: ["h:1.2.3.4"]
      x-bake: {tags: [a, b], platforms: linux/arm64}
  low:
    build: {context: low, args: [FROM_ENV, K=V], labels: ["l=$$x"], no_cache: true, ulimits: {nofile: 5}}
secrets:
  key: {file: ./key}
)") == "low: --build-arg FROM_ENV=given --build-arg K=V --label l=$x --no-cache --ulimit nofile=5 --file "
       "low/Dockerfile low\n"
       "web: --target t --secret id=key,src=./key --secret id=other,src=./key --add-host h=1.2.3.4 --build-arg A=1.10 "
       "--build-arg B=given --build-arg C=fallback --tag a --tag b --platform linux/arm64 .\n");
  CHECK(compose("services: {a: {build: {context: '${NO:?give it}'}}}")
            .find("required variable NO is missing a value: "
                  "give it") != std::string::npos);
  CHECK(compose("a: b\n").find("no \"services\"") != std::string::npos);
  CHECK(compose("a: [b\n") != "");
  CHECK(compose("services: {a: {build: {contex: x}}}").find("unknown build attribute") != std::string::npos);
}

TEST_CASE("YAML that would grow without end is refused") {
  std::string bomb = "a0: &a0 [x, x]\n";
  for (int i = 1; i < 60; ++i) {
    const std::string last = "*a" + std::to_string(i - 1);
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + last + ", " + last + "]\n";
  }
  const auto parsed = yaml_to_json(bomb);
  REQUIRE_FALSE(parsed.has_value());
  CHECK(parsed.error().message() == "more than 100,000 values");
  CHECK_FALSE(yaml_to_json(std::string(100'000, '[')).has_value());
  CHECK_FALSE(yaml_to_json("a: *b").has_value());
  CHECK(*yaml_to_json("a: {b: null, c: [true, 1, '2'], d: }") == R"({"a":{"b":null,"c":[true,"1","2"],"d":null}})");
}
