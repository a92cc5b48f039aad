// SPDX-License-Identifier: Apache-2.0
#include "builder/ops/mode_change.hpp"

#include <sys/stat.h>

#include "catch.hpp"

using namespace dray;
using namespace dray::builder;

namespace {

mode_t changed(const char* text, mode_t mode) {
  const auto change = ModeChange::parse(text);
  INFO(text);
  REQUIRE_OK(change);
  return change->apply(mode);
}

}  // namespace

TEST_CASE("chmod: octal and symbolic modes") {
  CHECK(changed("", S_IFREG | 0640) == 0640);
  CHECK(changed("755", S_IFREG | 0640) == 0755);
  CHECK(changed("4755", S_IFREG | 0640) == 04755);
  CHECK(changed("0", S_IFREG | 0640) == 0);
  CHECK(changed("u+rwX,go-w", S_IFREG | 0466) == 0644);
  CHECK(changed("u+rwX,go-w", S_IFREG | 0477) == 0755);
  CHECK(changed("a+X", S_IFREG | 0600) == 0600);
  CHECK(changed("a+X", S_IFREG | 0700) == 0711);
  CHECK(changed("a+X", S_IFDIR | 0600) == 0711);
  CHECK(changed("go=", S_IFREG | 0777) == 0700);
  CHECK(changed("a=r", S_IFREG | 04755) == 0444);
  CHECK(changed("=rw", S_IFREG | 0111) == 0666);
  CHECK(changed("g=u", S_IFREG | 0750) == 0770);
  CHECK(changed("o=g,g=", S_IFREG | 0750) == 0705);
  CHECK(changed("u+s", S_IFREG | 0755) == 04755);
  CHECK(changed("o+s", S_IFREG | 0755) == 0755);
  CHECK(changed("+t", S_IFDIR | 0777) == 01777);
  CHECK(changed("u+x-w", S_IFREG | 0600) == 0500);
  CHECK(changed("-x", S_IFREG | 0755) == 0644);
  CHECK(changed("a-X", S_IFREG | 0755) == 0644);
  CHECK(changed("u=rwx,g=rX,o=", S_IFREG | 0600) == 0740);
}

TEST_CASE("chmod: what is refused, and directories on the way") {
  for (const char* text :
       {"8", "778", "10000", "-1", "u", "u+q", "rwx", "u+r,", ",", "0x1", "u~r", "99999999999999999999"}) {
    INFO(text);
    CHECK_FALSE(ModeChange::parse(text));
  }
  CHECK(ModeChange::parse("4700")->for_new_directories() == 0700);
  CHECK(ModeChange::parse("u+x")->for_new_directories() == 0755);
  CHECK(ModeChange::parse("")->apply(0751) == 0751);
}
