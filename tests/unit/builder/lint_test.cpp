// SPDX-License-Identifier: Apache-2.0
// Build checks: each rule by its edges, then all of the corpus against BuildKit's own findings.
#include "builder/lint/lint.hpp"

#include <algorithm>
#include <set>
#include <tuple>

#include <nlohmann/json.hpp>

#include "corpus.hpp"
#include "plan_support.hpp"

using namespace dray;
using namespace dray::builder;
using namespace dray::builder::test;

namespace {

LintReport check(std::string_view text, const PlanOptions& with = options(true),
                 const image::ImageConfig& base = stub()) {
  return lint(text, "Dockerfile", with,
              [&](const Reference&, const image::Platform&) { return Result<image::ImageConfig>(base); });
}

std::string short_form(const LintReport& report) {
  std::string text;
  for (const LintWarning& warning : report.warnings) text += warning.to_string() + "\n";
  return text;
}

std::string found(std::string_view text, const PlanOptions& with = options(true)) {
  const LintReport report = check(text, with);
  return short_form(report) + (report.error ? "error: " + report.error->message() : "");
}

nlohmann::json as_json(LintReport report) {
  std::stable_sort(report.warnings.begin(), report.warnings.end(), [](const LintWarning& a, const LintWarning& b) {
    return std::tie(a.line, a.detail) < std::tie(b.line, b.detail);
  });
  auto list = nlohmann::json::array();
  for (const LintWarning& warning : report.warnings)
    list.push_back({{"rule", warning.rule},
                    {"description", warning.description},
                    {"url", warning.url},
                    {"detail", warning.detail},
                    {"line", warning.line},
                    {"level", warning.level}});
  return list;
}

}  // namespace

TEST_CASE("corpus: BuildKit's own cases of its checks") {
  if (!corpus::present()) return;
  for (const auto& entry : corpus::json("dockerfile-lint/cases.json")) {
    INFO(entry["id"].get<std::string>());
    PlanOptions with = options(false);
    if (entry.contains("build_args"))
      for (const auto& [key, value] : entry["build_args"].items()) with.build_args.emplace_back(key, value);
    const auto ignore = IgnorePatterns::parse(entry.value("dockerignore", ""));
    REQUIRE_OK(ignore);
    with.ignore = &*ignore;
    const std::string text = entry["dockerfile"];
    const LintReport report = check(text, with);
    CHECK(as_json(report) == entry["warnings"]);  // by line and detail
    CHECK((report.error ? report.error->message() : "") == entry.value("error", ""));
    if (entry.contains("error")) CHECK(report.error_line == entry["error_line"].get<int>());
    with.all_stages = true;
    CHECK(as_json(check(text, with)) == entry["check_warnings"]);
  }
}

TEST_CASE("corpus: the checks of all Dockerfiles") {
  if (!corpus::present()) return;
  // Not one file may have another finding or another error than BuildKit's, nor use what Dray does not have.
  std::set<std::string> different;
  std::string shown;
  for (const char* folder : {"dockerfiles-real", "dockerfiles-buildkit-inline"}) {
    for (const auto& directory : corpus::cases(folder)) {
      const auto expected = nlohmann::json::parse(corpus::read(directory / "expected.json"));
      const LintReport report = check(corpus::read(directory / "Dockerfile"));
      auto findings = nlohmann::json::array();
      for (const LintWarning& warning : report.warnings)
        findings.push_back({{"rule", warning.rule}, {"detail", warning.detail}, {"line", warning.line}});
      nlohmann::json wanted = expected.value("lint", nlohmann::json::array());
      if (wanted.is_null()) wanted = nlohmann::json::array();
      nlohmann::json error, wanted_error = expected.value("lint_error", nlohmann::json());
      if (report.error) {
        error["message"] = report.error->message();
        if (report.error_line > 0) error["line"] = report.error_line;
      }
      if (findings == wanted && error == wanted_error) continue;
      different.insert(directory.filename());
      shown += directory.filename().string() + "\n";
      if (findings != wanted) shown += "  is      " + findings.dump() + "\n  must be " + wanted.dump() + "\n";
      if (error != wanted_error) shown += "  error   " + error.dump() + "\n  must be " + wanted_error.dump() + "\n";
    }
  }
  INFO(shown);
  CHECK(different.empty());
}

TEST_CASE("empty continuation lines") {
  CHECK(found("FROM a\nRUN one \\\n\n  two\n") == "NoEmptyContinuation: Empty continuation line (line 4)\n");
  CHECK(found("FROM a\nRUN one \\\n  # no\n  two\n") == "");
}

