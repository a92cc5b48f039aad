// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <dray/core/rooted_path.hpp>
#include <dray/runtime/spec.hpp>

using namespace dray;
using runtime::resolve_user;

namespace {

struct Root {
  TempDir directory = *TempDir::create("/tmp", "dray-user-test-");
  FileDescriptor fd = *open_file(directory.path(), O_PATH | O_DIRECTORY);
  Root() { ::mkdir((directory.path() + "/etc").c_str(), 0755); }
  void write(const std::string& name, const std::string& content) {
    auto file = open_file(directory.path() + "/etc/" + name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    REQUIRE_OK(file);
    REQUIRE_OK(write_all(*file, content));
  }
};

Root make_root() {
  Root root;
  root.write("passwd",
             "root:x:0:0:root:/root:/bin/sh\nbad line\n:::::\nalice:x:1000:1000::/home/alice:/bin/sh\n"
             "1234:x:77:78::/seven:\nbig:x:99999999999:1::/:\nevil:x:5:5::/e\tLD_PRELOAD=/x:/bin/sh\n"
             "bob:x:1001:1001::/home/bob:/bin/sh");
  root.write(
      "group",
      "root:x:0:\nalice:x:1000:\naudio:x:29:alice,bob\nvideo:x:44:bob,alice\nnone:x:nope:alice\nlast:x:9:xalice");
  return root;
}

}  // namespace

TEST_CASE("users are read as Docker reads them", "[runtime]") {
  Root root = make_root();
  struct Row {
    const char* text;
    std::uint32_t uid, gid;
    std::vector<std::uint32_t> groups;  ///< beside its own, which comes first
    const char* home;
  };
  const Row rows[] = {
      {"", 0, 0, {}, "/root"},
      {"0", 0, 0, {}, "/root"},
      {"alice", 1000, 1000, {29, 44}, "/home/alice"},
      {"1000", 1000, 1000, {29, 44}, "/home/alice"},
      {"alice:audio", 1000, 29, {}, "/home/alice"},
      {"alice:5", 1000, 5, {}, "/home/alice"},
      {"alice:", 1000, 1000, {29, 44}, "/home/alice"},
      {"bob", 1001, 1001, {29, 44}, "/home/bob"},
      {"1", 1, 0, {}, "/"},
      {"1:2", 1, 2, {}, "/"},
      {":2", 0, 2, {}, "/root"},
      {"1234", 77, 78, {}, "/seven"},
      {"2147483647", 2147483647, 0, {}, "/"},
      {"evil", 5, 5, {}, "/"},
  };
  for (const auto& row : rows) {
    INFO(row.text);
    auto user = resolve_user(root.fd.get(), row.text);
    REQUIRE_OK(user);
    CHECK(user->user.uid == row.uid);
    CHECK(user->user.gid == row.gid);
    std::vector<std::uint32_t> groups = {row.gid};
    groups.insert(groups.end(), row.groups.begin(), row.groups.end());
    CHECK(user->user.additional_gids == groups);
    CHECK(user->home == row.home);
  }
}

TEST_CASE("a user that cannot be exact is an error, never root", "[runtime]") {
  Root root = make_root();
  for (const char* text :
       {"0x1", "-1", "4294967295", "4294967296", "2147483648", "2147483648:0", "0:4294967296", "1abc", "nobody",
        "alice:nogroup", "1:2:3", "big", " 1", "+1", "99999999999999999999999", "alice:-1"}) {
    INFO(text);
    CHECK_FALSE(resolve_user(root.fd.get(), text));
  }
}

TEST_CASE("additional groups are found by name and by number, once each", "[runtime]") {
  Root root = make_root();
  auto user = resolve_user(root.fd.get(), "alice", {"audio", "7", "29"});
  REQUIRE_OK(user);
  CHECK(user->user.additional_gids == std::vector<std::uint32_t>{1000, 29, 44, 7});
  CHECK_FALSE(resolve_user(root.fd.get(), "alice", {"nogroup"}));
}

TEST_CASE("hostile user databases", "[runtime]") {
  Root root;
  std::string passwd = root.directory.path() + "/etc/passwd";
  SECTION("none at all") {
    auto user = resolve_user(root.fd.get(), "12:34");
    REQUIRE_OK(user);
    CHECK(user->user.uid == 12);
    CHECK(user->user.gid == 34);
    CHECK_FALSE(resolve_user(root.fd.get(), "alice"));
  }
  SECTION("a FIFO does not hang") {
    REQUIRE(::mkfifo(passwd.c_str(), 0644) == 0);
    CHECK_FALSE(resolve_user(root.fd.get(), "root"));
  }
  SECTION("a symlink stays in the root") {
    REQUIRE(::symlink("../../../../../../etc/passwd", passwd.c_str()) == 0);
    CHECK_FALSE(resolve_user(root.fd.get(), "root"));
  }
  SECTION("a sparse giant is refused") {
    auto file = open_file(passwd, O_WRONLY | O_CREAT, 0644);
    REQUIRE_OK(file);
    REQUIRE(::ftruncate(file->get(), 2LL << 30) == 0);
    CHECK_FALSE(resolve_user(root.fd.get(), "root"));
  }
  SECTION("one endless line and NUL bytes") {
    root.write("passwd", std::string(1u << 20, 'x') + "\n" + std::string("a\0b:x:1:1::/:\n", 14) + "ok:x:3:3::/:\n");
    auto user = resolve_user(root.fd.get(), "ok");
    REQUIRE_OK(user);
    CHECK(user->user.uid == 3);
  }
}
