// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <sys/wait.h>

#include "support.hpp"

using namespace dray;
using namespace dray::store;
using namespace dray::store::test;

namespace {
const std::string kName = "docker.io/library/test:latest";
std::string layer(const std::string& content) { return TarBuilder().file("f", content).text(); }
}  // namespace

TEST_CASE("images are found by name, ID and prefix", "[store][images]") {
  if (!is_root()) return;
  TestStore store;
  auto record = put_test_image(*store, kName, {layer("1")});
  CHECK(store->resolve_image("test")->manifest == record.manifest);
  CHECK(store->resolve_image("docker.io/library/test:latest")->manifest == record.manifest);
  CHECK(store->resolve_image(record.image_id.to_string())->manifest == record.manifest);
  CHECK(store->resolve_image(record.image_id.short_hex())->manifest == record.manifest);
  CHECK(store->resolve_image("test@" + record.manifest.to_string())->manifest == record.manifest);
  CHECK(store->resolve_image("other@" + record.manifest.to_string()).error().code() == ErrorCode::not_found);
  auto missing = store->resolve_image("test:other");
  CHECK(missing.error().code() == ErrorCode::not_found);
  CHECK(missing.error().message() == "no such image: test:other");
  // Seventeen images cannot have IDs with different first digits.
  for (int i = 0; i < 17; ++i) put_test_image(*store, "", {layer("n" + std::to_string(i))});
  int ambiguous = 0;
  for (char digit : std::string("0123456789abcdef")) {
    auto found = store->resolve_image(std::string(1, digit));
    if (!found && found.error().code() == ErrorCode::invalid_argument) ++ambiguous;
  }
  CHECK(ambiguous > 0);
  auto index = read_file(store->root() + "/content/index.json");
  REQUIRE_OK(index);
  CHECK(image::parse_index(*index)->manifests.size() == 18);
}

TEST_CASE("an image that loses its name stays without one", "[store][images]") {
  if (!is_root()) return;
  TestStore store;
  auto first = put_test_image(*store, kName, {layer("1")});
  auto second = put_test_image(*store, kName, {layer("2")});
  REQUIRE(store->list_images()->size() == 2);
  CHECK(store->resolve_image("test")->manifest == second.manifest);
  CHECK(store->resolve_image(first.image_id.to_string())->reference.empty());
  // It gets a name: then it is not nameless any more.
  auto named = first;
  named.reference = "docker.io/library/old:latest";
  named.repo_digests = {"docker.io/library/old@" + first.manifest.to_string()};
  REQUIRE_OK(store->put_image(named));
  CHECK(store->list_images()->size() == 2);
  CHECK(store->find_image(*Reference::parse("old@" + first.manifest.to_string()))->has_value());
  // One image under two names loses one of them: nothing else to keep.
  auto again = second;
  again.reference = named.reference;
  REQUIRE_OK(store->put_image(again));
  CHECK(store->list_images()->size() == 3);
  REQUIRE_OK(store->remove_image(again));
  CHECK(store->list_images()->size() == 2);
}

TEST_CASE("an image that is not complete is not recorded", "[store][images]") {
  if (!is_root()) return;
  TestStore store;
  auto record = put_test_image(*store, kName, {layer("1")});
  REQUIRE_OK(store->remove_image(record));
  REQUIRE_OK(store->snapshots().remove_layer(diff_id_of(layer("1"))));
  CHECK(store->put_image(record).error().code() == ErrorCode::not_found);
  CHECK(store->list_images()->empty());
}

TEST_CASE("the layout's list names no image that was not recorded in the end", "[store][garbage]") {
  if (!is_root()) return;
  TestStore store;
  put_test_image(*store, kName, {layer("1")});
  const std::string path = store->root() + "/content/index.json";
  const std::string good = *read_file(path);
  auto doomed = put_test_image(*store, "docker.io/library/doomed:latest", {layer("2")});
  const std::string both = *read_file(path);
  CHECK(both.find(doomed.manifest.to_string()) != std::string::npos);
  REQUIRE_OK(store->remove_image(doomed));
  REQUIRE_OK(write_file_atomically(path, both, 0644, Durability::none));  // as if killed before its COMMIT
  REQUIRE_OK(store->collect_garbage({}));
  CHECK(*read_file(path) == good);
}

