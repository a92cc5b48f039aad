// SPDX-License-Identifier: Apache-2.0
// `dray builder ast` and `dray builder plan`: the documents of all Dockerfiles of the corpus, field by field.
#include <dray/builder/inspect.hpp>

#include <set>

#include <nlohmann/json.hpp>

#include "corpus.hpp"

using namespace dray;
using namespace dray::builder;

namespace {

nlohmann::json document(const std::string& text, std::optional<Error>* error = nullptr,
                        std::optional<std::string> ignore = std::nullopt) {
  InspectRequest request;
  request.text = text;
  request.platform.architecture = "amd64";
  request.platform.variant = "";
  request.stub_bases = true;
  request.dockerignore = std::move(ignore);
  const Inspection inspection = inspect_dockerfile(request, nullptr);
  if (error != nullptr) *error = inspection.error;
  return nlohmann::json::parse(inspection.json);
}

/// "case: field" of each field that differs.
void compare(const std::filesystem::path& path, std::set<std::string>& differences) {
  const std::string name = path.filename().string();
  const std::string text = corpus::read(path / "Dockerfile");
  const auto ast = dockerfile_ast(text, "Dockerfile");
  if (!ast || *ast != corpus::read(path / "result")) differences.insert(name + ": result");
  std::optional<Error> error;
  std::optional<std::string> ignore;
  if (std::filesystem::exists(path / ".dockerignore")) ignore = corpus::read(path / ".dockerignore");
  const auto got = document(text, &error, ignore);
  const auto check = [&](const nlohmann::json& wanted, std::initializer_list<const char*> fields) {
    for (const char* field : fields)
      if (wanted.value(field, nlohmann::json()) != got.value(field, nlohmann::json()))
        differences.insert(name + ": " + field);
  };
  check(nlohmann::json::parse(corpus::read(path / "expected.json")),
        {"parse_ok", "escape", "parser_warnings", "instructions", "targets", "targets_error", "lint", "lint_error"});
  const auto plan = nlohmann::json::parse(corpus::read(path / "plan.json"));
  check(plan, {"config", "history", "ops", "author", "error"});
  if (plan.contains("error") != error.has_value()) differences.insert(name + ": verdict");
}

}  // namespace

TEST_CASE("an error is in the document, and its lines in the excerpt") {
  std::optional<Error> error;
  const auto json = document("FROM a\n\nRUNN x\n# end\n", &error);
  REQUIRE(error);
  CHECK(error->location() == "Dockerfile:3");
  CHECK(json["error"] == "dockerfile parse error on line 3: unknown instruction: RUNN (did you mean RUN?)");
  CHECK(json["lint_error"]["line"] == 3);
  CHECK(dockerfile_excerpt("FROM a\n\nRUNN x\r\n# end\n", *error, "Dockerfile").find("3 | >>> RUNN x") !=
        std::string::npos);
  CHECK(dockerfile_excerpt("FROM a", *error, "Dockerfile") == "");
  CHECK(dockerfile_excerpt("FROM a", *error, "Other") == "");
}

TEST_CASE("bytes that are no UTF-8, NULs, line ends and marks") {
  using namespace std::string_view_literals;
  CHECK(document(std::string("FROM a\nLABEL x=\xff\0y\n"sv))["config"]["Labels"].size() == 1);
  CHECK(document("\xEF\xBB\xBF# escape=`\r\nFROM a\r\nRUN x `\r\n y\r\n")["ops"][0]["args"][2] == "x  y");
  CHECK(dockerfile_ast("ENV x=\xff\xc2\xad\n", "f").value_or("") == "(env \"x\" \"\\xff\\u00ad\" \"=\")\n");
  CHECK_FALSE(dockerfile_ast("", "f"));
}

TEST_CASE("white space of Unicode is white space, but not between an instruction and its arguments") {
  CHECK(dockerfile_ast("\u2003FROM a\u00a0\nENV A=1\u00a0B=2\nCOPY --link\u3000x y\n", "f").value_or("") ==
        "(from \"a\")\n(env \"A\" \"1\" \"=\" \"B\" \"2\" \"=\")\n(copy [\"--link\"] \"x\" \"y\")\n");
  CHECK(dockerfile_ast("FROM\u00a0a\n", "f").value_or("") == "(from\u00a0a \"\")\n");
  CHECK(dockerfile_ast("FROM a\n\\\n", "f").value_or("") == "(from \"a\")\n(\"\")\n");
}

TEST_CASE("what is written in WORKDIR stays, also when an empty one repeats it") {
  const auto json = document("FROM a\nWORKDIR /c/../d\nWORKDIR $X\nWORKDIR /..\n");
  CHECK(json["config"]["WorkingDir"] == "/..");
  CHECK(json["history"] ==
        nlohmann::json::parse(R"([{"created_by": "WORKDIR /c/../d"}, {"created_by": "WORKDIR /c/../d"},
                                                     {"created_by": "WORKDIR /.."}])"));
}

TEST_CASE("a plan is refused where the checks refuse the build") {
  CHECK(document("# check=error=true\nFROM a as b\n")["error"] == "lint violation found for rules: FromAsCasing");
  CHECK_FALSE(document("# check=error=true\nFROM a AS x\nWORKDIR x\nFROM a\n").contains("error"));  // not what is built
  CHECK(document("# check=x\nFROM a\n")["error"] == "failed to parse check options: invalid check option \"x\"");
}

TEST_CASE("--link is a merge, a script is a file, equal operations are one") {
  const auto json = document(
      "FROM scratch AS s\nCOPY a b\nFROM scratch\nCOPY c d\nCOPY --link --from=s / /\nCOPY --from=s / /x\nRUN "
      "<<E\n#!/x\nE\n");
  std::vector<std::string> kinds;
  for (const auto& op : json["ops"]) kinds.push_back(op["op"]);
  CHECK(kinds == std::vector<std::string>{"source", "file", "file", "file", "merge", "file", "file", "exec", "result"});
  CHECK(json["ops"][0]["attrs"]["local.followpaths"] == "[\"a\",\"c\"]");
}

TEST_CASE("corpus: all documents") {
  if (!corpus::present()) return;
  std::set<std::string> differences;
  std::size_t count = 0;
  for (const char* folder : {"dockerfiles-real", "dockerfiles-buildkit-inline"}) {
    for (const auto& path : corpus::cases(folder)) {
      if (!std::filesystem::exists(path / "Dockerfile")) continue;
      compare(path, differences);
      ++count;
    }
  }
  CHECK(count >= 435);
  // What differs, and why: the list may only become shorter.
  const auto listed = nlohmann::json::parse(
      corpus::read(std::filesystem::path(DRAY_SOURCE_DIR) / "tests/unit/builder/expected_differences.json"));
  std::set<std::string> expected;
  for (const auto& [difference, reason] : listed.items()) {
    CHECK(reason.get<std::string>().size() > 10);
    expected.insert(difference);
  }
  CHECK(differences == expected);
}
