// SPDX-License-Identifier: Apache-2.0
#include "commands/bake_rights.hpp"

#include <unistd.h>

#include <filesystem>

#include "catch.hpp"
#include "commands/bake_definition.hpp"
#include "commands/build_command.hpp"

using namespace dray;
using namespace dray::cli;

namespace {

/// A working directory of its own: "here" within a folder, beside "there".
class Folder {
 public:
  Folder() {
    char name[] = "/tmp/dray-rights.XXXXXX";
    REQUIRE(::mkdtemp(name) != nullptr);
    root = std::filesystem::canonical(name).string();
    std::filesystem::create_directories(root + "/here/app");
    std::filesystem::create_directories(root + "/there");
    std::filesystem::create_symlink("../there", root + "/here/out");
    std::filesystem::create_symlink("../there/new", root + "/here/dangling");
    std::filesystem::create_symlink("loop", root + "/here/loop");
    before_ = std::filesystem::current_path();
    std::filesystem::current_path(root + "/here");
  }
  ~Folder() {
    std::filesystem::current_path(before_);
    std::filesystem::remove_all(root);
  }
  std::string root;

 private:
  std::filesystem::path before_;
};

/// "granted", or the error with its hint; the folder's name is shown as "ROOT".
std::string checked(const Folder& folder, const std::string& target, const std::vector<std::string>& allowed = {},
                    const std::vector<std::string>& sets = {}, bool check_paths = true) {
  const auto run = [&]() -> Result<void> {
    BakeOptions options;
    options.files = {{"docker-bake.json", "{\"target\": {\"default\": " + target + "}}"}};
    options.sets = sets;
    const BakePlan plan = TRY(plan_bake(options));
    BakeRights rights = TRY(BakeRights::parse(allowed, check_paths));
    for (const BakeTarget& each : plan.targets) {
      std::set<BakeRight> own;
      if (!each.own_arguments.empty()) own = TRY(rights_of(TRY(parse_build_command(each.own_arguments)).request));
      rights.want(each.name, TRY(rights_of(TRY(parse_build_command(each.arguments)).request)), own);
    }
    return rights.check();
  };
  const auto outcome = run();
  if (outcome) return "granted";
  std::string text = outcome.error().message() + " | " + outcome.error().hint();
  for (std::size_t at = 0; (at = text.find(folder.root)) != std::string::npos;)
    text.replace(at, folder.root.size(), "ROOT");
  return text;
}

}  // namespace

TEST_CASE("bake rights: the plain case needs none") {
  const Folder folder;
  for (const char* target :
       {R"({})", R"({"context": "app", "dockerfile": "../Dockerfile"})", R"({"output": ["type=local,dest=new/out"]})",
        R"({"secret": ["id=x,env=HOME", "id=HOME", "id=y,src=app/key"]})", R"({"output": ["type=tar,dest=-"]})",
        R"({"contexts": {"a": "app", "b": "docker-image://x", "c": "https://x/y.git", "d": "cwd://app"}})",
        R"({"context": "https://example.com/x.git", "dockerfile": "a/D"})", R"({"context": "git@host:a/b"})",
        R"({"cache-from": ["type=local,src=app", "user/app:cache"], "cache-to": ["type=local,dest=app"]})",
        R"({"ssh": ["key=app/key"], "network": "none", "dockerfile-inline": "FROM x"})"}) {
    INFO(target);
    CHECK(checked(folder, target) == "granted");
  }
}

