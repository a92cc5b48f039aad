// SPDX-License-Identifier: Apache-2.0
// The vfs driver: what it takes for a change, how it stacks layers, and that it shows what overlayfs would show.
#include <signal.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include <functional>
#include <random>

#include <dray/core/rooted_path.hpp>
#include <dray/store/check.hpp>

#include "support.hpp"

using namespace dray;
using namespace dray::store;
using namespace dray::store::test;

namespace {

/// A tree in words, one entry a line. Names of one file share its number.
std::string describe(FdRef root, const std::string& path, std::map<ino_t, int>& numbers) {
  std::string text;
  const std::vector<std::string> names = list_without_links(root, path).value();
  for (const std::string& name : names) {
    const std::string child = path.empty() ? name : path + "/" + name;
    struct stat status;
    REQUIRE(::fstatat(root.get(), child.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0);
    text += child + " " + std::to_string(status.st_mode) + " " + std::to_string(status.st_uid) + " ";
    if (S_ISDIR(status.st_mode)) {
      text += "\n" + describe(root, child, numbers);
      continue;
    }
    if (S_ISREG(status.st_mode)) {
      const int fresh = static_cast<int>(numbers.size());
      text += "#" + std::to_string(numbers.try_emplace(status.st_ino, fresh).first->second) + " ";
    }
    text += look(root, child) + "\n";
  }
  return text;
}

std::string describe(FdRef root) {
  std::map<ino_t, int> numbers;
  return describe(root, "", numbers);
}

std::string describe(Result<MountRecipe> recipe) {
  REQUIRE_OK(recipe);
  auto mounted = open_mount(*recipe);
  REQUIRE_OK(mounted);
  return describe(*mounted);
}

std::string diff_of(Store& store, const std::string& id) {
  StringSink sink;
  REQUIRE_OK(store.snapshots().write_diff(id, sink, CancelToken()));
  return sink.text;
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

const std::string& base() {
  static const std::string tar = TarBuilder()
                                     .directory("a")
                                     .directory("a/b")
                                     .file("a/b/deep", "deep")
                                     .file("a/one", "1")
                                     .hardlink("a/one-too", "a/one")
                                     .directory("d")
                                     .file("d/x", "x")
                                     .file("d/y", "y")
                                     .directory("e")
                                     .file("e/z", "z")
                                     .symlink("link", "a/one")
                                     .file("top", "top")
                                     .text();
  return tar;
}

struct Active {
  TestStore store{StorageDriver::vfs};
  std::string id;
  FileDescriptor root;
  Active() {
    REQUIRE_OK(unpack(*store, base()));
    id = *store->snapshots().prepare({diff_id_of(base())});
    root = *open_mount(*store->snapshots().mount_recipe(id));
  }
  std::vector<std::string> changes() { return names_in(diff_of(*store, id)); }
};

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("a changed file is known whatever its time and size say", "[store][vfs]") {
  if (!is_root()) return;
  Active active;
  struct stat before;
  REQUIRE(::fstatat(active.root.get(), "a/b/deep", &before, 0) == 0);
  write_file(active.root, "a/b/deep", "DEEP");
  const struct timespec times[2] = {before.st_atim, before.st_mtim};
  REQUIRE(::utimensat(active.root.get(), "a/b/deep", times, 0) == 0);
  CHECK(active.changes() == Names{"a/", "a/b/", "a/b/deep"});
}

TEST_CASE("copying the layers for a snapshot can be interrupted, and leaves nothing", "[store][vfs]") {
  if (!is_root()) return;
  Active active;
  const std::string folder = active.store->root() + "/snapshots";
  const std::size_t before = count_entries(folder);
  CancelToken cancel;
  cancel.cancel();
  const auto snapshot = active.store->snapshots().prepare({diff_id_of(base())}, Durability::none, cancel);
  REQUIRE_FALSE(snapshot);
  CHECK(snapshot.error().code() == ErrorCode::cancelled);
  CHECK(count_entries(folder) == before);
}

TEST_CASE("reading changes nothing; names, modes and xattrs do", "[store][vfs]") {
  if (!is_root()) return;
  Active active;
  CHECK(look(active.root, "a/b/deep") == "file:deep");
  CHECK(active.changes().empty());
  REQUIRE(::fchmodat(active.root.get(), "d", 0700, 0) == 0);
  CHECK(active.changes() == Names{"d/"});
  const FileDescriptor file = *open_file_at(active.root, "e/z", O_RDONLY);
  REQUIRE(::fsetxattr(file.get(), "user.k", "v", 1, 0) == 0);
  CHECK(active.changes() == Names{"d/", "e/", "e/z"});
  REQUIRE(::linkat(active.root.get(), "top", active.root.get(), "also", 0) == 0);
  CHECK(active.changes() == Names{"also", "d/", "e/", "e/z", "top"});
}

TEST_CASE("directories that changed their places", "[store][vfs]") {
  if (!is_root()) return;
  Active active;
  const auto rename = [&](const char* from, const char* to) {
    REQUIRE(::renameat(active.root.get(), from, active.root.get(), to) == 0);
  };
  rename("d", "t");
  rename("e", "d");
  rename("t", "e");
  CHECK(active.changes() == Names{"d/", "d/.wh..wh..opq", "d/z", "e/", "e/.wh..wh..opq", "e/x", "e/y"});
  rename("a/b", "b");
  REQUIRE(::unlinkat(active.root.get(), "top", 0) == 0);
  REQUIRE(::mkdirat(active.root.get(), "top", 0755) == 0);
  CHECK(active.changes() == Names{"a/", "a/.wh.b", "b/", "b/deep", "d/", "d/.wh..wh..opq", "d/z", "e/",
                                  "e/.wh..wh..opq", "e/x", "e/y", "top/", "top/.wh..wh..opq"});
  const std::string now = describe(active.root);
  const std::string diff = diff_of(*active.store, active.id);
  REQUIRE_OK(active.store->snapshots().commit(active.id, diff_id_of(diff)));
  CHECK(describe(active.store->snapshots().view({diff_id_of(base()), diff_id_of(diff)})) == now);
}

TEST_CASE("a directory made anew in place of a removed one is opaque, even with its inode", "[store][vfs]") {
  if (!is_root()) return;
  Active active;
  for (const char* name : {"d/x", "d/y"}) REQUIRE(::unlinkat(active.root.get(), name, 0) == 0);
  REQUIRE(::unlinkat(active.root.get(), "d", AT_REMOVEDIR) == 0);
  REQUIRE(::mkdirat(active.root.get(), "d", 0755) == 0);  // ext4 gives the number just freed
  write_file(active.root, "d/y", "y");
  CHECK(active.changes() == Names{"d/", "d/.wh..wh..opq", "d/y"});
}

TEST_CASE("a device 0:0 is no part of a layer", "[store][vfs]") {
  if (!is_root()) return;
  Active active;
  REQUIRE(::mknodat(active.root.get(), "d/null", S_IFCHR | 0600, 0) == 0);
  StringSink sink;
  const auto diff = active.store->snapshots().write_diff(active.id, sink, CancelToken());
  REQUIRE_FALSE(diff);
  CHECK(diff.error().code() == ErrorCode::unsupported);
  CHECK(diff.error().message().find("\"/d/null\"") != std::string::npos);
  REQUIRE(::unlinkat(active.root.get(), "d/null", 0) == 0);
  REQUIRE(::mknodat(active.root.get(), "d/null", S_IFCHR | 0600, makedev(1, 3)) == 0);
  CHECK(active.changes() == Names{"d/", "d/null"});
}

TEST_CASE("directories that an overlay numbers anew are the ones they were", "[store][vfs]") {
  if (!is_root()) return;
  const TempDir place = *TempDir::create(temp_parent(), "dray-store-test-");
  const std::string& at = place.path();
  for (const char* name : {"lower", "upper", "work", "merged"}) REQUIRE(::mkdir((at + "/" + name).c_str(), 0755) == 0);
  const int outcome = on_tmpfs(at + "/lower", "", [&] {
    const std::string options = "xino=off,lowerdir=" + at + "/lower,upperdir=" + at + "/upper,workdir=" + at + "/work";
    const auto mount_overlay = [&] {
      return ::mount("overlay", (at + "/merged").c_str(), "overlay", 0, options.c_str()) == 0;
    };
    if (!mount_overlay()) return 3;
    std::string id;
    ino_t number = 0;
    struct stat status;
    const auto in_snapshot = [&] { return at + "/merged/root/snapshots/" + id + "/root"; };
    {
      const auto store = Store::open(at + "/merged/root", StorageDriver::vfs);
      if (!store || !unpack(**store, base())) return 4;
      id = *(*store)->snapshots().prepare({diff_id_of(base())});
      if (::stat((in_snapshot() + "/a/b").c_str(), &status) != 0) return 5;
      number = status.st_ino;
    }
    if (::umount((at + "/merged").c_str()) != 0 || !mount_overlay()) return 6;
    // Looked at first, so that it gets another number.
    if (::stat((in_snapshot() + "/e").c_str(), &status) != 0) return 7;
    if (::stat((in_snapshot() + "/a/b").c_str(), &status) != 0 || status.st_ino == number) return 8;
    const auto store = Store::open(at + "/merged/root");
    if (!store || !names_in(diff_of(**store, id)).empty()) return 9;
    const std::string replaced = in_snapshot() + "/e";
    if (!remove_tree(FdRef(AT_FDCWD), replaced) || ::mkdir(replaced.c_str(), 0755) != 0) return 10;
    return names_in(diff_of(**store, id)) == Names{"e/", "e/.wh..wh..opq"} ? 0 : 11;
  });
  CHECK(outcome == 0);
}

TEST_CASE("any changes: the layer made of them shows the same on both drivers", "[store][vfs]") {
  if (!is_root()) return;
  for (unsigned seed = 1; seed <= 8; ++seed) {
    Active active;
    std::mt19937 random(seed);
    const auto pick = [&](const std::vector<std::string>& from) { return from[random() % from.size()]; };
    const std::vector<std::string> directories = {".", "a", "a/b", "d", "e", "n", "a/n"};
    const std::vector<std::string> names = {"one", "x", "y", "z", "b", "n", "deep", "one-too"};
    const int root = active.root.get();
    for (int i = 0; i < 60; ++i) {
      const std::string first = pick(directories) + "/" + pick(names), second = pick(directories) + "/" + pick(names);
      switch (random() % 8) {  // many of these fail, and that is fine
        case 0:
          if (auto file = open_file_at(active.root, first, O_WRONLY | O_CREAT, 0644); file)
            REQUIRE_OK(write_all(*file, std::to_string(i)));
          break;
        case 1:
          (void)::unlinkat(root, first.c_str(), 0);
          break;
        case 2:
          (void)remove_tree(active.root, first);
          break;
        case 3:
          (void)::mkdirat(root, first.c_str(), 0755);
          break;
        case 4:
          (void)::renameat(root, first.c_str(), root, second.c_str());
          break;
        case 5:
          (void)::linkat(root, first.c_str(), root, second.c_str(), 0);
          break;
        case 6:
          (void)::fchmodat(root, first.c_str(), 0700 | (random() % 64), 0);
          break;
        default:
          (void)::symlinkat("one", root, first.c_str());
      }
    }
    INFO("seed " << seed);
    const std::string now = describe(active.root);
    const std::string diff = diff_of(*active.store, active.id);
    const std::vector<DiffId> layers = {diff_id_of(base()), diff_id_of(diff)};
    REQUIRE_OK(active.store->snapshots().commit(active.id, layers[1]));
    CHECK(describe(active.store->snapshots().view(layers)) == now);
    const auto again = active.store->snapshots().prepare(layers);
    REQUIRE_OK(again);
    CHECK(describe(active.store->snapshots().mount_recipe(*again)) == now);
    CHECK(names_in(diff_of(*active.store, *again)).empty());
    for (const auto driver : {StorageDriver::overlay, StorageDriver::vfs}) {
      TestStore other(driver);
      REQUIRE_OK(unpack(*other, base()));
      REQUIRE_OK(unpack(*other, diff));
      CHECK(describe(other->snapshots().view(layers)) == now);
    }
  }
}

TEST_CASE("layers that contradict themselves are stacked as by overlayfs", "[store][vfs]") {
  if (!is_root()) return;
  const std::string lower = TarBuilder()
                                .directory("d")
                                .file("d/old", "1")
                                .file("f", "1")
                                .directory("g")
                                .file("g/old", "1")
                                .directory("h")
                                .file("h/old", "1")
                                .text();
  const std::vector<std::string> uppers = {
      TarBuilder().file(".wh.d", "").directory("d").file("d/new", "2").text(),
      TarBuilder().directory("d").file("d/new", "2").file(".wh.d", "").text(),
      TarBuilder().file("f", "2").file(".wh.f", "").text(),
      TarBuilder().file(".wh.f", "").file("f", "2").text(),
      TarBuilder().file("g/.wh..wh..opq", "not empty").file("g/new", "2").text(),
      TarBuilder().file(".wh.g", "x").file(".wh.nothing", "").file("h/.wh.old", "").text(),
      TarBuilder().file("d/.wh.old", "").directory("d", 0700).file(".wh..wh.aufs", "").text(),
      TarBuilder().file(".wh..wh..opq", "").file("only", "2").text(),
      TarBuilder().directory(".wh.d").symlink(".wh.f", "/etc/passwd").text(),
      TarBuilder().file("g", "a file now").text(),
      TarBuilder().directory("f").file("f/in", "2").text(),
  };
  TestStore overlay(StorageDriver::overlay), vfs(StorageDriver::vfs);
  for (TestStore* store : {&overlay, &vfs}) REQUIRE_OK(unpack(**store, lower));
  for (const std::string& upper : uppers) {
    INFO(names_in(upper).front());
    for (TestStore* store : {&overlay, &vfs}) REQUIRE_OK(unpack(**store, upper));
    const std::vector<DiffId> layers = {diff_id_of(lower), diff_id_of(upper)};
    const std::string shown = describe(overlay->snapshots().view(layers));
    CHECK(shown.find(".wh.") == std::string::npos);
    CHECK(describe(vfs->snapshots().view(layers)) == shown);
    CHECK(describe(vfs->snapshots().view({layers[1]})).find(".wh.") == std::string::npos);
    const auto id = vfs->snapshots().prepare(layers);
    REQUIRE_OK(id);
    CHECK(describe(vfs->snapshots().mount_recipe(*id)) == shown);
  }
  // A whiteout is a file there, but not one that a layer could get at.
  for (const std::string& hostile : {TarBuilder().file(".wh.d", "").hardlink("got", ".wh.d").text(),
                                     TarBuilder().file("g/.wh..wh..opq", "").hardlink("got", "g/.wh..wh..opq").text(),
                                     TarBuilder().file(".wh.d", "").file(".wh.d/x", "").text()}) {
    const auto refused = unpack(*vfs, hostile);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().message() == unpack(*overlay, hostile).error().message());
  }
}

TEST_CASE("names that leave no room for .wh. can be deleted", "[store][vfs]") {
  if (!is_root()) return;
  for (const std::size_t length : {251u, 252u, 255u}) {
    const std::string name(length, 'n'), other(length, 'o');
    const std::string lower = TarBuilder().file("d/" + name, "1").file("d/" + other, "1").text();
    TestStore vfs(StorageDriver::vfs), overlay(StorageDriver::overlay);
    for (TestStore* store : {&vfs, &overlay}) REQUIRE_OK(unpack(**store, lower));
    const std::string id = *vfs->snapshots().prepare({diff_id_of(lower)});
    const FileDescriptor root = *open_mount(*vfs->snapshots().mount_recipe(id));
    REQUIRE(::unlinkat(root.get(), ("d/" + name).c_str(), 0) == 0);
    const std::string diff = diff_of(*vfs, id);
    CHECK(names_in(diff) == Names{"d/", "d/.wh." + name});
    REQUIRE_OK(vfs->snapshots().commit(id, diff_id_of(diff)));
    // Hostile: entries that would be such a marker, or change one.
    const std::string marker = ".wh..wh.dray." + Digest::of(name).hex();
    const std::string more = TarBuilder()
                                 .directory("d")
                                 .file("d/.wh." + other, "")
                                 .file("d/" + marker, "../../x")
                                 .symlink("d/" + marker, "/etc/passwd")
                                 .text();
    CHECK_FALSE(unpack(*vfs, TarBuilder().file("d/.wh." + other, "").hardlink("d/got", "d/" + marker).text()));
    const auto layers = std::vector{diff_id_of(lower), diff_id_of(diff)},
               all = std::vector{layers[0], layers[1], diff_id_of(more)};
    REQUIRE_OK(unpack(*overlay, diff));
    for (TestStore* store : {&vfs, &overlay}) {
      REQUIRE_OK(unpack(**store, more));
      CHECK(look(*open_mount(*store->store->snapshots().view(layers)), "d/" + name) == "absent");
      CHECK(look(*open_mount(*store->store->snapshots().view(layers)), "d/" + other) == "file:1");
      CHECK(describe(store->store->snapshots().view(all)).find("d/") == std::string::npos);
    }
  }
  TestStore store(StorageDriver::vfs);
  CHECK_FALSE(unpack(*store, TarBuilder().file(".wh." + std::string(256, 'n'), "").text()));
}

TEST_CASE("a merged view lasts as long as its layers, and one boot", "[store][vfs]") {
  if (!is_root()) return;
  TestStore store(StorageDriver::vfs);
  const std::string more = TarBuilder().file("more", "1").text();
  REQUIRE_OK(unpack(*store, base()));
  REQUIRE_OK(unpack(*store, more));
  const std::vector<DiffId> layers = {diff_id_of(base()), diff_id_of(more)};
  const std::string folder = store->root() + "/snapshots";
  const auto first = store->snapshots().view(layers), second = store->snapshots().view(layers);
  REQUIRE_OK(first);
  CHECK(first->lower == second->lower);
  CHECK(count_entries(folder) == 4);
  CHECK(::openat(open_mount(*first)->get(), "x", O_CREAT | O_WRONLY, 0600) < 0);
  CHECK(check(*store, {}, CancelToken())->orphans.snapshots == 0);
  // As after a reboot: what is there now may be half of it.
  REQUIRE_OK(store->database()->execute("UPDATE merged_stacks SET boot = 'another'"));
  write_file(FdRef(AT_FDCWD), first->lower.front() + "/left", "x");
  CHECK(describe(store->snapshots().view(layers)).find("left") == std::string::npos);
  REQUIRE_OK(store->snapshots().remove_layer(layers[1]));
  CHECK(count_entries(folder) == 2);
  CHECK(store->snapshots().view(layers).error().code() == ErrorCode::not_found);
}

TEST_CASE("a damaged record of files, or a newer store, says what to do", "[store][vfs]") {
  if (!is_root()) return;
  Active active;
  const std::string baseline = active.store->root() + "/snapshots/" + active.id + "/baseline";
  const std::string whole = read_file(baseline).value();
  std::string damaged = whole;
  damaged.replace(16, 8, 8, '\xff');  // kind and name's length of the first

  for (const std::string& text :
       {whole.substr(0, whole.size() / 2), std::string("x"), damaged, std::string(500, 'x')}) {
    REQUIRE_OK(write_file_atomically(baseline, text, 0600, Durability::none));
    StringSink sink;
    const auto diff = active.store->snapshots().write_diff(active.id, sink, CancelToken());
    REQUIRE_FALSE(diff);
    CHECK(diff.error().code() == ErrorCode::corrupt);
    CHECK(diff.error().hint().find("dray export") != std::string::npos);
  }
  REQUIRE_OK(active.store->database()->execute("PRAGMA user_version = 99"));
  const auto newer = Store::open(active.store->root());
  REQUIRE_FALSE(newer);
  CHECK(newer.error().code() == ErrorCode::unsupported);
  CHECK(newer.error().hint().find("--root") != std::string::npos);
}

TEST_CASE("kill -9 while a snapshot is copied leaves garbage that is removed", "[store][vfs]") {
  if (!is_root()) return;
  TestStore store(StorageDriver::vfs);
  TarBuilder many;
  for (int i = 0; i < 1000; ++i) many.file("d" + std::to_string(i / 100) + "/f" + std::to_string(i), "x");
  REQUIRE_OK(unpack(*store, many.text()));
  const std::vector<DiffId> layers = {diff_id_of(many.text())};
  const std::string folder = store->root() + "/snapshots";
  bool left_something = false;
  for (const long milliseconds : {1, 5, 20}) {
    const pid_t child = ::fork();
    if (child == 0) {
      auto own = Store::open(store->root());
      while (own && (*own)->snapshots().prepare(layers)) {
      }
      ::_exit(1);
    }
    const struct timespec pause = {0, (milliseconds + 2) * 1'000'000};
    ::nanosleep(&pause, nullptr);
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    REQUIRE(WIFSIGNALED(status));
    left_something = left_something || count_entries(folder) > 2 + store->snapshots().list_active()->size();
    CHECK(check(*store, {}, CancelToken())->problems.empty());
  }
  CHECK(left_something);
  const std::vector<std::string> whole = store->snapshots().list_active().value();
  for (const std::string& id : whole) {
    CHECK(names_in(diff_of(*store, id)).empty());  // whole, if it has a name
    REQUIRE_OK(store->snapshots().remove(id));
  }
  REQUIRE_OK(store->collect_garbage(layers));
  CHECK(count_entries(folder) == 2);  // "empty" and the layer
}
