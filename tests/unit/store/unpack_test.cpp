// SPDX-License-Identifier: Apache-2.0
// Hostile layers first.
#include "support.hpp"

using namespace dray;
using namespace dray::store;
using namespace dray::store::test;

namespace {

/// The layer must be refused with the entry's name, and nothing may be left.
void refused(TarBuilder builder, const std::string& name) {
  TestStore store;
  auto result = unpack(*store, builder.text());
  REQUIRE(!result);
  INFO(result.error().message());
  CHECK(result.error().message().find("\"" + name + "\"") != std::string::npos);
  CHECK(count_entries(store->root() + "/snapshots") == 1);  // "empty"
  CHECK(store->snapshots().list_layers()->empty());
}

FileDescriptor mounted(Store& store, const std::vector<std::string>& tars) {
  std::vector<DiffId> layers;
  for (const auto& tar : tars) {
    REQUIRE_OK(unpack(store, tar));
    layers.push_back(diff_id_of(tar));
  }
  auto recipe = store.snapshots().view(layers);
  REQUIRE_OK(recipe);
  auto view = open_mount(*recipe);
  REQUIRE_OK(view);
  return *std::move(view);
}

}  // namespace

TEST_CASE("entries that lead out are refused", "[store][unpack][hostile]") {
  if (!is_root()) return;
  refused(TarBuilder().file("../canary", "x"), "../canary");
  refused(TarBuilder().file("a/../../canary", "x"), "a/../../canary");
  refused(TarBuilder().directory("d").hardlink("d/shadow", "../../../etc/shadow"), "d/shadow");
  refused(TarBuilder().hardlink("shadow", "/etc/shadow"), "shadow");
  refused(TarBuilder().symlink("d", "../../..").file("d/canary", "x"), "d/canary");
  refused(TarBuilder().symlink("d", "/etc").file("d/canary", "x"), "d/canary");
  refused(TarBuilder().symlink("a", "b").symlink("b", "/").symlink("c", "a/..").file("c/x/canary", "x"), "c/x/canary");
  refused(TarBuilder().symlink("l", "l").file("l/x", ""), "l/x");
  refused(TarBuilder().symlink(".", "/etc"), ".");
  refused(TarBuilder().file("f", "x").file("f/below", "x"), "f/below");
  refused(TarBuilder().directory("d").hardlink("e", "d"), "e");
  refused(TarBuilder().hardlink("self", "self"), "self");
}

TEST_CASE("overlay's own forms and bad whiteouts are refused or dropped", "[store][unpack][hostile]") {
  if (!is_root()) return;
  tar::Entry device;
  device.path = "null";
  device.type = tar::EntryType::character_device;
  refused(TarBuilder().entry(device), "null");
  refused(TarBuilder().file(".wh...", ""), ".wh...");
  refused(TarBuilder().file(".wh..", ""), ".wh..");
  refused(TarBuilder().file("d/.wh.", ""), "d/.wh.");
  refused(TarBuilder().file(".wh.a/b", ""), ".wh.a/b");
  TestStore store;
  tar::Entry file;
  file.path = "file";
  file.mode = 04755;
  file.xattrs = {{"trusted.overlay.opaque", "y"},
                 {"trusted.x", "y"},
                 {"user.overlay.redirect", "/etc"},
                 {"user.note", "hello"},
                 {"security.selinux", "x"}};
  auto root =
      mounted(*store, {TarBuilder().entry(file, "x").file(".wh..wh.plnk/1", "").file(".wh..wh.aufs", "").text()});
  auto fd = *open_file_at(root, "file", O_RDONLY);
  char value[64];
  CHECK(::fgetxattr(fd.get(), "user.note", value, sizeof value) == 5);
  CHECK(::fgetxattr(fd.get(), "trusted.x", value, sizeof value) < 0);
  CHECK(::fgetxattr(fd.get(), "trusted.overlay.opaque", value, sizeof value) < 0);
  CHECK(::fgetxattr(fd.get(), "user.overlay.redirect", value, sizeof value) < 0);
  struct stat status;
  CHECK((::fstat(fd.get(), &status) == 0 && (status.st_mode & 07777) == 04755));
  CHECK(look(root, ".wh..wh.plnk") == "absent");
}

TEST_CASE("the wrong digest leaves nothing", "[store][unpack][hostile]") {
  if (!is_root()) return;
  TestStore store;
  auto source = make_memory_source(TarBuilder().file("a", "x").text());
  auto result = store->snapshots().unpack(*source, DiffId{Digest::of("other")});
  REQUIRE(!result);
  CHECK(result.error().code() == ErrorCode::corrupt);
  std::string tar = TarBuilder().file("a", std::string(5000, 'x')).text();
  auto cut = unpack(*store, tar.substr(0, 3000));
  REQUIRE(!cut);
  CHECK(cut.error().code() == ErrorCode::corrupt);
  CHECK(count_entries(store->root() + "/snapshots") == 1);
  // The same digest with other bytes, once the layer is here.
  REQUIRE_OK(unpack(*store, tar));
  auto lie = make_memory_source("something else");
  CHECK(!store->snapshots().unpack(*lie, diff_id_of(tar)));
  REQUIRE_OK(unpack(*store, tar));
}

