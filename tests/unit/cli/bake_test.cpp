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
std::string hcl(std::string text, std::vector<std::string> targets = {}) {
  return baked(options("docker-bake.hcl", std::move(text), std::move(targets)));
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
  CHECK(json(R"({"target": {"a": {"inherits": ["b"]}, "b": {"inherits": ["a"]}}})", {"a"}) ==
        "a target inherits from itself: a > b > a");
  CHECK(json(R"({"group": {"g": {"targets": ["g"]}}})", {"g"}) == "a group contains itself: g > g");
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
  CHECK(json(R"({"target": {"default": {"tags": ["x:${upper(\"a\")}"]}}})") ==
        "default: --tag x:A --file ./Dockerfile .\n");
  CHECK(json(R"({"variable": {"A": {"default": "${B}"}, "B": {"default": "${A}"}}})") != "");
  CHECK(json(R"({"target": {"app": {"name": "app-${v}-${os.short}", "matrix": {"v": ["1", "2"], "os": [{"short": "d"}]},
                 "args": {"V": "${v}"}}}})",
             {"app"}) ==
        "app-1-d: --build-arg V=1 --file ./Dockerfile .\n"
        "app-2-d: --build-arg V=2 --file ./Dockerfile .\n");
  CHECK(json(R"({"target": {"a": {"name": "x", "matrix": {"v": ["1", "2"]}}}})", {"a"}).find("twice") !=
        std::string::npos);
}

TEST_CASE("bake: HCL") {
  CHECK(hcl(R"(
# comment
variable "TAG" { default = "v${MINOR}" }
variable "FROM_ENV" {
  default = "not"
}
MINOR = 1 + 1
function "tags" {
  params = [name]
  variadic_params = more
  result = [for tag in concat([TAG], more) : "${name}:${tag}"]
}
group "default" {
  targets = ["web", "db"]
}
target "base" {
  args = { VERSION = 1, GONE = null }
}
target "web" {
  inherits = ["base"]
  tags = tags("web", FROM_ENV)
  dockerfile-inline = <<-EOT
    FROM scratch
    # ${upper("x")} $${Y}
    EOT
}
target "db" {
  args = { WEB = target.base.args.VERSION }
  context = BAKE_CMD_CONTEXT
})") == "web: --build-arg VERSION=1 --tag web:v2 --tag web:given .\n"
        "db: --build-arg WEB=1 --file ./Dockerfile .\n");
  CHECK(hcl(R"(target "app" {
  name = "app-${v}-${replace(os.short, ".", "-")}"
  matrix = {
    v = [1, 2]
    os = [{short = "d.x", platforms = ["linux/arm64"]}]
  }
  platforms = os.platforms
}
target "app-2-d-x" {
  tags = ["over"]
})",
            {"app"}) ==
        "app-1-d-x: --platform linux/arm64 --file ./Dockerfile .\n"
        "app-2-d-x: --platform linux/arm64 --tag over --file ./Dockerfile .\n");
  BakeOptions two = options("docker-bake.hcl", "variable \"A\" { default = \"a\" }\ntarget \"default\" { tags = [A] }");
  two.files.push_back({"docker-bake.override.hcl", "variable \"A\" { default = \"b\" }"});
  two.files.push_back({"more.json", R"({"target": {"default": {"args": {"K": "${upper(A)}"}}}})"});
  CHECK(baked(two) == "default: --tag b --build-arg K=B --file ./Dockerfile .\n");
  CHECK(baked(options("standard input", "target \"default\" { target = \"t\" }")) ==
        "default: --target t --file ./Dockerfile .\n");
}

