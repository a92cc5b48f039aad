// SPDX-License-Identifier: Apache-2.0
// Capability names and rules, and the default spec.

#include "catch.hpp"

#include <algorithm>

#include <dray/core/fd.hpp>
#include <dray/runtime/sealed_program.hpp>
#include <dray/runtime/spec.hpp>

using namespace dray;
using namespace dray::runtime;
using Names = std::vector<std::string>;

static bool has(const Names& names, const char* name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

TEST_CASE("the default capabilities are Docker's 00000000a80425fb") {
  Names all = all_capabilities();
  std::uint64_t mask = 0;
  for (const std::string& name : default_capabilities()) {
    auto at = std::find(all.begin(), all.end(), name);
    REQUIRE(at != all.end());
    mask |= std::uint64_t{1} << (at - all.begin());
  }
  REQUIRE(mask == 0xa80425fb);
}

TEST_CASE("unknown capabilities are refused") {
  for (const char* bad : {"", "CAP_", "NET", "CAP_CAP_NET_RAW", "ALL ", "NET_RAW,KILL"}) {
    INFO(bad);
    auto added = adjust_capabilities(default_capabilities(), {bad}, {});
    REQUIRE(!added);
    REQUIRE(added.error().code() == ErrorCode::invalid_argument);
    REQUIRE(!adjust_capabilities(default_capabilities(), {}, {bad}));
  }
}

TEST_CASE("adding and dropping capabilities follows Docker") {
  auto plain = adjust_capabilities(default_capabilities(), {}, {});
  REQUIRE_OK(plain);
  REQUIRE(*plain == default_capabilities());
  auto one = adjust_capabilities(default_capabilities(), {"net_admin", "CAP_NET_ADMIN"}, {"Mknod"});
  REQUIRE_OK(one);
  REQUIRE(one->size() == 14);
  REQUIRE(has(*one, "CAP_NET_ADMIN"));
  REQUIRE(!has(*one, "CAP_MKNOD"));
  auto only = adjust_capabilities(default_capabilities(), {"CHOWN"}, {"all"});
  REQUIRE_OK(only);
  REQUIRE(*only == Names{"CAP_CHOWN"});
  auto none = adjust_capabilities(default_capabilities(), {}, {"ALL"});
  REQUIRE_OK(none);
  REQUIRE(none->empty());
  auto most = adjust_capabilities(default_capabilities(), {"ALL"}, {"SYS_ADMIN"});
  REQUIRE_OK(most);
  REQUIRE(most->size() == all_capabilities().size() - 1);
  REQUIRE(!has(*most, "CAP_SYS_ADMIN"));
}

TEST_CASE("the default spec leaves no inheritable or ambient capability and hides what Docker hides") {
  Spec spec = make_default_spec();
  REQUIRE(spec.process.capabilities.inheritable.empty());
  REQUIRE(spec.process.capabilities.ambient.empty());
  REQUIRE(spec.process.capabilities.bounding == default_capabilities());
  for (const char* path : {"/proc/kcore", "/proc/keys", "/proc/interrupts", "/sys/firmware"})
    REQUIRE(has(spec.masked_paths, path));
  for (const char* path : {"/proc/sys", "/proc/sysrq-trigger"}) REQUIRE(has(spec.readonly_paths, path));
  REQUIRE(!spec.resources.devices.empty());
  REQUIRE(!spec.resources.devices.front().allow);
  REQUIRE(spec.resources.devices.front().type == 'a');
  for (const Mount& mount : spec.mounts)
    if (mount.type == "sysfs" || mount.type == "cgroup") REQUIRE(has(mount.options, "ro"));
}

TEST_CASE("who may look into processes that join a container") {
  auto directory = TempDir::create("/tmp", "dray-sealed-");
  REQUIRE_OK(directory);
  const std::string path = directory->path();
  CHECK_FALSE(is_seen_inside(path, {"CAP_CHOWN"}));
  CHECK(is_seen_inside(path, {"CAP_CHOWN", "CAP_SYS_PTRACE"}));
  REQUIRE_OK(note_who_sees(path, {"CAP_CHOWN"}));
  CHECK_FALSE(is_seen_inside(path, {}));
  REQUIRE_OK(note_who_sees(path, {"CAP_SYS_PTRACE"}));
  CHECK(is_seen_inside(path, {}));
}