TEST_CASE("casing of FROM, AS, stage names and instructions") {
  CHECK(found("FROM a as b\n") == "FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)\n");
  CHECK(found("from a AS b\n") == "FromAsCasing: 'AS' and 'from' keywords' casing do not match (line 1)\n");
  CHECK(found("FROM a AS Big\n") == "StageNameCasing: Stage name 'Big' should be lowercase (line 1)\n");
  CHECK(found("FROM a\nWorkDir /x\n") ==
        "ConsistentInstructionCasing: Command 'WorkDir' should match the case of the command majority (uppercase) "
        "(line 2)\n");
  CHECK(found("from a\nrun x\n") == "");
}

TEST_CASE("names of stages") {
  CHECK(found("FROM a AS b\nFROM a AS b\n") ==
        "DuplicateStageName: Duplicate stage name \"b\", stage names should be unique (line 2)\n");
  CHECK(found("FROM a AS context\n") ==
        "ReservedStageName: Stage name should not use the same name as reserved stage \"context\" (line 1)\n");
}

TEST_CASE("instructions that count once, shell forms, legacy forms") {
  CHECK(found("FROM a\nCMD [\"x\"]\nCMD [\"y\"]\nCMD [\"z\"]\n") ==
        "MultipleInstructionsDisallowed: Multiple CMD instructions should not be used in the same stage because only "
        "the last one will be used (line 2)\n"
        "MultipleInstructionsDisallowed: Multiple CMD instructions should not be used in the same stage because only "
        "the last one will be used (line 3)\n");
  CHECK(found("FROM a AS b\nCMD [\"x\"]\nFROM b\nCMD [\"y\"]\n") == "");
  CHECK(found("FROM a\nENTRYPOINT x\n") ==
        "JSONArgsRecommended: JSON arguments recommended for ENTRYPOINT to prevent unintended behavior related to OS "
        "signals (line 2)\n");
  CHECK(found("FROM a\nENV x 1\nLABEL y 2\nENV z=3\n") ==
        "LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format (line 2)\n"
        "LegacyKeyValueFormat: \"LABEL key=value\" should be used instead of legacy \"LABEL key value\" format (line "
        "3)\n");
  CHECK(found("FROM a\nMAINTAINER me\n") ==
        "MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)\n");
}

TEST_CASE("names of secrets") {
  const auto secret = [](const std::string& what, const std::string& name) {
    return "SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (" + what + " \"" + name +
           "\") (line 2)\n";
  };
  CHECK(found("FROM a\nARG API_KEY\n") == secret("ARG", "API_KEY"));
  CHECK(found("FROM a\nENV password=x\n") == secret("ENV", "password"));
  for (const char* harmless : {"PUBLIC_KEY", "TOKEN_FILE", "KEY_VERSION", "MONKEY", "tokens", "A_KEYS"})
    CHECK(found(std::string("FROM a\nARG ") + harmless + "\n") == "");
}

TEST_CASE("undefined variables") {
  CHECK(found("FROM a\nARG one\nCOPY $one ${two:-x} /\n") ==
        "UndefinedVar: Usage of undefined variable '$two' (line 3)\n");
  CHECK(found("FROM a\nENV PATH=$PAHT:/x\n") ==
        "UndefinedVar: Usage of undefined variable '$PAHT' (did you mean $PATH?) (line 2)\n");
  CHECK(found("FROM a\nCOPY <<E /x\n$nothing\nE\n") ==
        "UndefinedVar: Usage of undefined variable '$nothing' (line 2)\n");
  CHECK(found("FROM a\nCOPY <<'E' /x\n$nothing\nE\nRUN $x\nEXPOSE $port\n") == "");
  PlanOptions with = options(true);
  with.build_args = {{"v", "1"}};
  CHECK(found("FROM a\nARG v=$nothing\n", with) == "");
  CHECK(found("FROM a\nARG v=$nothing\n") == "UndefinedVar: Usage of undefined variable '$nothing' (line 2)\n");
}

TEST_CASE("FROM: arguments, defaults, platforms") {
  CHECK(found("ARG BASE=a\nFROM $BASE$BASF\n") ==
        "UndefinedArgInFrom: FROM argument 'BASF' is not declared (did you mean BASE?) (line 2)\n");
  PlanOptions with = options(true);
  with.build_args = {{"TAG", "1"}};
  CHECK(found("ARG TAG\nFROM a:$TAG\n", with) ==
        "InvalidDefaultArgInFrom: Default value for ARG a:$TAG results in empty or invalid base image name (line 2)\n");
  CHECK(found("FROM --platform=$TARGETPLATFORM a\n") ==
        "RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the "
        "default behavior (line 1)\n");
  CHECK(found("FROM --platform=$BUILDPLATFORM a\n") == "");
  CHECK(found("FROM --platform=linux/amd64 a AS b\n") ==
        "FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value \"linux/amd64\" (line "
        "1)\n");
  CHECK(found("FROM --platform=linux/amd64 a AS b-amd64\n") == "");
  image::ImageConfig other = stub();
  other.platform.architecture = "arm64";
  const LintReport report = check("FROM a\n", options(true), other);
  REQUIRE(report.warnings.size() == 1);
  CHECK(report.warnings[0].to_string() ==
        "InvalidBaseImagePlatform: Base image a was pulled with platform \"linux/arm64\", expected \"linux/amd64\" for "
        "current build (line 1)");
  CHECK(report.warnings[0].url.empty());
}

