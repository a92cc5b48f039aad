// SPDX-License-Identifier: Apache-2.0
// The graph, config and history of a target, compared with BuildKit's own plans.
#include "builder/plan/planner.hpp"
#include "builder/plan/values.hpp"
#include "corpus.hpp"

using namespace dray;
using namespace dray::builder;

namespace {

image::ImageConfig stub() {
  image::ImageConfig config;
  config.config.env = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"};
  config.config.cmd = {"/bin/sh"};
  config.config.working_dir = "/";
  return config;
}

PlanOptions options() {
  PlanOptions options;
  options.platform.architecture = options.build_platform.architecture = "amd64";
  options.platform.variant = options.build_platform.variant = "";
  return options;
}

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
  CHECK(std::find(run.env.begin(), run.env.end(), "V=1") != run.env.end());
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
  CHECK(run.env.back() == "V=2");
  CHECK(run.env.size() == 2);
  CHECK(run.proxy_env == std::vector<std::string>{"HTTP_PROXY=p", "http_proxy=p"});
}

TEST_CASE("what cannot be planned says where and why") {
  CHECK(error_of("FROM a\nRUN --mount=type=cache,target=/x y") == "Dockerfile:2: RUN --mount is not supported yet");
  CHECK(error_of("FROM a\nCOPY --from=1 x y").starts_with("Dockerfile:2: "));
  CHECK(error_of("FROM a AS b\nCOPY --from=b x y").starts_with("Dockerfile:2: cannot copy from stage"));
  CHECK(error_of("FROM a\nADD https://example.com/x /").starts_with("Dockerfile:2: "));
  CHECK(error_of("FROM $NONE").starts_with("Dockerfile:1: base name"));
  CHECK(error_of("FROM a\nEXPOSE 70000").starts_with("Dockerfile:2: invalid"));
  CHECK(error_of("FROM a\nSTOPSIGNAL SIGNONE").starts_with("Dockerfile:2: invalid signal"));
  CHECK(error_of("FROM a\nCOPY --chmod=99 x y").starts_with("Dockerfile:2: invalid chmod"));
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

nlohmann::json config_json(const image::ContainerConfig& config) {
  nlohmann::json json = nlohmann::json::object();
  const auto set = [](const std::vector<std::string>& list) {
    nlohmann::json object = nlohmann::json::object();
    for (const std::string& key : list) object[key] = nlohmann::json::object();
    return object;
  };
  if (!config.user.empty()) json["User"] = config.user;
  if (!config.exposed_ports.empty()) json["ExposedPorts"] = set(config.exposed_ports);
  if (!config.env.empty()) json["Env"] = config.env;
  if (!config.entrypoint.empty()) json["Entrypoint"] = config.entrypoint;
  if (!config.cmd.empty()) json["Cmd"] = config.cmd;
  if (!config.volumes.empty()) json["Volumes"] = set(config.volumes);
  if (!config.working_dir.empty()) json["WorkingDir"] = config.working_dir;
  if (!config.labels.empty()) json["Labels"] = config.labels;
  if (!config.stop_signal.empty()) json["StopSignal"] = config.stop_signal;
  if (!config.shell.empty()) json["Shell"] = config.shell;
  if (!config.on_build.empty()) json["OnBuild"] = config.on_build;
  return json;
}

std::vector<nlohmann::json> execs(const Plan& plan) {
  std::vector<nlohmann::json> list;
  for (const Vertex& vertex : plan.vertices) {
    const auto* run = std::get_if<RunOp>(&vertex.op);
    if (run == nullptr) continue;
    nlohmann::json exec = {{"args", run->args}, {"cwd", run->working_dir}, {"env", run->env}};
    if (!run->user.empty()) exec["user"] = run->user;
    list.push_back(std::move(exec));
  }
  return list;
}

std::vector<nlohmann::json> copies(const Plan& plan) {
  std::vector<nlohmann::json> list;
  for (const Vertex& vertex : plan.vertices) {
    if (const auto* copy = std::get_if<CopyOp>(&vertex.op))
      for (const std::string& path : copy->paths) list.push_back(nlohmann::json::array({path, copy->destination}));
    if (const auto* workdir = std::get_if<WorkdirOp>(&vertex.op))
      list.push_back(nlohmann::json::array({workdir->path}));
  }
  return list;
}

struct Score {
  int same = 0, refused_alike = 0, unsupported = 0, wrong = 0;
};

void compare(const std::filesystem::path& path, Score& score) {
  const auto wanted = nlohmann::json::parse(corpus::read(path / "plan.json"));
  const auto result = plan(corpus::read(path / "Dockerfile"));
  INFO(path.filename().string() << ": " << (result ? "ok" : result.error().to_string()));
  if (!result && result.error().code() == ErrorCode::unsupported) {
    ++score.unsupported;
    return;
  }
  // SOURCE_DATE_EPOCH is an ordinary argument here.
  if (wanted.value("error", "").find("SOURCE_DATE_EPOCH") != std::string::npos) return;
  if (wanted.contains("error") != !result) {
    ++score.wrong;
    CHECK(wanted.value("error", "no error") == "");
    return;
  }
  if (!result) {
    ++score.refused_alike;
    return;
  }
  auto config = wanted["config"];
  config.erase("Healthcheck");
  config.erase("ArgsEscaped");
  CHECK(config_json(result->config.config) == config);
  nlohmann::json history = nlohmann::json::array();
  for (const image::History& entry : result->config.history) {
    nlohmann::json line = {{"created_by", entry.created_by}};
    if (entry.empty_layer) line["empty_layer"] = true;
    history.push_back(std::move(line));
  }
  CHECK(history == (wanted["history"].is_null() ? nlohmann::json::array() : wanted["history"]));

  std::vector<nlohmann::json> wanted_execs, wanted_copies;
  for (const auto& op : wanted["ops"]) {
    if (op["op"] == "exec") {
      auto exec = op;
      for (const char* key : {"inputs", "mounts", "n", "op", "network", "security", "extra_hosts", "proxy"})
        exec.erase(key);
      exec["cwd"] = clean_path(exec["cwd"].get<std::string>());
      wanted_execs.push_back(std::move(exec));
    }
    if (op["op"] != "file") continue;
    for (const auto& action : op["actions"]) {
      if (action["Action"].contains("copy") && !op.contains("inline"))
        wanted_copies.push_back(
            nlohmann::json::array({action["Action"]["copy"]["src"], action["Action"]["copy"]["dest"]}));
      if (action["Action"].contains("mkdir"))
        wanted_copies.push_back(
            nlohmann::json::array({clean_path(action["Action"]["mkdir"]["path"].get<std::string>())}));
    }
  }
  // BuildKit lists its operations in an order of its own, and shares equal ones.
  const auto sorted = [](std::vector<nlohmann::json> list) {
    std::sort(list.begin(), list.end());
    list.erase(std::unique(list.begin(), list.end()), list.end());
    return list;
  };
  const auto shebang = [](const nlohmann::json& exec) { return exec["args"].size() > 3 && exec["args"][3] == "sh"; };
  auto got = execs(*result);
  const bool own_scripts = std::any_of(got.begin(), got.end(), shebang);
  if (!own_scripts) CHECK(nlohmann::json(sorted(got)) == nlohmann::json(sorted(wanted_execs)));
  bool inline_files = false;
  for (const Vertex& vertex : result->vertices)
    if (const auto* copy = std::get_if<CopyOp>(&vertex.op)) inline_files = inline_files || !copy->files.empty();
  if (!inline_files) CHECK(nlohmann::json(sorted(copies(*result))) == nlohmann::json(sorted(wanted_copies)));
  ++score.same;
}

}  // namespace

TEST_CASE("corpus: plans of real Dockerfiles and of BuildKit's tests") {
  if (!corpus::present()) return;
  Score score;
  for (const char* folder : {"dockerfiles-real", "dockerfiles-buildkit-inline"})
    for (const auto& path : corpus::cases(folder))
      if (std::filesystem::exists(path / "plan.json")) compare(path, score);
  INFO("same " << score.same << ", refused alike " << score.refused_alike << ", unsupported " << score.unsupported
               << ", wrong " << score.wrong);
  CHECK(score.wrong == 0);
  CHECK(score.same > 100);
}
