// SPDX-License-Identifier: Apache-2.0
// The graph, config and history of a target, compared with BuildKit's own plans.
#include "builder/plan/planner.hpp"
#include "corpus.hpp"
#include "plan_support.hpp"

using namespace dray;
using namespace dray::builder;
using namespace dray::builder::test;

namespace {

Result<Plan> plan(std::string_view text, const PlanOptions& with = options(), const image::ImageConfig& base = stub()) {
  const Dockerfile dockerfile = TRY(parse_dockerfile(text));
  return plan_build(dockerfile, with,
                    [&](const Reference&, const image::Platform&) { return Result<image::ImageConfig>(base); });
}

std::string error_of(std::string_view text) {
  const auto result = plan(text);
  return result ? "" : result.error().to_string();
}

}  // namespace

TEST_CASE("a typical Dockerfile") {
  const auto result = plan(
      "FROM debian:bookworm\nARG V=1\nENV A=b\nWORKDIR /app\nCOPY app.py .\nRUN pip install x\nEXPOSE "
      "5000\nCMD [\"python\", "
      "\"app.py\"]\n");
  REQUIRE_OK(result);
  REQUIRE(result->vertices.size() == 5);
  CHECK(result->vertices[0].title == "[1/4] FROM docker.io/library/debian:bookworm");
  CHECK(result->vertices[1].title == "[2/4] WORKDIR /app");
  CHECK(result->vertices[3].title == "[3/4] COPY app.py .");
  CHECK(result->vertices[4].title == "[4/4] RUN pip install x");
  CHECK(result->vertices[4].location.to_string() == "Dockerfile:6");
  const auto& copy = std::get<CopyOp>(result->vertices[3].op);
  CHECK(copy.paths == std::vector<std::string>{"/app.py"});
  CHECK(copy.destination == "/app/");
  const auto& run = std::get<RunOp>(result->vertices[4].op);
  CHECK(run.args == std::vector<std::string>{"/bin/sh", "-c", "pip install x"});
  CHECK(std::ranges::count(run.env.get(), "V=1") == 1);
  CHECK(run.working_dir == "/app");
  const auto& history = result->config.history;
  REQUIRE(history.size() == 7);
  CHECK(history[2].created_by == "WORKDIR /app");
  CHECK(history[4].created_by == "RUN |1 V=1 /bin/sh -c pip install x # buildkit");
  CHECK(history[4].comment == "buildkit.dockerfile.v0");
  CHECK(history[6].created_by == "CMD [\"python\" \"app.py\"]");
  CHECK(history[6].empty_layer);
}

TEST_CASE("stages: only what the target needs, and what it copies from") {
  const std::string text =
      "FROM a AS one\nRUN 1\nFROM b AS unused\nRUN never\nFROM one AS two\nCOPY --from=0 /x /y/\nCOPY "
      "--from=busybox /z /z\n";
  const auto result = plan(text);
  REQUIRE_OK(result);
  REQUIRE(result->vertices.size() == 5);
  CHECK(result->vertices[1].title == "[one 2/2] RUN 1");
  CHECK(result->vertices[2].inputs == std::vector<int>{1, 1});
  CHECK(result->vertices[4].inputs == std::vector<int>{2, 3});
  CHECK(result->result == 4);
  const auto dockerfile = parse_dockerfile(text);
  const auto images = base_images(*dockerfile, options());
  REQUIRE_OK(images);
  CHECK(images->size() == 2);
  PlanOptions target = options();
  target.target = "one";
  CHECK(plan(text, target)->vertices.size() == 2);
  target.target = "on";
  CHECK(plan(text, target).error().message() == "target stage \"on\" could not be found (did you mean one?)");
}

TEST_CASE("bases: ENTRYPOINT drops the base's CMD, ONBUILD runs, history goes on") {
  image::ImageConfig base = stub();
  base.config.on_build = {"RUN trigger"};
  base.history = {{"", "base", "", "", false}};
  base.diff_ids.resize(1);
  const auto result = plan("FROM a\nENTRYPOINT [\"x\"]\n", options(), base);
  REQUIRE_OK(result);
  CHECK(result->config.config.cmd.empty());
  CHECK(result->config.config.on_build.empty());
  REQUIRE(result->config.history.size() == 3);
  CHECK(result->vertices[1].title == "[2/2] ONBUILD RUN trigger");
  CHECK(result->config.diff_ids.size() == 1);
}

