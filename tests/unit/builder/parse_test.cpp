// SPDX-License-Identifier: Apache-2.0
// Parser: the AST dumps of BuildKit's fixtures and of real Dockerfiles, byte for byte; refusals with their
// place.
#include <dray/builder/inspect.hpp>

#include <nlohmann/json.hpp>

#include "builder/dockerfile/dockerfile.hpp"
#include "builder/dockerfile/instruction_parser.hpp"
#include "builder/dockerfile/parser.hpp"
#include "builder/plan/wording.hpp"
#include "corpus.hpp"

using namespace dray;
using namespace dray::builder;

namespace {

std::string error_of(std::string_view text) {
  auto parsed = parse_dockerfile(text);
  return parsed ? "" : parsed.error().to_string();
}

void compare_dumps(const std::string& folder) {
  std::size_t count = 0;
  for (const auto& path : corpus::cases(folder)) {
    if (!std::filesystem::exists(path / "result")) continue;
    INFO(path.string());
    const auto tree = dockerfile_ast(corpus::read(path / "Dockerfile"), "Dockerfile");
    REQUIRE_OK(tree);
    CHECK(*tree == corpus::read(path / "result"));
    ++count;
  }
  CHECK(count > 0);
}

}  // namespace

TEST_CASE("an unknown instruction is refused with its place and a guess") {
  CHECK(error_of("FROM a\n\nRUNN x\n") == "Dockerfile:3: unknown instruction: RUNN (did you mean RUN?)");
  CHECK(error_of("RUN x").find("Dockerfile:1: no build stage") == 0);
  CHECK(error_of("FROM a\nCOPY --form=b x y").find("did you mean from?") != std::string::npos);
  CHECK(error_of("") != "");
  CHECK(error_of("# only\n  # comments\n") != "");
  CHECK(error_of("FROM a\nRUN <<EOF\nx\n").find("Dockerfile:2: unterminated heredoc") == 0);
  CHECK(error_of("FROM a b") != "");
  CHECK(error_of("FROM a AS 1b") != "");
}

