// SPDX-License-Identifier: Apache-2.0
// What prune takes and what it leaves, on a store with layers made by hand.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include <dray/builder/cache.hpp>
#include <dray/builder/cache_mounts.hpp>
#include <dray/core/process.hpp>

#include "catch.hpp"
#include "export/archive.hpp"

using namespace dray;
using namespace dray::builder;

namespace {

struct Cache {
  TempDir directory = *TempDir::create("/var/tmp", "dray-cache-test-");
  std::shared_ptr<store::Store> store = *store::Store::open(directory.path() + "/root");
  CancelToken cancel;

  /// A layer with one file of `size` bytes, known by `keys`, last used `age` seconds ago.
  DiffId add(const std::string& name, std::size_t size, std::int64_t age, const std::vector<std::string>& keys) {
    const std::string active = *store->snapshots().prepare({});
    const auto recipe = store->snapshots().mount_recipe(active);
    REQUIRE_OK(recipe);
    REQUIRE_OK(write_file_atomically(recipe->upper + "/" + name, std::string(size, 'x'), 0644, Durability::none));
    auto writer = store->content().begin_write();
    REQUIRE_OK(writer);
    HashingSink tar(*writer);
    REQUIRE_OK(store->snapshots().write_diff(active, tar, cancel));
    REQUIRE_OK(tar.finish());
    store::BuildCacheRecord record;
    record.layer = DiffId{tar.digest()};
    record.blob = image::Descriptor{};
    record.blob->size = writer->size();
    record.blob->digest = *writer->commit();
    REQUIRE_OK(store->snapshots().commit(active, *record.layer));
    record.description = "RUN " + name;
    record.created_at = record.last_used_at = format_time(::time(nullptr) - age);
    for (const std::string& key : keys) {
      record.key = key;
      REQUIRE_OK(store->put_build_cache(record));
    }
    return *record.layer;
  }
  std::vector<std::string> names(const std::vector<CacheEntry>& entries) {
    std::vector<std::string> list;
    for (const CacheEntry& entry : entries) list.push_back(entry.description);
    return list;
  }
  std::vector<std::string> left() { return names(*list_cache(*store, {})); }
};

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("a layer with several keys is one entry, the least recently used comes first", "[builder]") {
  Cache cache;
  cache.add("new", 1000, 10, {"c"});
  cache.add("old", 5000, 1000, {"a", "b"});
  const auto entries = list_cache(*cache.store, {});
  REQUIRE_OK(entries);
  REQUIRE(cache.names(*entries) == Names{"RUN old", "RUN new"});
  CHECK(entries->front().keys.size() == 2);
  CHECK(entries->front().size > 10000);  // unpacked and packed
  CHECK(entries->front().id.size() == 25);
  CHECK(*cached_layer_bytes(*cache.store) == entries->front().size + entries->back().size);
}

TEST_CASE("uses are counted: the making and each finding", "[builder]") {
  Cache cache;
  cache.add("x", 10, 10, {"a", "b"});
  CHECK(list_cache(*cache.store, {})->front().uses == 1);
  REQUIRE(*cache.store->find_build_cache("a"));
  REQUIRE(*cache.store->find_build_cache("b"));
  CHECK(list_cache(*cache.store, {})->front().uses == 3);
  auto record = *cache.store->find_build_cache("a");
  REQUIRE_OK(cache.store->put_build_cache(*record));  // made again
  CHECK(list_cache(*cache.store, {})->front().uses == 5);
}

TEST_CASE("prune: all of it, by age, by room, by filter", "[builder]") {
  Cache cache;
  const DiffId held = cache.add("held", 1000, 4000, {"h"});
  cache.add("old", 50000, 3000, {"o", "p"});
  cache.add("mid", 50000, 2000, {"m"});
  cache.add("new", 50000, 10, {"n"});
  SECTION("everything that nobody shares") {
    const auto pruned = prune_cache(*cache.store, {}, {held});
    REQUIRE_OK(pruned);
    CHECK(pruned->removed.size() == 3);
    CHECK(pruned->bytes > 200000);
    CHECK_FALSE(pruned->is_deferred);
    CHECK(cache.left() == Names{"RUN held"});
    CHECK(cache.store->snapshots().contains(held));
    REQUIRE_OK(prune_cache(*cache.store, {.all = true}, {held}));
    CHECK(cache.left().empty());
    CHECK(cache.store->snapshots().contains(held));
  }
  SECTION("by age") {
    REQUIRE_OK(prune_cache(*cache.store, {.unused_for = 2500}, {}));
    CHECK(cache.left() == Names{"RUN mid", "RUN new"});
  }
  SECTION("by room: the least recently used first") {
    REQUIRE_OK(prune_cache(*cache.store, {.max_used_space = 220000}, {}));
    CHECK(cache.left() == Names{"RUN mid", "RUN new"});
    REQUIRE_OK(prune_cache(*cache.store, {.reserved_space = 150000}, {}));
    CHECK(cache.left() == Names{"RUN new"});
    REQUIRE_OK(prune_cache(*cache.store, {.reserved_space = 1u << 30, .min_free_space = ~std::uint64_t{0} / 2}, {}));
    CHECK(cache.left() == Names{"RUN new"});
    REQUIRE_OK(prune_cache(*cache.store, {.min_free_space = ~std::uint64_t{0} / 2}, {}));
    CHECK(cache.left().empty());
  }
  SECTION("by filter") {
    REQUIRE_OK(prune_cache(*cache.store, {.filters = {"description~=mi"}}, {}));
    CHECK(cache.left() == Names{"RUN held", "RUN old", "RUN new"});
    REQUIRE_OK(prune_cache(*cache.store, {.filters = {"type=exec.cachemount"}}, {}));
    CHECK(cache.left().size() == 3);
    const auto fit = [&](const std::string& filter) {
      Names found;
      const auto entries = *list_cache(*cache.store, {held});
      for (const CacheEntry& entry : entries)
        if (*fits_filters(entry, {filter})) found.push_back(entry.description);
      return found;
    };
    const Names all = {"RUN held", "RUN old", "RUN new"};
    CHECK(fit("description~=^RUN (old|x+)$") == Names{"RUN old"});
    CHECK(fit("description!=RUN old") == Names{"RUN held", "RUN new"});
    CHECK(fit("type!=exec.cachemount") == all);
    CHECK(fit("immutable") == all);
    CHECK(fit("mutable!=true") == all);
    CHECK(fit("mutable").empty());
    CHECK(fit("shared=false") == fit("private"));
    CHECK(fit("shared") == Names{"RUN held"});
    for (const char* bad : {"parents=x", "parent=x", "description~=(", "shared~=t", "id", "immutable=no"})
      CHECK_FALSE(prune_cache(*cache.store, {.filters = {bad}}, {}));
    const auto bad = prune_cache(*cache.store, {.filters = {"nonsense"}}, {});
    REQUIRE_FALSE(bad);
    CHECK(bad.error().code() == ErrorCode::invalid_argument);
    CHECK_FALSE(prune_cache(*cache.store, {.filters = {"shared=maybe"}}, {}));
  }
}

TEST_CASE("a running build defers the removal of files; a cache mount in use stays", "[builder]") {
  Cache cache;
  const DiffId layer = cache.add("x", 1000, 10, {"k"});
  {
    const auto lease = cache.store->lease();
    REQUIRE_OK(lease);
    const auto used = open_cache_mount(cache.store->root(), {.id = "/c"}, {}, {}, cache.cancel);
    REQUIRE_OK(used);
    const auto pruned = prune_cache(*cache.store, {.all = true}, {});
    REQUIRE_OK(pruned);
    CHECK(pruned->is_deferred);
    CHECK(cache.store->snapshots().contains(layer));
    CHECK(cache.left() == Names{"cache mount /c"});
  }
  cache.add("y", 1000, 10, {"l"});
  REQUIRE_OK(prune_cache(*cache.store, {.all = true}, {}));
  CHECK(cache.left().empty());
  CHECK_FALSE(cache.store->snapshots().contains(layer));
}

TEST_CASE("a layout's blob that was cut short is written again, a whole one is not", "[builder]") {
  Cache cache;
  const Digest blob = *cache.store->content().write_blob("the blob's bytes");
  const std::string layout = cache.directory.path() + "/layout";
  const std::string directory = layout + "/blobs/sha256";
  const std::string path = directory + "/" + blob.hex();
  REQUIRE_OK(make_directories(directory));
  REQUIRE_OK(write_file_atomically(path, "", 0600, Durability::none));
  REQUIRE_OK(write_layout_blob(*cache.store, blob, layout));
  CHECK(*read_file(path) == "the blob's bytes");
  struct stat before, after;
  REQUIRE(::stat(path.c_str(), &before) == 0);
  REQUIRE_OK(write_layout_blob(*cache.store, blob, layout));
  REQUIRE(::stat(path.c_str(), &after) == 0);
  CHECK(before.st_ino == after.st_ino);
  CHECK(std::distance(std::filesystem::directory_iterator(directory), std::filesystem::directory_iterator()) == 1);
}