TEST_CASE("bake: types, validations and the environment") {
  const auto with = [](const char* type, const char* otherwise, const std::string& given, const char* name = "X") {
    BakeOptions options = ::options("docker-bake.hcl", std::string("variable \"X\" {\n") + type + "\n" + otherwise +
                                                           "\n}\ntarget \"default\" { target = jsonencode(X) }");
    options.environment = [=](const std::string& variable) -> std::optional<std::string> {
      return variable == name ? std::optional(given) : std::nullopt;
    };
    const auto plan = plan_bake(options);
    return plan ? plan->targets[0].arguments[1] : plan.error().to_string();
  };
  CHECK(with("", "default = true", "0") == "false");
  CHECK(with("", "default = 5", "6.5") == "6.5");
  CHECK(with("", "", "5") == "\"5\"");
  CHECK(with("", "default = true", "maybe") ==
        "docker-bake.hcl:1: variable \"X\": \"maybe\" is neither true nor false");
  CHECK(with("", "default = []", "a").contains("has a type"));
  CHECK(with("type = list(number)", "", "1,2") == "[1,2]");
  CHECK(with("type = set(string)", "", "b,\"a,\"\"\",b") == R"(["a,\"","b"])");
  CHECK(with("type = map(bool)", "", "k=true") == R"({"k":true})");
  CHECK(with("type = list(list(string))", "", "[[\"a\"]]", "X_JSON") == R"([["a"]])");
  CHECK(with("type = object({a = number, b = optional(string, \"z\")})", "default = {a = \"1\"}", "", "no") ==
        R"({"a":1,"b":"z"})");
  CHECK(with("type = tuple([string, bool])", "default = [\"a\"]", "", "no").contains("a tuple of 2 items is required"));
  CHECK(with("type = lower(\"x\")", "", "").contains("this is no type"));
  CHECK(with("type = number", "", "", "no") == "null");
  CHECK(with("validation {\ncondition = X > 1\nerror_message = \"not ${X}\"\n}", "default = 2", "1") ==
        "docker-bake.hcl:3: variable \"X\": not 1");
}

TEST_CASE("bake: what is wrong in HCL is told with its line") {
  CHECK(hcl("target \"a\" {\n  tag = []\n}", {"a"}) == "docker-bake.hcl:2: target \"a\": unknown attribute \"tag\"");
  CHECK(hcl("target \"a\" {\n  tags = [[]]\n}", {"a"}) == "docker-bake.hcl:2: tags: a string is required, not list");
  CHECK(hcl("\nA = B\nB = A") == "docker-bake.hcl:3: variable \"A\" depends on itself");
  CHECK(hcl("target \"a\" {\n  args = {X = target.a.args.X}\n}").contains("target.a.args depends on itself"));
  CHECK(hcl("A = target.b.args").contains("there is no target \"b\""));
  CHECK(hcl("function \"f\" {\n params = [x]\n result = f(x)\n}\nA = f(1)").contains("does a function call itself"));
  CHECK(hcl("targets \"a\" {}").contains("unknown section \"targets\""));
  CHECK(hcl("target \"a\" {\n  args {\n  }\n}") ==
        "docker-bake.hcl:2: a target has no block \"args\": attributes are written \"args = { … }\"");
  CHECK(hcl("target \"a\" {") == "docker-bake.hcl:1: the block is not closed: \"}\" is missing");
  CHECK(hcl("A = \"x\nB = 1").contains("docker-bake.hcl:1: the text is not closed"));
  CHECK(hcl("A = 1\nA = 2") == "docker-bake.hcl:2: \"A\" is given twice");
}