TEST_CASE("garbage collection keeps what is referred to", "[store][garbage]") {
  if (!is_root()) return;
  TestStore store;
  auto record = put_test_image(*store, kName, {layer("1"), layer("2")});
  auto doomed = put_test_image(*store, "docker.io/library/doomed:latest", {layer("1"), layer("3")});
  REQUIRE_OK(store->remove_image(doomed));
  for (const char* name : {"cached", "container", "active"}) REQUIRE_OK(unpack(*store, layer(name)));
  BuildCacheRecord cache;
  cache.key = "abc";
  cache.layer = diff_id_of(layer("cached"));
  REQUIRE_OK(store->put_build_cache(cache));
  auto active = *store->snapshots().prepare({diff_id_of(layer("active"))});
  {
    auto lease = store->lease();
    REQUIRE_OK(lease);
    CHECK(store->collect_garbage({}).error().code() == ErrorCode::in_use);
  }
  auto report = store->collect_garbage({diff_id_of(layer("container"))});
  REQUIRE_OK(report);
  CHECK(report->layers == 1);
  CHECK(report->blobs == 3);  // manifest, config, layer 3
  CHECK(report->bytes > 0);
  for (const char* name : {"1", "2", "cached", "container", "active"})
    CHECK(store->snapshots().contains(diff_id_of(layer(name))));
  CHECK(!store->snapshots().contains(diff_id_of(layer("3"))));
  REQUIRE_OK(store->load_image(record));
  REQUIRE_OK(store->snapshots().remove(active));
  REQUIRE_OK(store->clear_build_cache());
  CHECK(store->collect_garbage({})->layers == 3);
}

TEST_CASE("build cache records", "[store][cache]") {
  if (!is_root()) return;
  TestStore store;
  REQUIRE_OK(unpack(*store, layer("1")));
  BuildCacheRecord record;
  record.key = "k1";
  record.description = "[1/2] RUN x";
  REQUIRE_OK(store->put_build_cache(record));
  record.key = "k2";
  record.layer = diff_id_of(layer("1"));
  record.blob = image::Descriptor{std::string(image::kOciLayer), *store->content().write_blob("b"), 1, {}, {}, {}};
  REQUIRE_OK(store->put_build_cache(record));
  CHECK(!(*store->find_build_cache("k1"))->layer);
  auto found = *store->find_build_cache("k2");
  REQUIRE(found);
  CHECK(found->layer == record.layer);
  CHECK(found->blob->size == 1);
  CHECK(!found->last_used_at.empty());
  CHECK(!*store->find_build_cache("k3"));
  CHECK(store->list_build_cache()->size() == 2);
  // Lost by hand or by a power failure: as if it had never been.
  REQUIRE_OK(store->snapshots().remove_layer(*record.layer));
  CHECK(!*store->find_build_cache("k2"));
}

TEST_CASE("a store of the schema before is upgraded, also after it was killed half-way", "[store][cache]") {
  if (!is_root()) return;
  const auto old_version = GENERATE(2, 3);  // overlay's, vfs'
  TempDir directory = *TempDir::create(temp_parent(), "dray-store-test-");
  const std::string root = directory.path() + "/root";
  const auto driver = old_version == 2 ? StorageDriver::overlay : StorageDriver::vfs;
  {
    auto store = Store::open(root, driver);
    REQUIRE_OK(store);
    REQUIRE_OK((*store)->put_build_cache({.key = "k", .layer = {}, .blob = {}, .description = "RUN"}));
    REQUIRE_OK((*store)->database()->execute("ALTER TABLE build_cache DROP COLUMN uses"));
    REQUIRE_OK((*store)->database()->execute("PRAGMA user_version = " + std::to_string(old_version)));
  }
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    auto db = Database::open(root + "/dray.db");
    auto transaction = Database::begin(*db);
    (void)(*db)->execute("ALTER TABLE build_cache ADD COLUMN uses INTEGER NOT NULL DEFAULT 1");
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
  for (int i = 1; i < 3; ++i) {  // upgraded, then found so
    auto store = Store::open(root);
    REQUIRE_OK(store);
    CHECK((*store)->snapshots().driver() == driver);
    const auto records = (*store)->list_build_cache();
    REQUIRE_OK(records);
    REQUIRE(records->size() == 1);
    CHECK(records->front().uses == i);
    CHECK(*(*store)->find_build_cache("k"));
  }
}

TEST_CASE("opening an existing store is cheap", "[store]") {
  if (!is_root()) return;
  TestStore store;
  put_test_image(*store, kName, {layer("1")});
  auto best = std::chrono::steady_clock::duration::max();
  for (int i = 0; i < 20; ++i) {
    auto start = std::chrono::steady_clock::now();
    auto opened = Store::open(store->root());
    REQUIRE_OK(opened);
    opened->reset();
    best = std::min(best, std::chrono::steady_clock::now() - start);
  }
  auto us = std::chrono::duration_cast<std::chrono::microseconds>(best).count();
  INFO(us << " us");
  CHECK(us < 3000);  // well under 1 ms when optimised and alone
}