TEST_CASE("build arguments: declared ones only, proxies apart") {
  PlanOptions with = options();
  with.build_args = {{"V", "2"}, {"OTHER", "x"}, {"HTTP_PROXY", "p"}};
  const auto result = plan("ARG V=1\nFROM a:$V\nARG V\nRUN echo $V\n", with);
  REQUIRE_OK(result);
  CHECK(std::get<SourceOp>(result->vertices[0].op).reference->tag() == "2");
  const auto& run = std::get<RunOp>(result->vertices[1].op);
  CHECK(run.env.get().back() == "V=2");
  CHECK(run.env.get().size() == 2);
  CHECK(run.proxy_env == std::vector<std::string>{"HTTP_PROXY=p", "http_proxy=p"});
}

TEST_CASE("what cannot be planned says where and why") {
  CHECK(error_of("FROM a\nCOPY --from=1 x y").starts_with("Dockerfile:2: "));
  CHECK(error_of("FROM a AS b\nCOPY --from=b x y").starts_with("Dockerfile:1: circular dependency"));
  CHECK(error_of("FROM a\nCOPY --from=b x y\nFROM c AS b\nFROM scratch\nCOPY --from=0 x y")
            .starts_with("Dockerfile:2: cannot copy from stage"));
  CHECK(error_of("FROM a\nCOPY --from=$X x y").starts_with("Dockerfile:2: variable expansion"));
  CHECK(error_of("FROM a\nCOPY https://example.com/x /").starts_with("Dockerfile:2: source can't be a URL"));
  CHECK(error_of("FROM a\nADD --checksum=sha256:12 https://example.com/x /")
            .starts_with("Dockerfile:2: invalid checksum"));
  CHECK(error_of("FROM --platform=$TARGETPLATFROM a").find("did you mean TARGETPLATFORM?") != std::string::npos);
  CHECK(error_of("FROM UP AS unused\nFROM a").starts_with("Dockerfile:1: failed to parse stage name"));
  CHECK(error_of("FROM $NONE").starts_with("Dockerfile:1: base name"));
  CHECK(error_of("FROM a\nEXPOSE 70000").starts_with("Dockerfile:2: invalid"));
  CHECK(error_of("FROM a\nSTOPSIGNAL SIGNONE").starts_with("Dockerfile:2: invalid signal"));
  CHECK(error_of("FROM a\nEXPOSE 1-2:1-3").starts_with("Dockerfile:2: invalid ranges"));
  CHECK(error_of("FROM a\nEXPOSE x:1:80").starts_with("Dockerfile:2: invalid IP address"));
  CHECK(error_of("FROM a\nCOPY --chmod=99 x y").starts_with("Dockerfile:2: invalid chmod"));
  CHECK(error_of("FROM a\nCOPY --chmod=u+z x y").starts_with("Dockerfile:2: invalid chmod"));
  CHECK(error_of("FROM a\nCOPY --chmod=u+rwX,go=u,+t x y") == "");
  CHECK(error_of("FROM a\nRUN []").starts_with("Dockerfile:2: "));
  std::string bomb = "FROM a\nENV A=aaaaaaaaaaaaaaaa\n";
  for (int i = 0; i < 200; ++i) bomb += "ENV A=$A$A\n";
  CHECK(error_of(bomb) != "");
}

TEST_CASE("paths stay below the root") {
  const auto result = plan("FROM a\nWORKDIR ../../x\nCOPY ../../etc/passwd ../../../y\nCOPY <<../../f /\nq\n../../f\n");
  REQUIRE_OK(result);
  const auto& copy = std::get<CopyOp>(result->vertices[3].op);
  CHECK(copy.paths[0] == "/etc/passwd");
  CHECK(copy.destination == "/y");
  CHECK(std::get<CopyOp>(result->vertices[4].op).files[0].name == "f");
}

namespace {

const RunOp& last_run(const Plan& plan) {
  return std::get<RunOp>(plan.vertices.at(static_cast<std::size_t>(plan.result)).op);
}

}  // namespace