TEST_CASE("relative working directories") {
  CHECK(found("FROM a\nWORKDIR b\nWORKDIR c\n") ==
        "WorkdirRelativePath: Relative workdir \"b\" can have unexpected results if the base image changes (line 2)\n");
  CHECK(found("FROM a AS b\nWORKDIR /x\nFROM b\nWORKDIR y\n") == "");
}

TEST_CASE("ports") {
  CHECK(found("FROM a\nEXPOSE 80/TCP\n") ==
        "ExposeProtoCasing: Defined protocol '80/TCP' in EXPOSE instruction should be lowercase (line 2)\n");
  CHECK(found("FROM a\nEXPOSE 127.0.0.1:80:80 81:81\n") ==
        "ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found "
        "'127.0.0.1:80:80' (line 2)\n"
        "ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '81:81' "
        "(line 2)\n");
  CHECK(found("FROM a\nEXPOSE 80 90/udp 1-3/sctp\n") == "");
}

TEST_CASE("copying what .dockerignore excludes") {
  const auto copied = [](const char* ignore, const std::string& source) {
    const auto patterns = IgnorePatterns::parse(ignore);
    PlanOptions with = options(true);
    with.ignore = &*patterns;
    return !check("FROM a\nCOPY " + source + " /x\n", with).warnings.empty();
  };
  CHECK(copied("secret\n", "secret"));
  CHECK(copied("secret\n", "./secret/file"));
  CHECK(copied("*\n", "."));
  CHECK(copied("*\n", "/"));
  CHECK_FALSE(copied("?\n", "."));
  CHECK_FALSE(copied("secret\n!secret/open\n", "secret"));
  CHECK_FALSE(copied("secret\n", "--from=other secret"));
  CHECK_FALSE(copied("secret\n", "open"));
}

TEST_CASE("which checks are made") {
  const std::string bad = "FROM a as b\nWORKDIR x\n";
  CHECK(found("# check=skip=all\n" + bad) == "");
  CHECK(found("# check=skip=WorkdirRelativePath, FromAsCasing\n" + bad) != "");  // the value ends at the space
  CHECK(found("# check=skip=WorkdirRelativePath,FromAsCasing\n" + bad) == "");
  CHECK(found("#!/usr/bin/env x\n# check=skip=all\n" + bad) == "");
  CHECK(found("# check=error=true;skip=FromAsCasing\n" + bad) ==
        "WorkdirRelativePath: Relative workdir \"x\" can have unexpected results if the base image changes (line 3)\n"
        "error: lint violation found for rules: WorkdirRelativePath");
  CHECK(found("FROM a\n# check=skip=WorkdirRelativePath\nWORKDIR x\n") == "");
  CHECK(found("# check=skip\n" + bad) == "error: failed to parse check options: invalid check option \"skip\"");
  CHECK(found("# check=what=all\n" + bad) == "error: failed to parse check options: invalid check option \"what\"");
  CHECK(found("# check=error=maybe\n" + bad).starts_with("error: failed to parse check options: failed to parse"));
  CHECK(found("# x\nFROM a AS b\n") == "");  // experimental
  CHECK(found("# check=experimental=all\n# x\nFROM a AS b\n") ==
        "InvalidDefinitionDescription: Comment for FROM should follow the format: `# b <description>` (line 3)\n");
}

TEST_CASE("an excerpt shows the lines around") {
  CHECK(source_excerpt("FROM a\nRUN false\n", "Dockerfile", 2, 2) ==
        "Dockerfile:2\n--------------------\n"
        "   1 |     FROM a\n   2 | >>> RUN false\n   3 |     \n--------------------\n");
  CHECK(source_excerpt("x\n", "f", 9, 9) == "");
  std::string huge = "RUN a";
  for (int i = 0; i < 100'000; ++i) huge += " \\\n && b";
  const std::string text = source_excerpt(huge, "f", 1, 100'001);
  CHECK(text.find(" 200 | >>>  && b") != std::string::npos);
  CHECK(text.find(" ... | >>> (99801 more lines)\n") != std::string::npos);
  CHECK(text.size() < 10'000);
}