TEST_CASE("bake: what is printed is a bake file") {
  BakeOptions with = options("docker-bake.hcl", "target \"default\" { args = { A = \"$${x} %%{y}\" } }");
  const auto first = plan_bake(with);
  REQUIRE_OK(first);
  CHECK(joined(first->targets[0].arguments).contains("A=${x} %{y} "));
  with.files = {{"printed.json", first->printed}};
  const auto again = plan_bake(with);
  REQUIRE_OK(again);
  CHECK(again->printed == first->printed);
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

TEST_CASE("bake: --push and --load add to outputs, but not to files") {
  const auto outputs = [](const char* given, bool push, bool load) {
    BakeOptions with =
        options("docker-bake.json", std::string(R"({"target": {"a": {"output": )") + given + "}}}", {"a"});
    with.push = push;
    with.load = load;
    return baked(with);
  };
  const std::string file = "--file ./Dockerfile .\n";
  CHECK(outputs("[]", false, true) == "a: --output type=docker " + file);
  CHECK(outputs(R"(["type=image"])", false, true) == "a: --output type=image --output type=docker " + file);
  CHECK(outputs(R"(["type=docker"])", false, true) == "a: --output type=docker " + file);
  CHECK(outputs(R"(["type=docker,dest=x"])", false, true) ==
        "a: --output type=docker,dest=x --output type=docker " + file);
  CHECK(outputs(R"(["type=tar,dest=x"])", false, true) == "a: --output type=tar,dest=x " + file);
  CHECK(outputs(R"(["out"])", true, false) == "a: --output out " + file);
  CHECK(outputs(R"(["type=image"])", true, false) == "a: --output type=image,push=true " + file);
  CHECK(outputs(R"([{"type": "image"}])", true, false) == "a: --output type=image,push=true " + file);
  CHECK(outputs(R"(["type=docker"])", true, false) == "a: --output type=docker --output type=registry " + file);
  CHECK(outputs(R"(["type=registry"])", true, false) == "a: --output type=registry " + file);
  CHECK(outputs(R"(["type=image,push=false"])", true, false) == "a: --output type=image,push=true " + file);
  CHECK(outputs(R"(["type=docker,\"dest=o,1.tar\""])", false, true) ==
        "a: --output type=docker,\"dest=o,1.tar\" --output type=docker " + file);
  CHECK(outputs(R"("out")", true, false).find("\"output\" must be a list") != std::string::npos);
  BakeOptions with = options("docker-bake.json",
                             R"({"target": {"a": {"output": ["type=image", "type=registry", "type=docker"]}}})", {"a"});
  with.sets = {"a.push=false", "a.load=false"};
  CHECK(baked(with) == "a: --output type=image,push=false " + file);
  with.sets = {"a.push=maybe"};
  CHECK(baked(with).find("must be true or false") != std::string::npos);
}

TEST_CASE("bake: --call, --provenance and --sbom are every target's; --set of a truth needs no value") {
  BakeOptions with =
      options("docker-bake.json",
              R"({"target": {"a": {"call": "outline", "attest": ["type=sbom", "type=provenance,mode=max"]}}})", {"a"});
  with.call = "check";
  with.attestations = {{"provenance", "type=provenance,disabled=true"}};
  with.sets = {"a.no-cache", "a.pull"};
  CHECK(baked(with) ==
        "a: --call check --attest type=sbom --attest type=provenance,disabled=true --no-cache --pull --file "
        "./Dockerfile .\n");
  with.sets = {"a.tags"};
  CHECK(baked(with).find("has no value") != std::string::npos);
}

TEST_CASE("bake: --list") {
  BakeOptions with = options("docker-bake.hcl", R"(
variable "TAG" {
  default = "latest"
  description = "a ${"word"}"
}
variable "N" {
  type = object({a = optional(list(number)), b = tuple([string, bool])})
  default = { b = ["x", true] }
}
variable "NONE" { type = string }
variable "PLAIN" {}
variable "KEY" {
  default = "abc"
  sensitive = true
}
outside = 1
group "all" {
  targets = ["low", "app"]
  description = "both"
}
target "_base" {}
target "low" { description = "Low" }
target "app" {
  name = "app-${n}"
  matrix = { n = [1, 2] }
}
)",
                             {});
  REQUIRE_OK(list_bake(with, "targets"));
  CHECK(list_bake(with, "targets").value() ==
        "TARGET   DESCRIPTION\n"
        "all      both (app, low)\n"
        "app      app-1, app-2\n"
        "app-1    \n"
        "app-2    \n"
        "low      Low\n");
  with.environment = [](const std::string& name) {  // _JSON is for variables with a type
    return name == "PLAIN_JSON" ? std::optional<std::string>("1") : std::nullopt;
  };
  const std::string variables = list_bake(with, "type=variables").value();
  CHECK(variables.find("\nPLAIN") != std::string::npos);
  CHECK(variables.substr(variables.find("\nPLAIN")).find("<null>") != std::string::npos);
  INFO(variables);
  CHECK(variables.find("abc") == std::string::npos);
  CHECK(variables.find("outside") == std::string::npos);
  CHECK(variables.find(
            "object({a = optional(list(number)), b = tuple([string, bool])})   {\"a\":null,\"b\":[\"x\",true]}") !=
        std::string::npos);
  CHECK(list_bake(with, "format=json,type=targets").value().starts_with("[\n  {\n    \"name\": \"all\",\n"));
  with.files[0].text = "variable \"KEY\" {\n type = number\n sensitive = true\n default = \"hunter2\"\n}\n";
  const auto refused = list_bake(with, "variables");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message().find("hunter2") == std::string::npos);
  for (const char* wrong : {"", "x", "format=json", "type=targets,format=xml", "targets,variables"})
    CHECK_FALSE(list_bake(with, wrong));
}