TEST_CASE("mounts: targets, sources, what is read-only, defaults") {
  const auto result = plan(
      "FROM a AS one\nFROM b\nWORKDIR /w\nARG T=x\nRUN --mount=type=cache,target=$T,sharing=locked,uid=5 "
      "--mount=from=one,source=s,target=/m --mount=type=secret,id=k,env=K "
      "--mount=type=secret,id=d/f,required,mode=0444 "
      "--mount=type=ssh --mount=type=tmpfs,target=/t,size=1.5k --mount=target=/c,rw make\n");
  REQUIRE_OK(result);
  const RunOp& run = last_run(*result);
  REQUIRE(run.mounts.size() == 7);
  CHECK(run.mounts[0].target == "/w/x");
  CHECK(run.mounts[0].id == "x");
  CHECK(run.mounts[0].sharing == RunMount::Sharing::locked);
  CHECK(run.mounts[0].mode == 0755u);
  CHECK(run.mounts[0].uid == 5);
  CHECK(run.mounts[0].input == -1);
  CHECK_FALSE(run.mounts[0].read_only);
  const auto& vertex = result->vertices[static_cast<std::size_t>(result->result)];
  const auto at = static_cast<std::size_t>(vertex.inputs.at(static_cast<std::size_t>(run.mounts[1].input)));
  CHECK(std::get<SourceOp>(result->vertices[at].op).reference->repository() == "library/a");
  CHECK(run.mounts[1].source == "/s");
  CHECK(run.mounts[1].read_only);
  CHECK(run.mounts[2].env == "K");
  CHECK(run.mounts[2].target == "");
  CHECK(run.mounts[3].target == "/run/secrets/f");
  CHECK(run.mounts[3].required);
  CHECK(run.mounts[3].mode == 0444u);
  CHECK(run.mounts[4].id == "default");
  CHECK(run.mounts[4].target == "/run/buildkit/ssh_agent.0");
  CHECK(run.env.get().back() == "SSH_AUTH_SOCK=/run/buildkit/ssh_agent.0");
  CHECK(run.mounts[5].size == 1536);
  CHECK_FALSE(run.mounts[6].read_only);
  CHECK(vertex.title.find("make") != std::string::npos);
}

TEST_CASE("mounts that are refused") {
  const auto mount = [](const std::string& options) { return error_of("FROM a\nRUN --mount=" + options + " x"); };
  CHECK(mount("type=tmp,target=/x") == "Dockerfile:2: unsupported mount type \"tmp\" (did you mean tmpfs?)");
  CHECK(mount("type=cache,taget=/x") == "Dockerfile:2: unexpected key 'taget' in 'taget=/x' (did you mean target?)");
  CHECK(mount("type=cache,target=/x,sharing=lock").find("did you mean locked?") != std::string::npos);
  CHECK(mount("required,type=secret,id=a").find("unexpected key 'required'") != std::string::npos);
  CHECK(mount("target=/x,uid=1").find("uid not allowed") != std::string::npos);
  CHECK(mount("type=secret").find("one of source, target required") != std::string::npos);
  CHECK(mount("type=cache,target=/../").find("invalid mount target") != std::string::npos);
  CHECK(mount("target=/x,size=1").find("unexpected key 'size'") != std::string::npos);
  CHECK(mount("from=$X,target=/x").find("doesn't support variable expansion") != std::string::npos);
  CHECK(mount("target") != "");
  CHECK(mount("") != "");
  // What is not needed is not looked at, but its line must be well-formed.
  CHECK(error_of("FROM a\nRUN --mount=type=tmp x\nFROM b") == "");
  CHECK(error_of("FROM a\nRUN --mount=from=$X x\nFROM b") != "");
}

TEST_CASE("RUN: a script of its own, devices, security, network, proxies") {
  const auto result = plan(
      "FROM a\nRUN --network=none --security=insecure --device=v.com/c=d,required --device=name=e "
      "<<EOF\n#!/bin/x\n1\nEOF\n");
  REQUIRE_OK(result);
  const RunOp& run = last_run(*result);
  CHECK(run.args == std::vector<std::string>{"/bin/sh", "-c", "/dev/pipes/EOF"});
  CHECK(run.script == "#!/bin/x\n1\n");
  CHECK(run.network == "none");
  CHECK(run.insecure);
  CHECK(run.devices == std::vector<std::string>{"v.com/c=d", "e"});
  CHECK(run.required_devices == std::vector<std::string>{"v.com/c=d"});
}

