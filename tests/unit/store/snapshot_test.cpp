// SPDX-License-Identifier: Apache-2.0
#include <sys/sysmacros.h>

#include <atomic>
#include <thread>

#include "../../../src/store/overlay_mount.hpp"
#include "support.hpp"

using namespace dray;
using namespace dray::store;
using namespace dray::store::test;

namespace {

const std::string& base_layer() {
  static const std::string tar = TarBuilder()
                                     .directory("etc")
                                     .file("etc/passwd", "root")
                                     .file("etc/gone", "x")
                                     .directory("var")
                                     .file("var/a", "1")
                                     .file("var/b", "2")
                                     .file("big", std::string(100'000, 'b'))
                                     .text();
  return tar;
}

std::vector<std::string> names_in(const std::string& tar) {
  auto source = make_memory_source(tar);
  tar::Reader reader(*source);
  std::vector<std::string> names;
  for (;;) {
    auto entry = reader.next();
    REQUIRE_OK(entry);
    if (!*entry) return names;
    names.push_back((*entry)->path);
  }
}

}  // namespace

TEST_CASE("changes of a snapshot become a layer that shows the same", "[store][snapshot]") {
  if (!is_root()) return;
  const auto driver = GENERATE(StorageDriver::overlay, StorageDriver::vfs);
  TestStore store(driver);
  REQUIRE_OK(unpack(*store, base_layer()));
  const std::vector<DiffId> below = {diff_id_of(base_layer())};
  auto id = store->snapshots().prepare(below);
  REQUIRE_OK(id);
  CHECK(store->snapshots().list_active()->size() == 1);
  {
    auto root = open_mount(*store->snapshots().mount_recipe(*id, true));
    REQUIRE_OK(root);
    write_file(*root, "etc/passwd", "root2");
    write_file(*root, "new", "n");
    REQUIRE(::linkat(root->get(), "new", root->get(), "new-link", 0) == 0);
    REQUIRE(::unlinkat(root->get(), "etc/gone", 0) == 0);
    for (const char* name : {"var/a", "var/b"}) REQUIRE(::unlinkat(root->get(), name, 0) == 0);
    REQUIRE(::unlinkat(root->get(), "var", AT_REMOVEDIR) == 0);
    REQUIRE(::mkdirat(root->get(), "var", 0700) == 0);
    write_file(*root, "var/c", "3");
    REQUIRE(::symlinkat("../new", root->get(), "var/link") == 0);
    REQUIRE(::mknodat(root->get(), "fifo", S_IFIFO | 0600, 0) == 0);
    REQUIRE(::mknodat(root->get(), "socket", S_IFSOCK | 0600, 0) == 0);
    auto fd = *open_file_at(*root, "new", O_RDONLY);
    REQUIRE(::fsetxattr(fd.get(), "user.k", "v", 1, 0) == 0);
  }
  // A volatile mount left its mark; the snapshot can be mounted again all the same.
  REQUIRE_OK(open_mount(*store->snapshots().mount_recipe(*id, true)));

  StringSink first, second;
  CancelToken cancel;
  auto summary = store->snapshots().write_diff(*id, first, cancel);
  REQUIRE_OK(summary);
  CHECK(!summary->empty);
  REQUIRE_OK(store->snapshots().write_diff(*id, second, cancel));
  CHECK(first.text == second.text);
  CHECK(names_in(first.text) == std::vector<std::string>{"etc/", "etc/.wh.gone", "etc/passwd", "fifo", "new",
                                                         "new-link", "var/", "var/.wh..wh..opq", "var/c", "var/link"});

  // Committed here, and unpacked elsewhere: both show the same.
  REQUIRE_OK(store->snapshots().commit(*id, diff_id_of(first.text)));
  CHECK(store->snapshots().list_active()->empty());
  CHECK(*store->snapshots().layer_size(diff_id_of(first.text)) == summary->bytes);
  TestStore other(driver == StorageDriver::vfs ? StorageDriver::overlay : StorageDriver::vfs);
  REQUIRE_OK(unpack(*other, base_layer()));
  REQUIRE_OK(unpack(*other, first.text));
  for (Store* place : {&*store, &*other}) {
    auto view = open_mount(*place->snapshots().view({below[0], diff_id_of(first.text)}));
    REQUIRE_OK(view);
    CHECK(look(*view, "etc/passwd") == "file:root2");
    CHECK(look(*view, "etc/gone") == "absent");
    CHECK(look(*view, "var/a") == "absent");
    CHECK(look(*view, "var/c") == "file:3");
    CHECK(look(*view, "var/link") == "link:../new");
    CHECK(look(*view, "fifo") == "fifo");
    struct stat one, two;
    REQUIRE(::fstatat(view->get(), "new", &one, 0) == 0);
    REQUIRE(::fstatat(view->get(), "new-link", &two, 0) == 0);
    CHECK(one.st_ino == two.st_ino);
    char value[8];
    auto fd = *open_file_at(*view, "new", O_RDONLY);
    CHECK(::fgetxattr(fd.get(), "user.k", value, sizeof value) == 1);
    CHECK(::openat(view->get(), "x", O_CREAT | O_WRONLY, 0600) < 0);  // a view
  }
  REQUIRE_OK(store->snapshots().remove(*id));  // a committed one is not removed by its old name
  CHECK(store->snapshots().contains(diff_id_of(first.text)));
}

TEST_CASE("an unchanged snapshot is empty; a name a layer cannot hold is refused", "[store][snapshot]") {
  if (!is_root()) return;
  const auto driver = GENERATE(StorageDriver::overlay, StorageDriver::vfs);
  TestStore store(driver);
  REQUIRE_OK(unpack(*store, TarBuilder().directory("./", 0711).file("a", "1").text()));
  auto id = *store->snapshots().prepare({diff_id_of(TarBuilder().directory("./", 0711).file("a", "1").text())});
  StringSink sink;
  CancelToken cancel;
  auto summary = store->snapshots().write_diff(id, sink, cancel);
  REQUIRE_OK(summary);
  CHECK(summary->empty);
  {
    auto root = *open_mount(*store->snapshots().mount_recipe(id));
    struct stat status;
    REQUIRE(::fstat(root.get(), &status) == 0);
    CHECK((status.st_mode & 07777) == 0711);
    write_file(root, ".wh.a", "not a whiteout");
  }
  auto refused = store->snapshots().write_diff(id, sink, cancel);
  REQUIRE(!refused);
  CHECK(refused.error().message().find(".wh.a") != std::string::npos);
  CancelToken cancelled;
  cancelled.cancel();
  CHECK(store->snapshots().write_diff(id, sink, cancelled).error().code() == ErrorCode::cancelled);
  REQUIRE_OK(store->snapshots().remove(id));
  REQUIRE_OK(store->snapshots().remove(id));
  CHECK(store->snapshots().mount_recipe(id).error().code() == ErrorCode::not_found);
  CHECK(store->snapshots().mount_recipe("../1").error().code() == ErrorCode::not_found);
}

TEST_CASE("stacks without layers, with one, with a layer twice, with many", "[store][snapshot]") {
  if (!is_root()) return;
  const auto driver = GENERATE(StorageDriver::overlay, StorageDriver::vfs);
  TestStore store(driver);
  auto scratch = *store->snapshots().prepare({});
  {
    auto root = open_mount(*store->snapshots().mount_recipe(scratch));
    REQUIRE_OK(root);
    write_file(*root, "a", "1");
  }
  REQUIRE_OK(open_mount(*store->snapshots().view({})));
  std::vector<DiffId> layers;
  for (int i = 0; i < 130; ++i) {
    std::string tar = TarBuilder().file("f" + std::to_string(i), "x").file("all", std::to_string(i)).text();
    REQUIRE_OK(unpack(*store, tar));
    layers.push_back(diff_id_of(tar));
  }
  auto one = open_mount(*store->snapshots().view({layers[0]}));
  REQUIRE_OK(one);
  CHECK(look(*one, "all") == "file:0");
  CHECK(::openat(one->get(), "x", O_CREAT | O_WRONLY, 0600) < 0);
  auto twice = open_mount(*store->snapshots().view({layers[0], layers[1], layers[0]}));
  REQUIRE_OK(twice);
  CHECK(look(*twice, "all") == "file:0");
  CHECK(look(*twice, "f1") == "file:x");
  auto many = open_mount(*store->snapshots().view(layers));
  REQUIRE_OK(many);
  CHECK(look(*many, "all") == "file:129");
  CHECK(look(*many, "f0") == "file:x");
  CHECK(store->snapshots().view({DiffId{Digest::of("no")}}).error().code() == ErrorCode::not_found);
}

TEST_CASE("both ways to mount an overlay", "[store][snapshot]") {
  if (!is_root()) return;
  TestStore store;
  REQUIRE_OK(unpack(*store, base_layer()));
  const std::string more = TarBuilder().file("more", "1").text();
  REQUIRE_OK(unpack(*store, more));
  for (auto open_overlay : {open_overlay_new_api, open_overlay_mount2}) {
    auto id = *store->snapshots().prepare({diff_id_of(base_layer()), diff_id_of(more)});
    {
      auto root = open_overlay(*store->snapshots().mount_recipe(id, true));
      if (!root && root.error().code() == ErrorCode::unsupported) continue;  // an older kernel has only one way
      REQUIRE_OK(root);
      CHECK(look(*root, "etc/passwd") == "file:root");
      write_file(*root, "more", "2");
      CHECK(look(*root, "more") == "file:2");
    }
    auto view = open_overlay(*store->snapshots().view({diff_id_of(base_layer()), diff_id_of(more)}));
    REQUIRE_OK(view);
    CHECK(look(*view, "more") == "file:1");
    CHECK(::openat(view->get(), "x", O_CREAT | O_WRONLY, 0600) < 0);
    REQUIRE_OK(store->snapshots().remove(id));
  }
}

TEST_CASE("both ways to mount an overlay take 500 layers", "[store][snapshot]") {
  if (!is_root()) return;
  const TempDir directory = *TempDir::create("/var/tmp", "dray-layers-");
  const std::string base = directory.path() + "/a,long:name\\" + std::string(100, 'x');
  REQUIRE_OK(make_directories(base, 0755));
  MountRecipe recipe;
  for (int i = 0; i < 501; ++i) {
    const std::string layer = base + "/" + std::to_string(100000 + i);
    REQUIRE(::mkdir(layer.c_str(), 0755) == 0);
    const FileDescriptor root = *open_file(layer, O_RDONLY | O_DIRECTORY);
    write_file(root, "f" + std::to_string(i), "x");
    write_file(root, "all", std::to_string(i));
    recipe.lower.insert(recipe.lower.begin(), layer);
  }
  const auto refused = open_mount(recipe);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::unsupported);
  CHECK(refused.error().message() == "an image of 501 layers: overlay takes at most 500");
  recipe.lower.erase(recipe.lower.begin());
  recipe.upper = base + "/upper";
  recipe.work = base + "/work";
  for (const std::string& made : {recipe.upper, recipe.work}) REQUIRE(::mkdir(made.c_str(), 0755) == 0);
  for (auto open_overlay : {open_overlay_new_api, open_overlay_mount2}) {
    const auto root = open_overlay(recipe);
    if (!root && root.error().code() == ErrorCode::unsupported) continue;  // an older kernel has only one way
    REQUIRE_OK(root);
    CHECK(look(*root, "all") == "file:499");
    CHECK(look(*root, "f0") == "file:x");
    write_file(*root, "all", "changed");
    CHECK(::unlink((recipe.upper + "/all").c_str()) == 0);  // else the second way would see it
  }
}

TEST_CASE("a layer of many files, on their way to the disk early", "[store][snapshot]") {
  if (!is_root()) return;
  TestStore store;
  std::vector<DiffId> layers;
  for (int round = 0; round < 2; ++round) {  // the second begins while the first may still be under way
    const std::string id = *store->snapshots().prepare(layers);
    {
      const FileDescriptor root = *open_mount(*store->snapshots().mount_recipe(id));
      for (int i = 0; i < 1500; ++i) write_file(root, std::to_string(i), std::to_string(round));
    }
    StringSink tar;
    const auto summary = store->snapshots().write_diff(id, tar, CancelToken());
    REQUIRE_OK(summary);
    CHECK(summary->files == 1500);
    layers.push_back(diff_id_of(tar.text));
    REQUIRE_OK(store->snapshots().commit(id, layers.back()));
  }
  REQUIRE_OK(store->snapshots().make_durable());
  CHECK(look(*open_mount(*store->snapshots().view(layers)), "1499") == "file:1");
}

TEST_CASE("a mount whose disk is full now and has room the next moment works, or says that it is full",
          "[store][snapshot]") {
  if (!is_root()) return;
  const TempDir place = *TempDir::create(temp_parent(), "dray-full-");
  const std::string& at = place.path();
  const int outcome = on_tmpfs(at, "nr_inodes=10", [&] {
    const MountRecipe recipe{{at + "/lower"}, at + "/upper", at + "/work"};
    for (const std::string& made : {recipe.lower.front(), recipe.upper, recipe.work})
      if (::mkdir(made.c_str(), 0755) != 0) return 1;
    std::atomic<bool> done = false;
    std::thread filler([&] {
      std::vector<std::string> taken;
      while (!done) {
        for (int i = 0; i < 10; ++i) {
          const std::string path = at + "/" + std::to_string(i);
          if (::mkdir(path.c_str(), 0755) == 0) taken.push_back(path);
        }
        ::usleep(200);
        for (const std::string& path : taken) (void)::rmdir(path.c_str());
        taken.clear();
        ::usleep(200);
      }
    });
    int code = 0, mounted = 0, full = 0;
    for (int i = 0; code == 0 && (i < 200 || mounted == 0 || full == 0) && i < 5000; ++i) {
      (void)remove_tree(FdRef(AT_FDCWD), recipe.work + "/work");
      const auto root = open_mount(recipe);
      if (!root && root.error().code() != ErrorCode::no_space) code = 2;
      ++(root ? mounted : full);
    }
    done = true;
    filler.join();
    return code != 0 ? code : mounted == 0 ? 3 : full == 0 ? 4 : 0;
  });
  if (outcome == 77) {
    WARN("skipped: cannot mount a tmpfs here");
    return;
  }
  CHECK(outcome == 0);
}

TEST_CASE("a snapshot that becomes a layer known already is dropped", "[store][snapshot]") {
  if (!is_root()) return;
  const auto driver = GENERATE(StorageDriver::overlay, StorageDriver::vfs);
  TestStore store(driver);
  REQUIRE_OK(unpack(*store, base_layer()));
  std::string diff;
  for (int round = 0; round < 2; ++round) {
    auto id = *store->snapshots().prepare({diff_id_of(base_layer())});
    {
      auto root = *open_mount(*store->snapshots().mount_recipe(id));
      write_file(root, "new", "1");
      struct timespec times[2] = {{5, 0}, {5, 0}};
      REQUIRE(::utimensat(root.get(), "new", times, 0) == 0);
    }
    StringSink sink;
    REQUIRE_OK(store->snapshots().write_diff(id, sink, CancelToken()));
    if (round == 0) diff = sink.text;
    CHECK(sink.text == diff);
    REQUIRE_OK(store->snapshots().commit(id, diff_id_of(diff)));
  }
  CHECK(store->snapshots().list_layers()->size() == 2);
  CHECK(count_entries(store->root() + "/snapshots") == 3);
  REQUIRE_OK(store->snapshots().remove_layer(diff_id_of(diff)));
  CHECK(!store->snapshots().contains(diff_id_of(diff)));
  CHECK(count_entries(store->root() + "/snapshots") == 2);
}
