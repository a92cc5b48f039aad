// SPDX-License-Identifier: Apache-2.0
#include <semaphore>

#include "../../../src/store/snapshotter_state.hpp"
#include "support.hpp"

using namespace dray;
using namespace dray::store;
using namespace dray::store::test;

namespace {

std::atomic<int> calls;
std::binary_semaphore go_on{0};

int wait_and_succeed(int) {
  ++calls;
  go_on.acquire();
  return 0;
}

int fail_as_a_bad_disk(int) {
  ++calls;
  errno = EIO;
  return -1;
}

}  // namespace

TEST_CASE("one early sync at a time", "[store]") {
  const FileDescriptor directory = open_file("/", O_RDONLY | O_DIRECTORY).value();
  calls = 0;
  {
    EarlySync sync(&wait_and_succeed);
    for (int i = 0; i < 3; ++i) sync.start(directory, [] {});
    go_on.release();
    CHECK(sync.check());
  }
  CHECK(calls == 1);
}

TEST_CASE("an early sync that failed is known before anybody is told, and stays so", "[store]") {
  const FileDescriptor directory = open_file("/", O_RDONLY | O_DIRECTORY).value();
  std::binary_semaphore told{0};
  bool was_known = false;
  EarlySync sync(&fail_as_a_bad_disk);
  sync.start(directory, [&] {
    was_known = !sync.check();
    told.release();
  });
  told.acquire();
  CHECK(was_known);
  CHECK(sync.check().error().error_number() == EIO);
}

TEST_CASE("after a sync that failed, only the layers that were durable before are there", "[store][snapshot]") {
  if (!is_root()) return;
  TestStore store;
  const std::string kept = TarBuilder().file("kept", "1").text(), lost = TarBuilder().file("lost", "1").text();
  REQUIRE_OK(unpack(*store, kept));
  REQUIRE_OK(store->snapshots().make_durable());
  const std::string active = *store->snapshots().prepare({diff_id_of(kept)});
  REQUIRE_OK(unpack(*store, lost));
  SnapshotterAccess::forget_pending(*store->database(), store->snapshots().boot_id());
  REQUIRE_OK(store->snapshots().make_durable());
  CHECK(store->snapshots().contains(diff_id_of(kept)));
  CHECK_FALSE(store->snapshots().contains(diff_id_of(lost)));
  REQUIRE_OK(open_mount(*store->snapshots().mount_recipe(active)));
  REQUIRE_OK(unpack(*store, lost));
  CHECK(store->snapshots().contains(diff_id_of(lost)));
}