TEST_CASE("names as Docker takes them", "[store][unpack]") {
  if (!is_root()) return;
  TestStore store;
  auto root = mounted(*store, {TarBuilder()
                                   .file("/abs/file", "1")
                                   .file("./dot/./file", "2")
                                   .file("a/b/../c", "3")
                                   .directory("usr/bin")
                                   .symlink("bin", "usr/bin")
                                   .file("bin/tool", "4")
                                   .symlink("sbin", "/usr/bin")
                                   .file("sbin/more", "5")
                                   .hardlink("/abs/link", "/bin/tool")
                                   .text()});
  CHECK(look(root, "abs/file") == "file:1");
  CHECK(look(root, "dot/file") == "file:2");
  CHECK(look(root, "a/c") == "file:3");
  CHECK(look(root, "usr/bin/tool") == "file:4");
  CHECK(look(root, "usr/bin/more") == "file:5");
  CHECK(look(root, "abs/link") == "file:4");
  struct stat one, two;
  REQUIRE(::fstatat(root.get(), "abs/link", &one, 0) == 0);
  REQUIRE(::fstatat(root.get(), "usr/bin/tool", &two, 0) == 0);
  CHECK(one.st_ino == two.st_ino);
  REQUIRE(::fstatat(root.get(), "abs", &one, 0) == 0);
  CHECK((one.st_mode & 07777) == 0755);
}

TEST_CASE("the last entry of a name wins", "[store][unpack]") {
  if (!is_root()) return;
  TestStore store;
  auto root = mounted(*store, {TarBuilder()
                                   .directory("x")
                                   .file("x/child", "old")
                                   .symlink("x", "/etc")
                                   .file("x", "file")
                                   .directory("y")
                                   .file("y/child", "kept")
                                   .directory("y", 0700)
                                   .file("z", "1")
                                   .file("z", "22")
                                   .directory("z")
                                   .file("z/child", "in")
                                   .text()});
  CHECK(look(root, "x") == "file:file");
  CHECK(look(root, "y/child") == "file:kept");
  CHECK(look(root, "z/child") == "file:in");
  struct stat status;
  REQUIRE(::fstatat(root.get(), "y", &status, 0) == 0);
  CHECK((status.st_mode & 07777) == 0700);
  CHECK(status.st_mtim.tv_sec == 1'000'000);
}

TEST_CASE("whiteouts hide what is below, and only that", "[store][unpack]") {
  if (!is_root()) return;
  TestStore store;
  const std::string base =
      TarBuilder().file("a", "1").file("d/low", "1").file("o/low", "1").file("keep/low", "1").file("w/x", "1").text();
  const std::string top = TarBuilder()
                              .file(".wh.a", "")
                              .file(".wh.d", "")
                              .file("d/new", "2")
                              .file("o/new", "2")
                              .file("o/.wh..wh..opq", "")
                              .file("keep/new", "2")
                              .file(".wh.keep", "")
                              .file(".wh.nothing", "")
                              .file("w/.wh.x", "")
                              .file("w/.wh.x", "")
                              .file("w/x", "again")
                              .text();
  auto root = mounted(*store, {base, top});
  CHECK(look(root, "a") == "absent");
  CHECK(look(root, "d/low") == "absent");
  CHECK(look(root, "d/new") == "file:2");
  CHECK(look(root, "o/low") == "absent");
  CHECK(look(root, "o/new") == "file:2");
  CHECK(look(root, "keep/low") == "absent");
  CHECK(look(root, "keep/new") == "file:2");
  CHECK(look(root, "w/x") == "file:again");
  // Alone, the layer shows no devices where its whiteouts are; one that is opaque at its root hides all.
  CHECK(look(mounted(*store, {top}), "a") == "absent");
  auto opaque = mounted(*store, {base, TarBuilder().file(".wh..wh..opq", "").file("only", "1").text()});
  CHECK(look(opaque, "a") == "absent");
  CHECK(look(opaque, "only") == "file:1");
}

TEST_CASE("sparse content stays sparse, large claims are refused early", "[store][unpack]") {
  if (!is_root()) return;
  TestStore store;
  std::string content(4 << 20, '\0');
  content[5] = 'x';
  auto root = mounted(*store, {TarBuilder().file("sparse", content).text()});
  struct stat status;
  REQUIRE(::fstatat(root.get(), "sparse", &status, 0) == 0);
  CHECK(status.st_size == 4 << 20);
  CHECK(status.st_blocks * 512 < 1 << 20);
}