TEST_CASE("titles have no passwords") {
  const auto result = plan("FROM a\nARG P=hidden\nADD https://u:$P@host/x.git https://u:hidden@host/f /y/\n");
  REQUIRE_OK(result);
  for (const Vertex& vertex : result->vertices) CHECK(vertex.title.find("hidden") == std::string::npos);
  CHECK(result->vertices.back().title == "[2/2] ADD https://host/x.git https://host/f /y/");
}

TEST_CASE("ADD of remote sources, COPY's flags") {
  const auto result = plan(
      "FROM a\nADD --checksum=sha256:1500c1f56fa9e26b9b8f42452a553675796ade0807cdce11975eb98170b3a570 "
      "https://example.com/d/a%20b?q=1 /x\nADD --keep-git-dir https://example.com/r.git#v1:sub local "
      "https://example.com /y/\n"
      "COPY --link --parents --exclude=*.o a/./b/c [d] /z/.\n");
  REQUIRE_OK(result);
  std::vector<const CopyOp*> copies;
  std::vector<const Vertex*> vertices;
  for (const Vertex& vertex : result->vertices)
    if (const auto* copy = std::get_if<CopyOp>(&vertex.op)) {
      copies.push_back(copy);
      vertices.push_back(&vertex);
    }
  REQUIRE(copies.size() == 3);
  const auto source = [&](std::size_t copy, std::size_t input) -> const Op& {
    return result->vertices[static_cast<std::size_t>(vertices[copy]->inputs.at(input))].op;
  };
  CHECK(std::get<HttpOp>(source(0, 1)).filename == "a b");
  CHECK(copies[0]->paths == std::vector<std::string>{"/a b"});
  CHECK(copies[1]->path_inputs == std::vector<int>{1, 2, 3});
  const auto& git = std::get<GitOp>(source(1, 1));
  CHECK(git.remote == "https://example.com/r.git");
  CHECK(git.ref == "v1");
  CHECK(git.subdirectory == "sub");
  CHECK(git.keep_git_dir);
  CHECK(std::get<HttpOp>(source(1, 3)).filename == "__unnamed__");
  CHECK(copies[2]->link);
  CHECK(copies[2]->paths == std::vector<std::string>{"/a/./b/c", "/[d]"});
  CHECK(copies[2]->exclude == std::vector<std::string>{"*.o"});
  CHECK(copies[2]->destination == "/z/");
  CHECK(std::get<LocalOp>(source(2, 1)).paths == std::vector<std::string>{"[d]", "a/b/c", "local"});
}

TEST_CASE("named contexts stand for stages and images") {
  PlanOptions with = options();
  with.named_contexts = {{"one", {ContextSource::Kind::directory, ""}},
                         {"alpine", {ContextSource::Kind::image, "debian:12"}},
                         {"repo", {ContextSource::Kind::git, "https://example.com/r.git#main"}}};
  const auto result = plan(
      "FROM nothing AS one\nRUN never\nFROM alpine:latest\nCOPY --from=one /x /y\nRUN --mount=from=repo,target=/r ls\n",
      with);
  REQUIRE_OK(result);
  REQUIRE(result->vertices.size() == 5);
  CHECK(std::get<SourceOp>(result->vertices[1].op).reference->canonical() == "docker.io/library/debian:12");
  CHECK(std::get<LocalOp>(result->vertices[0].op).name == "one");
  CHECK(std::get<LocalOp>(result->vertices[0].op).paths == std::vector<std::string>{"x"});
  CHECK(std::get<GitOp>(result->vertices[3].op).ref == "main");
  with.context = {ContextSource::Kind::http, "https://example.com/c.tar"};
  const auto remote = plan("FROM scratch\nCOPY a b\n", with);
  REQUIRE_OK(remote);
  CHECK(std::holds_alternative<HttpOp>(remote->vertices[1].op));
}

TEST_CASE("SOURCE_DATE_EPOCH") {
  PlanOptions with = options();
  with.build_args = {{"SOURCE_DATE_EPOCH", "1700000000"}};
  const auto result = plan("FROM a\nARG SOURCE_DATE_EPOCH\nRUN x\n", with);
  REQUIRE_OK(result);
  CHECK(result->source_date_epoch == 1700000000);
  CHECK(result->config.created.starts_with("2023-11-14T22:13:20"));
  CHECK(result->config.history[0].created == result->config.created);
  CHECK(last_run(*result).env.get().back() == "SOURCE_DATE_EPOCH=1700000000");
  CHECK(error_of("ARG SOURCE_DATE_EPOCH=never\nFROM a") == "invalid SOURCE_DATE_EPOCH: never");
  CHECK(error_of("ARG SOURCE_DATE_EPOCH=s\nFROM scratch AS s\nADD https://example.com/x /\nFROM a") == "");
  CHECK(error_of("ARG SOURCE_DATE_EPOCH=s\nFROM scratch AS s\nCOPY x /\nFROM a").find("COPY instruction") !=
        std::string::npos);
}

