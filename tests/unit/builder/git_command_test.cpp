// SPDX-License-Identifier: Apache-2.0
// Who gets a password, and what stops a git that does not stop.
#include <sys/stat.h>

#include <cstdlib>
#include <map>

#include <dray/core/fd.hpp>

#include "catch.hpp"
#include "source/credentials.hpp"
#include "source/git_command.hpp"

using namespace dray;
using namespace dray::builder;

namespace {

Result<GitAccess> access_to(const std::string& remote, const std::map<std::string, std::string>& secrets = {}) {
  return git_access(remote, [&](const std::string& id) -> Result<std::optional<std::string>> {
    const auto found = secrets.find(id);
    return found == secrets.end() ? std::nullopt : std::optional<std::string>(found->second);
  });
}

/// A program called git that comes first in PATH.
class FakeGit {
 public:
  explicit FakeGit(const std::string& script) : path_(std::getenv("PATH")) {
    const std::string file = directory_.path() + "/git";
    REQUIRE_OK(write_file_atomically(file, "#!/bin/sh\n" + script, 0755, Durability::none));
    REQUIRE(::chmod(file.c_str(), 0755) == 0);
    REQUIRE(::setenv("PATH", (directory_.path() + ":" + path_).c_str(), 1) == 0);
  }
  FakeGit(const FakeGit&) = delete;
  FakeGit& operator=(const FakeGit&) = delete;
  ~FakeGit() { ::setenv("PATH", path_.c_str(), 1); }

  static Result<std::string> run(const GitLimits& limits) {
    const CancelToken cancel;
    return GitCommand(cancel).run("", {"fetch"}, limits);
  }
  static std::string error(const GitLimits& limits) {
    const auto output = run(limits);
    return output ? "none" : output.error().message();
  }

 private:
  std::string path_;
  TempDir directory_ = TempDir::create("/tmp", "dray-unit-").value();
};

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("a password in a git URL becomes a header for its host") {
  const GitAccess plain = access_to("https://host:81/x.git").value();
  CHECK(plain.remote == "https://host:81/x.git");
  CHECK(plain.scope == "https://host:81/");
  CHECK(plain.authorization.empty());
  const GitAccess both = access_to("https://u%40x:p:%2f@host/a@b.git", {{"GIT_AUTH_TOKEN", "t"}}).value();
  CHECK(both.remote == "https://host/a@b.git");
  CHECK(both.scope == "https://host/");
  CHECK(both.authorization == "basic dUB4OnA6Lw==");  // u@x:p:/
  CHECK(access_to("https://token@host/x.git").value().authorization == "basic dG9rZW46");
  CHECK(access_to("https://git@host/x.git", {{"GIT_AUTH_HEADER", "bearer t\n"}}).value().authorization == "bearer t");
  CHECK(access_to("http://u:p@host/x.git", {{"GIT_AUTH_TOKEN", "t"}}).value().authorization == "basic dTpw");
  CHECK(access_to("ssh://git:p@host/x").value().remote == "ssh://git@host/x");
  CHECK(access_to("ssh://git@host/x").value().remote == "ssh://git@host/x");
  CHECK(access_to("git@host:x").value().remote == "git@host:x");
}

TEST_CASE("a token of every host is not sent unencrypted") {
  const std::string sent = "basic eC1hY2Nlc3MtdG9rZW46dA==";  // x-access-token:t
  CHECK(access_to("https://host/x.git", {{"GIT_AUTH_TOKEN", "t"}}).value().authorization == sent);
  const auto refused = access_to("http://host/x.git", {{"GIT_AUTH_TOKEN", "t"}});
  REQUIRE_FALSE(refused.has_value());
  CHECK(has(refused.error().message(), "not sent unencrypted to http://host/"));
  CHECK_FALSE(access_to("http://host/x.git", {{"GIT_AUTH_HEADER", "bearer t"}}).has_value());
  CHECK(access_to("http://host/x.git", {{"GIT_AUTH_TOKEN.host", "t"}}).value().authorization == sent);
  CHECK(access_to("https://other/x.git", {{"GIT_AUTH_TOKEN.host", "t"}}).value().authorization.empty());
  CHECK_FALSE(access_to("https://host/x.git", {{"GIT_AUTH_HEADER", "a\nX: b"}}).has_value());
}

TEST_CASE("git has a limit of output and of time") {
  using namespace std::chrono_literals;
  {
    const FakeGit git("printf '%s' abc; echo noise >&2");
    CHECK(FakeGit::run({}).value() == "abc");
  }
  {
    const FakeGit git("exec yes");
    CHECK(FakeGit::error({.output = 1u << 16}) == "git fetch: said too much");
  }
  {
    const FakeGit git("exec yes >&2");
    CHECK(FakeGit::error({.output = 1u << 16}) == "git fetch: said too much");
  }
  {
    const FakeGit git("exec sleep 60");
    CHECK(FakeGit::error({.total = 200ms}) == "git fetch: took too long");
    CHECK(has(FakeGit::error({.stall = 300ms}), "nothing comes from the other side"));
  }
  {
    const FakeGit git("for i in 1 2 3 4 5 6 7 8; do sleep 0.1; done; echo done");  // slow, and not stuck
    CHECK(FakeGit::run({.stall = 500ms}).value() == "done\n");
  }
}