TEST_CASE("hostile text neither crashes nor takes long") {
  CHECK(error_of(std::string(17u << 20, 'x')) != "");
  CHECK(error_of("FROM a\nRUN [" + std::string(200'000, '[')) == "");  // no JSON: the shell form
  std::string onbuild = "FROM a\n";
  for (int i = 0; i < 1000; ++i) onbuild += "ONBUILD ";
  CHECK(error_of(onbuild + "RUN x") != "");
  using namespace std::string_view_literals;
  CHECK(error_of("FROM a\nENV x=\0\xff\xfe y=\"\n"sv) == "");
  CHECK(error_of("FROM a\nENV =x") != "");
  CHECK(error_of("\\") != "");
}

TEST_CASE("continuations, comments in them, and the escape directive") {
  const auto parsed = parse_dockerfile("# escape=`\nFROM a\nRUN one `\n  # no\n\n  two\\\n");
  REQUIRE_OK(parsed);
  const auto& run = std::get<RunInstruction>(parsed->stages[0].instructions[0].body);
  CHECK(run.command.args[0] == "one   two\\");
  CHECK(parsed->stages[0].instructions[0].line == 3);
}

TEST_CASE("heredocs of RUN and COPY") {
  const auto parsed = parse_dockerfile("FROM a\nCOPY <<-'A' <<B /d/\n\tx $y\n\tA\nz\nB\nRUN <<E cat\nq\nE\n");
  REQUIRE_OK(parsed);
  const auto& copy = std::get<CopyInstruction>(parsed->stages[0].instructions[0].body);
  REQUIRE(copy.heredocs.size() == 2);
  CHECK(copy.heredocs[0].content == "x $y\n");
  CHECK_FALSE(copy.heredocs[0].expand);
  CHECK(copy.heredocs[1].expand);
  CHECK(std::get<RunInstruction>(parsed->stages[0].instructions[1].body).heredocs[0].content == "q\n");
}

TEST_CASE("durations of HEALTHCHECK") {
  const auto parsed = parse_dockerfile("FROM a\nHEALTHCHECK --interval=1m30s --timeout=500ms --retries=3 CMD [\"x\"]");
  REQUIRE_OK(parsed);
  const auto& health = std::get<HealthcheckInstruction>(parsed->stages[0].instructions[0].body);
  CHECK(health.interval_ns == 90'000'000'000);
  CHECK(health.timeout_ns == 500'000'000);
  CHECK(health_text(health) == "{Test:[CMD x] Interval:1m30s Timeout:500ms StartPeriod:0s StartInterval:0s Retries:3}");
  CHECK(error_of("FROM a\nHEALTHCHECK --interval=3 CMD x") != "");
}

TEST_CASE("corpus: BuildKit's AST fixtures") {
  if (!corpus::present()) return;
  compare_dumps("dockerfile-parser/testfiles");
  for (const auto& path : corpus::cases("dockerfile-parser/testfiles-negative")) {
    INFO(path.string());
    CHECK_FALSE(parse_dockerfile(corpus::read(path / "Dockerfile")));
  }
}

TEST_CASE("corpus: exec form, words, heredocs, instruction errors") {
  if (!corpus::present()) return;
  for (const auto& entry : corpus::json("dockerfile-parser/json-array.json")) {
    INFO(entry.dump());
    const auto strings = parse_exec_form(entry["input"].get<std::string>());
    if (entry.value("error", false))
      CHECK((!strings || !*strings));
    else
      CHECK((strings && *strings && **strings == entry["expected"].get<std::vector<std::string>>()));
  }
  for (const auto& entry : corpus::json("dockerfile-parser/parse-words.json"))
    CHECK(parse_words(entry["input"].get<std::string>(), '\\') == entry["expected"].get<std::vector<std::string>>());
  for (const auto& entry : corpus::json("dockerfile-parser/heredoc/helpers.json")) {
    INFO(entry.dump());
    const auto heredoc = parse_heredoc(entry["src"].get<std::string>());
    const std::string wanted = entry["expected"];
    CHECK((!heredoc ? "error" : *heredoc ? "heredoc" : "not-a-heredoc") == wanted);
    if (heredoc && *heredoc) CHECK((*heredoc)->name == entry["name"].get<std::string>());
  }
  for (const auto& entry : corpus::json("dockerfile-parser/heredoc/lines.json")) {
    INFO(entry.dump());
    const auto heredocs = heredocs_of_line(entry["line"].get<std::string>());
    REQUIRE_OK(heredocs);
    std::vector<std::string> names;
    for (const Heredoc& heredoc : *heredocs) names.push_back(heredoc.name);
    CHECK(names == entry["heredoc_names"].get<std::vector<std::string>>());
  }
  for (const auto& entry : corpus::json("dockerfile-parser/instruction-errors.json")) {
    INFO(entry.dump());
    CHECK(error_of("FROM a\n" + entry["dockerfile"].get<std::string>())
              .find(entry["error_contains"].get<std::string>()) != std::string::npos);
  }
}

TEST_CASE("corpus: contents of heredocs, line numbers, warnings") {
  if (!corpus::present()) return;
  const auto extract = corpus::json("dockerfile-parser/heredoc/extract.json");
  const auto ast = parse_lines(extract["dockerfile"].get<std::string>(), "Dockerfile");
  REQUIRE_OK(ast);
  for (std::size_t i = 0; i < extract["expected"].size(); ++i) {
    const auto& wanted = extract["expected"][i];
    const auto& heredocs = ast->nodes.at(i + 1).heredocs;
    INFO(wanted.dump());
    REQUIRE(heredocs.size() == (wanted.is_null() ? 0 : wanted.size()));
    for (std::size_t j = 0; j < heredocs.size(); ++j) {
      CHECK(heredocs[j].name == wanted[j].value("name", ""));
      CHECK(heredocs[j].content == wanted[j].value("content", ""));
      CHECK(heredocs[j].expand == wanted[j].value("expand", false));
      CHECK(heredocs[j].chomp == wanted[j].value("chomp", false));
      CHECK(heredocs[j].fd == wanted[j].value("fd", 0));
    }
  }
  const auto lines = corpus::json("dockerfile-parser/testfile-line/expected.json");
  const auto counted =
      parse_lines(corpus::read(corpus::root() / "dockerfile-parser/testfile-line/Dockerfile"), "Dockerfile");
  REQUIRE_OK(counted);
  for (std::size_t i = 0; i < lines["children"].size(); ++i) {
    CHECK(counted->nodes.at(i).line == lines["children"][i][0]);
    CHECK(counted->nodes.at(i).end_line == lines["children"][i][1]);
  }
  const auto empty = corpus::json("dockerfile-parser/empty-continuation.json");
  const auto warned = parse_lines(empty["dockerfile"].get<std::string>(), "Dockerfile");
  REQUIRE_OK(warned);
  CHECK(warned->warnings.size() == empty["warnings_contain"].size());
}