TEST_CASE("bake rights: what leads out of the working directory is refused until it is granted") {
  const Folder folder;
  const std::string there = folder.root + "/there";
  struct Case {
    std::string target, flag;
  };
  const Case cases[] = {
      {R"({"network": "host"})", "network.host"},
      {R"({"entitlements": ["network.host"]})", "network.host"},
      {R"({"entitlements": ["security.insecure"]})", "security.insecure"},
      {R"({"entitlements": ["device"]})", "device"},
      {R"({"entitlements": ["device=vendor.com/a=b"]})", "device=vendor.com/a=b"},
      {R"({"ssh": ["default"]})", "ssh"},
      {R"({"ssh": ["k=../there/key"]})", "fs.read=ROOT/there/key"},
      {R"({"secret": ["id=x,src=../there/key"]})", "fs.read=ROOT/there/key"},
      {R"({"secret": ["id=../there/key"]})", "fs.read=ROOT/there/key"},
      {R"({"secret": ["type=file,id=x,src=out/key"]})", "fs.read=ROOT/there/key"},
      {R"({"context": "out", "dockerfile-inline": "FROM x"})", "fs.read=ROOT/there"},
      {R"({"context": "../there", "dockerfile-inline": "FROM x"})", "fs.read=ROOT/there"},
      {R"({"dockerfile": "out/D"})", "fs.read=ROOT/there/D"},
      {R"({"dockerfile": "app/nothing/../../../there/D"})", "fs.read=ROOT/there/D"},
      {R"({"context": "https://example.com/x.git", "dockerfile": "/etc/passwd"})", "fs.read=/etc/passwd"},
      {R"({"contexts": {"x": "/etc"}})", "fs.read=/etc"},
      {R"({"output": ["out"]})", "fs.write=ROOT/there"},
      {R"({"output": ["type=oci,dest=dangling"]})", "fs.write=ROOT/there/new"},
      {R"({"output": ["type=local,dest=/"]})", "fs.write=/"},
      {R"({"cache-to": ["type=local,dest=../there/c"]})", "fs.write=ROOT/there/c"},
      {R"({"cache-from": ["type=local,src=../there/c"]})", "fs.read=ROOT/there/c"},
      {R"({"context": "..", "dockerfile-inline": "FROM x"})", "fs.read=ROOT"},
      {R"({"contexts": {"x": "../here-too"}})", "fs.read=ROOT/here-too"}};
  for (const auto& [target, shown] : cases) {
    INFO(target);
    CHECK(checked(folder, target).ends_with(" | to grant it, add --allow " + shown));
    std::string flag = shown;
    if (const std::size_t at = flag.find("ROOT"); at != std::string::npos) flag.replace(at, 4, folder.root);
    CHECK(checked(folder, target, {flag}) == "granted");
    const bool is_path = flag.starts_with("fs.");
    CHECK((checked(folder, target, {"fs=*"}) == "granted") == is_path);
    CHECK((checked(folder, target, {}, {}, false) == "granted") == is_path);
    // Granting something else does not help.
    CHECK(checked(folder, target, {"fs.read=" + there + "/other", "fs.write=" + there + "/other", "device=other"}) !=
          "granted");
  }
  CHECK(checked(folder, R"({"contexts": {"x": "/etc"}})", {"fs.write=*", "network.host"}) != "granted");
  CHECK(checked(folder, R"({"contexts": {"x": "out"}})", {"fs.read=out"}) == "granted");
  CHECK(checked(folder, R"({"contexts": {"x": "loop/x"}})").contains("too many symbolic links"));
  CHECK(checked(folder, R"({"entitlements": ["device=x"]})", {"device"}) == "granted");
  CHECK(checked(folder, R"({"ssh": ["default"], "network": "host", "secret": ["id=x,src=/a'b"],
                            "output": ["/o"], "cache-from": ["type=local,src=/o"]})") ==
        "the bake file asks for more than the working directory:\n  reading /a'b (target default)\n"
        "  reading and writing /o (target default)\n  the host's network (target default)\n"
        "  the SSH agent (target default) | to grant it, add --allow 'fs.read=/a'\\''b' --allow fs=/o "
        "--allow network.host --allow ssh");
}

TEST_CASE("bake rights: --set is the user's own word") {
  const Folder folder;
  CHECK(checked(folder, "{}", {}, {"*.context=../there"}) == "granted");
  CHECK(checked(folder, "{}", {}, {"default.secret=id=x,src=/etc/passwd"}) == "granted");
  CHECK(checked(folder, "{}", {}, {"default.output+=/o"}) == "granted");
  CHECK(checked(folder, "{}", {}, {"default.entitlements=network.host", "*.ssh=default"}) == "granted");
  CHECK(checked(folder, "{}", {}, {"*.dockerfile=/d/D"}) == "granted");
  // Not what the file adds to it.
  CHECK(checked(folder, R"({"dockerfile": "../D"})", {}, {"*.context=../there"}).ends_with("--allow fs.read=ROOT/D"));
  CHECK(
      checked(folder, R"({"secret": ["id=y,src=/y"]})", {}, {"*.secret+=id=x,src=/x"}).ends_with("--allow fs.read=/y"));
}

TEST_CASE("bake rights: what is no right") {
  for (const char* text : {"", "fs", "fs.read", "fs=", "device=", "network", "network.host=x", "ssh=x", "*", "image"}) {
    INFO(text);
    const auto rights = BakeRights::parse({text}, true);
    REQUIRE_FALSE(rights);
    CHECK(rights.error().message() == std::string("invalid --allow \"") + text + "\"");
  }
}
