// SPDX-License-Identifier: Apache-2.0
// Which driver a new store gets, and what is said about it.
#include <linux/capability.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "failing_call.hpp"
#include "support.hpp"

using namespace dray;
using namespace dray::store;
using namespace dray::store::test;

TEST_CASE("the driver of a store is chosen once", "[store][vfs]") {
  TestStore vfs(StorageDriver::vfs), overlay(StorageDriver::overlay);
  CHECK(Store::open(vfs->root()).value()->snapshots().driver() == StorageDriver::vfs);
  CHECK(Store::open(overlay->root()).value()->snapshots().driver() == StorageDriver::overlay);
  const auto other = Store::open(vfs->root(), StorageDriver::overlay);
  REQUIRE_FALSE(other);
  CHECK(other.error().message() == "opening the store: the store has storage driver \"vfs\", not \"overlay\"");
  CHECK(other.error().hint().starts_with("leave --storage-driver out"));
  const auto third = Store::open(overlay->root(), DriverWish(StorageDriver::vfs, "$DRAY_STORAGE_DRIVER"));
  REQUIRE_FALSE(third);
  CHECK(third.error().hint().starts_with("leave $DRAY_STORAGE_DRIVER out"));
  CHECK(parse_storage_driver("overlay2").value() == StorageDriver::overlay);
  CHECK_FALSE(parse_storage_driver("btrfs").has_value());
}

TEST_CASE("a new store without a wish", "[store][vfs]") {
  if (!is_root()) return;
  const TempDir directory = *TempDir::create(temp_parent(), "dray-store-test-");
  const std::string root = directory.path() + "/root";
  const auto opened_while = [&](int number) {
    Result<std::shared_ptr<Store>> store = fail(ErrorCode::internal, "not run");
    dray::test::with_failing_call(SYS_fsopen, number, [&] { store = Store::open(root); });
    return store;
  };
  // A module that can't be loaded now may be there after a boot: nothing is chosen.
  const auto missing = opened_while(ENODEV);
  REQUIRE_FALSE(missing);
  CHECK(missing.error().hint().find("modprobe overlay") != std::string::npos);
  CHECK(missing.error().hint().find("--storage-driver vfs") != std::string::npos);
  {
    const auto refused = opened_while(EINVAL);
    REQUIRE_OK(refused);
    CHECK((*refused)->snapshots().driver() == StorageDriver::vfs);
    CHECK((*refused)->snapshots().fallback_reason().find("opening the overlay file system: ") != std::string::npos);
  }
  CHECK((*Store::open(root))->snapshots().fallback_reason().empty());
  CHECK((*Store::open(directory.path() + "/asked", StorageDriver::vfs))->snapshots().fallback_reason().empty());
}

TEST_CASE("who may mount nothing gets an overlay store", "[store][vfs]") {
  if (!is_root()) return;
  const TempDir directory = *TempDir::create(temp_parent(), "dray-store-test-");
  const pid_t child = ::fork();
  if (child == 0) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {};
    if (::syscall(SYS_capget, &header, data) != 0) ::_exit(2);
    data[0].effective &= ~(1u << CAP_SYS_ADMIN);
    data[0].permitted &= ~(1u << CAP_SYS_ADMIN);
    if (::syscall(SYS_capset, &header, data) != 0) ::_exit(3);
    const auto store = Store::open(directory.path() + "/root");
    ::_exit(store && (*store)->snapshots().driver() == StorageDriver::overlay ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(status == 0);
}