TEST_CASE("bake: a target as another's context comes before it") {
  const auto plan = plan_bake(options("docker-bake.json", R"({"target": {"app": {"contexts": {"base": "target:low"}},
                                      "low": {"context": "low"}}})",
                                      {"app"}));
  REQUIRE_OK(plan);
  REQUIRE(plan->targets.size() == 2);
  CHECK(plan->targets[0].name == "low");
  CHECK(plan->targets[1].needs == std::vector<std::pair<std::string, std::string>>{{"base", "low"}});
  CHECK(json(R"({"target": {"a": {"contexts": {"x": "target:a"}}}})", {"a"}) == "a target needs itself: a > a");
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

TEST_CASE("bake: groups and ancestors that multiply, and chains of them") {
  std::string groups, ancestors, chained, needs, nested = "v0 = [1]\n";
  for (int i = 0; i < 45; ++i) {
    const std::string next = std::to_string(i + 1);
    groups += "group \"g" + std::to_string(i) + "\" { targets = [\"g" + next + "\", \"g" + next + "\"] }\n";
    ancestors += "target \"t" + std::to_string(i) + "\" { inherits = [\"t" + next + "\", \"t" + next + "\"] }\n";
  }
  CHECK(hcl(groups + "target \"g45\" {}", {"g0"}) == "g45: --file ./Dockerfile .\n");
  CHECK(hcl(ancestors + "target \"t45\" { tags = [\"x\"] }", {"t0"}) == "t0: --tag x --file ./Dockerfile .\n");
  for (int i = 0; i < 2'000; ++i) {
    const std::string name = "\"t" + std::to_string(i) + "\"", next = "t" + std::to_string(i + 1);
    chained += "target " + name + " { inherits = [\"" + next + "\"] }\n";
    needs += "target " + name + " { contexts = { x = \"target:" + next + "\" } }\n";
    groups += "group " + name + " { targets = [\"" + next + "\"] }\n";
    const auto number = [](int n) { return std::to_string(10'000 + n); };  // their order is that of their names
    nested += "v" + number(i) + " = [v" + (i == 0 ? "0" : number(i - 1)) + "]\n";
  }
  const std::string last = "target \"t2000\" {}\n";
  for (const std::string& file : {chained, needs, groups}) {
    const std::string answer = hcl(file + last, {"t0"});
    CHECK(answer ==
          "over 100 names follow on each other: t0 > t1 > t2 > t3 > t4 > … > t95 > t96 > t97 > t98 > t99 > t100");
  }
  CHECK(hcl(nested + last, {"t2000"}).contains("nested too deeply"));
}

TEST_CASE("bake: many targets of much are refused in time") {
  std::string file = "V = join(\"\", [for i in range(1000) : \"aaaaaaaaaa\"])\n";
  for (int i = 0; i < 1'000; ++i) file += "target \"t" + std::to_string(i) + "\" { args = { A = V } }\n";
  CHECK(hcl(file, {"t0"}).contains("too much room"));
  std::string objects = "{\"target\": {\"t\": {}";
  for (int i = 0; i < 50'000; ++i) objects += ",\"t" + std::to_string(i) + "\": {}";
  CHECK(json(objects + "}}").contains("too large"));
  std::string heirs = "target \"base\" { args = { A = \"" + std::string(200'000, 'a') + "\" } }\n", all;
  for (int i = 0; i < 100; ++i) {
    heirs += "target \"t" + std::to_string(i) + "\" { inherits = [\"base\"] }\n";
    all += "\"t" + std::to_string(i) + "\",";
  }
  CHECK(hcl(heirs + "group \"all\" { targets = [" + all + "] }", {"all"}).contains("too much room"));
  CHECK(hcl("target \"a\" { args = { X = \"1\" } }\ntarget \"b\" { args = { Y = target.a.args.X } }\n"
            "target \"a\" { args = { X = \"2\" } }",
            {"b"}) == "b: --build-arg Y=2 --file ./Dockerfile .\n");
}
