// SPDX-License-Identifier: Apache-2.0
#include "builder/source/git_reference.hpp"

#include <nlohmann/json.hpp>

#include "corpus.hpp"

using namespace dray;
using namespace dray::builder;

namespace {

GitReference parsed(const std::string& text) {
  const auto reference = parse_git_reference(text);
  INFO(text);
  REQUIRE_OK(reference);
  REQUIRE(reference->has_value());
  return **reference;
}

}  // namespace

TEST_CASE("git references: options in the fragment and in the query") {
  const GitReference plain = parsed("ssh://git@example.com:2222/team/app.git#v1:src/app");
  CHECK(plain.remote == "ssh://git@example.com:2222/team/app.git");
  CHECK(plain.short_name == "app");
  CHECK(plain.ref == "v1");
  CHECK(plain.subdirectory == "src/app");
  CHECK_FALSE(plain.unencrypted);
  CHECK(parsed("HTTP://example.com/a.git").remote == "http://example.com/a.git");
  CHECK(parsed("git://example.com/a").unencrypted);
  CHECK(parsed("github.com/team/app").url() == "https://github.com/team/app");

  const GitReference all = parsed(
      "https://example.com/a.git?branch=main&subdir=b%20c&commit=abc&keep-git-dir=1&submodules=false&mtime=commit"
      "&fetch-by-commit=true");
  CHECK(all.ref == "refs/heads/main");
  CHECK(all.subdirectory == "b c");
  CHECK(all.checksum == "abc");
  CHECK(all.keep_git_dir == true);
  CHECK(all.submodules == false);
  CHECK(all.file_times == GitReference::FileTimes::commit);
  CHECK(all.fetch_by_commit);
  CHECK(parsed("git@example.com:team/app.git?tag=refs/tags/v1").ref == "refs/tags/v1");
}

TEST_CASE("what is no git reference, and what is a wrong one") {
  for (const char* text : {"", ".", "dir", "dir/.git", "ftp://example.com/a.git", "file:///a.git", "ext::sh -c id",
                           "https://example.com/a.git/", "https://example.com/a.tar.gz#b.git", "/github.com/a"}) {
    INFO(text);
    const auto reference = parse_git_reference(text);
    REQUIRE_OK(reference);
    CHECK_FALSE(reference->has_value());
  }
  for (const char* text :
       {"https://example.com/a.git?ref=a&ref=b", "https://example.com/a.git?ref=", "https://example.com/a.git?a;b",
        "https://example.com/a.git#%zz", "https://example.com/a.git#%4", "https://example.com/a.git?keep-git-dir=maybe",
        "https://example.com/a.git?subdir=a#v1:b", "https://example.com/a\n.git", "git@example.com:a?mtime=now"}) {
    INFO(text);
    CHECK_FALSE(parse_git_reference(text));
  }
}

TEST_CASE("corpus: git references") {
  if (!corpus::present()) return;
  std::size_t count = 0;
  for (const auto& entry : corpus::json("git-ref/cases.json")) {
    INFO(entry.dump());
    ++count;
    const auto reference = parse_git_reference(entry["input"].get<std::string>());
    if (!entry["error"].is_null()) {
      REQUIRE_FALSE(reference);
      CHECK(reference.error().message().find(entry["error"].get<std::string>()) != std::string::npos);
      continue;
    }
    REQUIRE_OK(reference);
    REQUIRE(reference->has_value() == !entry["expected"].is_null());
    if (!reference->has_value()) continue;
    const auto& expected = entry["expected"];
    const GitReference& got = **reference;
    CHECK(got.remote == expected.value("Remote", ""));
    CHECK(got.short_name == expected.value("ShortName", ""));
    CHECK(got.ref == expected.value("Ref", ""));
    CHECK(got.subdirectory == expected.value("SubDir", ""));
    CHECK(got.checksum == expected.value("Checksum", ""));
    CHECK(got.looks_local == expected.value("IndistinguishableFromLocal", false));
    const std::string times = expected.value("MTime", "");
    CHECK(got.file_times.has_value() == !times.empty());
    if (!times.empty()) CHECK((got.file_times == GitReference::FileTimes::commit) == (times == "commit"));
  }
  CHECK(count == 20);
}
