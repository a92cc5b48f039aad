// SPDX-License-Identifier: Apache-2.0
// Image archives of other projects and synthetic ones, each with what it must become. $DRAY_CORPUS names
// their folder (default: beside the checkout); without it the test is skipped.
#include <nlohmann/json.hpp>

#include <dray/store/check.hpp>

#include "support.hpp"

using namespace dray;
using namespace dray::store;
using namespace dray::store::test;
using nlohmann::json;

namespace {

std::string fixtures() {
  const char* given = ::getenv("DRAY_CORPUS");
  return std::string(given != nullptr ? given : "../shared/corpus") + "/image-fixtures";
}

std::optional<json> expectations(const std::string& folder) {
  auto text = read_file(fixtures() + "/" + folder + "/expected.json", 64u << 20);
  if (!text) {
    WARN("skipped: no image fixtures (set DRAY_CORPUS)");
    return std::nullopt;
  }
  return json::parse(*text);
}

Result<std::vector<std::string>> load_file(Store& store, const std::string& path) {
  auto source = make_fd_source(TRY(open_file(path, O_RDONLY)));
  SilentProgress progress;
  return load_archive(store, *source, {}, progress, CancelToken());
}

/// Loaded or refused, the store is whole, and nothing in it is nobody's.
void check_whole(Store& store) {
  const auto report = check(store, {}, CancelToken());
  REQUIRE_OK(report);
  for (const Problem& problem : report->problems) FAIL_CHECK(problem.subject << ": " << problem.what);
  CHECK(report->orphans.total() == 0);
}

void compare_entry(FdRef root, const std::string& path, const json& wanted) {
  INFO(path);
  struct stat status;
  REQUIRE(::fstatat(root.get(), path.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0);
  const std::string type = wanted.value("type", "");
  CHECK(status.st_uid == wanted.value("uid", 0u));
  CHECK(status.st_gid == wanted.value("gid", 0u));
  if (type != "symlink") CHECK((status.st_mode & 07777) == wanted.value("mode", 0u));
  if (type == "file") {
    REQUIRE(S_ISREG(status.st_mode));
    auto fd = open_file_at(root, path, O_RDONLY);
    REQUIRE_OK(fd);
    CHECK(Digest::of(read_all(*fd, 64u << 20).value_or("?")).hex() == wanted.value("sha256", ""));
    for (const auto& name : wanted.value("xattrs", std::vector<std::string>()))
      CHECK(::fgetxattr(fd->get(), name.c_str(), nullptr, 0) >= 0);
  } else if (type == "dir") {
    CHECK(S_ISDIR(status.st_mode));
  } else if (type == "symlink") {
    CHECK(look(root, path) == "link:" + wanted.value("target", ""));
  }
}

std::size_t count_tree(FdRef root, const std::string& path) {
  std::size_t count = 0;
  auto fd = open_file_at(root, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!fd) return 0;
  DIR* listing = ::fdopendir(fd->release());
  while (dirent* entry = ::readdir(listing)) {
    std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    std::string child = path == "." ? std::string(name) : path + "/" + std::string(name);
    struct stat status;
    if (::fstatat(root.get(), child.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
      continue;  // a whiteout in a plain directory
    count += 1 + (S_ISDIR(status.st_mode) ? count_tree(root, child) : 0);
  }
  ::closedir(listing);
  return count;
}

void compare_rootfs(Store& store, const std::string& image_id, const json& rootfs, const json& same_inode) {
  auto record = store.resolve_image(image_id);
  REQUIRE_OK(record);
  auto image = store.load_image(*record);
  REQUIRE_OK(image);
  auto recipe = store.snapshots().view(image->config.diff_ids);
  REQUIRE_OK(recipe);
  auto view = open_mount(*recipe);
  REQUIRE_OK(view);
  for (const auto& [path, wanted] : rootfs.items()) compare_entry(*view, path, wanted);
  CHECK(count_tree(*view, ".") == rootfs.size());
  for (const auto& pair : same_inode) {
    struct stat one, two;
    REQUIRE(::fstatat(view->get(), pair.at(0).get<std::string>().c_str(), &one, AT_SYMLINK_NOFOLLOW) == 0);
    REQUIRE(::fstatat(view->get(), pair.at(1).get<std::string>().c_str(), &two, AT_SYMLINK_NOFOLLOW) == 0);
    CHECK(one.st_ino == two.st_ino);
  }
}

}  // namespace

TEST_CASE("synthetic image archives", "[store][fixtures]") {
  if (!is_root()) return;
  auto expected = expectations("synthetic");
  if (!expected) return;
  for (const auto& [name, wanted] : expected->items()) {
    INFO(name << ": " << wanted.value("what", ""));
    TestStore store;
    auto loaded = load_file(*store, fixtures() + "/synthetic/" + name + ".tar");
    INFO((loaded ? "loaded" : loaded.error().message()));
    check_whole(*store);
    const std::string expect = wanted.value("expect", "");
    if (name == "hardlink-lower") {
      // Layers are unpacked independently of what is below them; such a link is refused with its name.
      CHECK(!loaded);
    } else if (expect == "ok") {
      REQUIRE(loaded);
      CHECK(store->resolve_image(wanted.value("image_id", ""))->manifest.to_string() == wanted.value("manifest", ""));
      compare_rootfs(*store, wanted.value("image_id", ""), wanted["rootfs"], wanted.value("same_inode", json::array()));
    } else if (expect == "error") {
      CHECK(!loaded);
    } else {
      for (const auto& path : wanted.value("must_not_exist_outside", std::vector<std::string>())) {
        struct stat status;
        for (const std::string& place :
             {store->root() + "/", store->root() + "/snapshots/", store.directory.path() + "/", std::string("/")})
          CHECK(::lstat((place + path).c_str(), &status) != 0);
      }
    }
    if (!loaded) {
      CHECK(store->content().list()->empty());
      CHECK(count_entries(store->root() + "/snapshots") == 1);
    }
  }
}

TEST_CASE("image archives of other projects", "[store][fixtures]") {
  if (!is_root()) return;
  auto expected = expectations("upstream");
  if (!expected) return;
  for (const auto& [name, wanted] : expected->items()) {
    INFO(name);
    TestStore store;
    auto loaded = load_file(*store, fixtures() + "/upstream/" + name);
    INFO((loaded ? "loaded" : loaded.error().message()));
    check_whole(*store);
    if (!wanted.contains("images")) {
      CHECK(!loaded);
      continue;
    }
    REQUIRE(loaded);
    for (const auto& image : wanted["images"]) {
      compare_rootfs(*store, image.value("image_id", ""), image["rootfs"], json::array());
      auto names = image.value("tags", std::vector<std::string>());
      if (image.contains("ref")) names.push_back(image.value("ref", ""));
      for (const auto& tag : names) {
        INFO(tag);
        auto found = store->resolve_image(tag);
        REQUIRE_OK(found);
        CHECK(found->image_id.to_string() == image.value("image_id", ""));
      }
    }
  }
}