TEST_CASE("Dray's own flags need its syntax") {
  const std::string text = "FROM a\nWORKDIR --chown=1:2 /w\nCOPY --if-exists x y\n";
  CHECK(error_of(text).find("unknown flag: --chown") != std::string::npos);
  const auto result = plan("# syntax=dray\n" + text);
  REQUIRE_OK(result);
  CHECK(std::get<WorkdirOp>(result->vertices[1].op).owner == "1:2");
  CHECK(std::get<CopyOp>(result->vertices[3].op).if_exists);
  CHECK(parse_dockerfile("# syntax=docker/dockerfile:1.7-labs\nFROM a")->warnings.empty());
  CHECK(parse_dockerfile("# syntax=example.com/other\nFROM a")->warnings.size() == 1);
}

TEST_CASE("BUILDKIT_SYNTAX stands for the directive") {
  CHECK(syntax_argument({{"BUILDKIT_SYNTAX", "one"}, {"x", "y"}, {"BUILDKIT_SYNTAX", "two"}}) == "two");
  CHECK(syntax_argument({{"x", "y"}}).empty());
  const auto read = [](const char* text, const char* syntax) {
    return parse_dockerfile(text, "Dockerfile", {}, syntax);
  };
  CHECK(read("# syntax=example.com/other\nFROM a", "dockerfile.v0")->warnings.empty());
  CHECK(read("# syntax=example.com/other\nFROM a", "docker/dockerfile:1")->warnings.empty());
  CHECK(read("FROM a", "example.com/other")->warnings.size() == 1);
  CHECK(read("FROM a\nWORKDIR --chown=1:2 /w", "dray"));
  CHECK_FALSE(read("# syntax=dray\nFROM a\nWORKDIR --chown=1:2 /w", "docker/dockerfile:1"));
}

TEST_CASE("files for other frontends") {
  for (const char* text :
       {"// syntax=example.com/pack:1 x\npackage main", "#!/usr/bin/x\n//syntax = example.com/pack:1\n",
        "{\"a\": 1,\n \"syntax\": \"example.com/pack:1\"}"}) {
    const auto result = parse_dockerfile(text);
    REQUIRE_FALSE(result);
    CHECK(result.error().to_string().find("frontend \"example.com/pack:1\"") != std::string::npos);
  }
  for (const char* text : {"", "{", "{}", "{\"syntax\": 1}", "//", "// syntax=", "#!", "#!x", "{\"syntax\""}) {
    CHECK(foreign_syntax(text).empty());
    CHECK_FALSE(parse_dockerfile(text));
  }
}

TEST_CASE("what the result does not stand on is not in the plan") {
  const auto result = plan("FROM a AS one\nRUN 1\nFROM b\nRUN --mount=type=tmpfs,from=one,target=/t 2\n");
  REQUIRE_OK(result);
  CHECK(result->vertices.size() == 2);
  PlanOptions all = options();
  all.all_stages = true;
  CHECK_FALSE(plan("FROM a\nCOPY --chmod=9 x y\nFROM b\n", all));
  CHECK(plan("FROM a\nCOPY --chmod=9 x y\nFROM b\n"));
}

TEST_CASE("large Dockerfiles take neither long nor much") {
  std::string many = "FROM a\nENV";
  for (int i = 0; i < 60'000; ++i) many += " k" + std::to_string(i) + "=1";
  REQUIRE_OK(plan(many));
  for (int i = 0; i < 1'000; ++i) many += "\nRUN x";
  CHECK(error_of(many).find("256 MiB") != std::string::npos);
  std::string args = "FROM a\n";
  for (int i = 0; i < 18'000; ++i) args += "ARG k" + std::to_string(i) + "\n";
  CHECK(error_of(args + "RUN x") == "");
  CHECK(error_of("FROM a\nRUN " + std::string(10u << 20, 'x')) != "");
}
