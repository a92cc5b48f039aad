// SPDX-License-Identifier: Apache-2.0
// kill -9 and a full disk: what is left must be usable without repair, or be garbage that is found.
#include <signal.h>

#include <cstring>

#include "support.hpp"

using namespace dray;
using namespace dray::store;
using namespace dray::store::test;

namespace {

/// A layer of very many files, made as it is read. Writes a byte to `told` when the file number `count` is asked for.
class EndlessLayer : public ByteSource {
 public:
  EndlessLayer(FdRef told, int count) : told_(told), told_at_(count) {}
  Result<std::size_t> read(std::span<std::byte> buffer) override {
    if (at_ == builder_.text.size()) {
      builder_.text.clear();
      at_ = 0;
      tar::Entry entry;
      entry.path = "d" + std::to_string(count_ / 50) + "/f" + std::to_string(count_);
      entry.mode = 0644;
      entry.size = content_.size();
      auto source = make_memory_source(content_);
      TRY(writer_.add(entry, source.get()));
      if (++count_ == told_at_) TRY(write_all(told_, "x"));
    }
    std::size_t count = std::min(buffer.size(), builder_.text.size() - at_);
    std::memcpy(buffer.data(), builder_.text.data() + at_, count);
    at_ += count;
    return count;
  }

 private:
  StringSink builder_;
  tar::Writer writer_{builder_};
  std::string content_ = std::string(3000, 'x');
  std::size_t at_ = 0;
  FdRef told_;
  int told_at_, count_ = 0;
};

}  // namespace

TEST_CASE("kill -9 while unpacking leaves garbage that is removed", "[store][crash]") {
  if (!is_root()) return;
  TempDir directory = *TempDir::create(temp_parent(), "dray-crash-");
  const std::string root = directory.path() + "/root";
  const std::string good = TarBuilder().file("good", "1").text();
  for (int files : {1, 30, 1000}) {
    Pipe told = *make_pipe();
    pid_t child = ::fork();
    if (child == 0) {
      auto store = Store::open(root);
      if (!store) ::_exit(1);
      auto lease = (*store)->lease();
      (void)unpack(**store, good);
      (void)(*store)->snapshots().prepare({diff_id_of(good)});
      EndlessLayer endless(told.write_end, files);
      (void)(*store)->snapshots().unpack(endless, DiffId{Digest::of("endless")});
      ::_exit(2);
    }
    told.write_end.reset();
    char byte = 0;
    REQUIRE(::read(told.read_end.get(), &byte, 1) == 1);
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    REQUIRE(WIFSIGNALED(status));
  }
  auto store = Store::open(root);
  REQUIRE_OK(store);
  CHECK((*store)->snapshots().contains(diff_id_of(good)));
  const auto active = *(*store)->snapshots().list_active();
  for (const auto& id : active) {
    REQUIRE_OK(open_mount(*(*store)->snapshots().mount_recipe(id)));
    REQUIRE_OK((*store)->snapshots().remove(id));
  }
  CHECK(count_entries(root + "/snapshots") > 2);
  auto report = (*store)->collect_garbage({diff_id_of(good)});
  REQUIRE_OK(report);
  CHECK(report->orphans >= 1);
  CHECK(count_entries(root + "/snapshots") == 2);  // "empty" and the good layer
}

TEST_CASE("a leftover that has the next number does not matter", "[store][crash]") {
  if (!is_root()) return;
  TestStore store;
  auto first = *store->snapshots().prepare({});
  const std::string next = store->root() + "/snapshots/" + std::to_string(std::stoll(first) + 1);
  REQUIRE_OK(make_directories(next + "/fs/junk", 0700));
  const std::string tar = TarBuilder().file("a", "1").text();
  REQUIRE_OK(unpack(*store, tar));
  auto view = *open_mount(*store->snapshots().view({diff_id_of(tar)}));
  CHECK(look(view, "a") == "file:1");
  CHECK(look(view, "junk") == "absent");
}

TEST_CASE("layers of a boot that ended before they were synced do not count", "[store][crash]") {
  if (!is_root()) return;
  TestStore store;
  const std::string lost = TarBuilder().file("a", "1").text(), kept = TarBuilder().file("b", "1").text();
  put_test_image(*store, "docker.io/library/kept:1", {kept});
  REQUIRE_OK(unpack(*store, lost));
  // As the database is after a reboot.
  REQUIRE_OK(store->database()->execute("UPDATE snapshots SET boot = 'another' WHERE boot <> ''"));
  CHECK(store->snapshots().contains(diff_id_of(kept)));
  CHECK(!store->snapshots().contains(diff_id_of(lost)));
  REQUIRE_OK(unpack(*store, lost));
  CHECK(store->snapshots().contains(diff_id_of(lost)));
  CHECK(store->collect_garbage({diff_id_of(lost)})->orphans == 1);
  CHECK(count_entries(store->root() + "/snapshots") == 3);
}

TEST_CASE("a full disk is no_space, and leaves nothing", "[store][crash]") {
  if (!is_root()) return;
  TempDir directory = *TempDir::create(temp_parent(), "dray-full-");
  const std::string root = directory.path();
  std::string big = TarBuilder()
                        .file("big",
                              [] {
                                std::string text;
                                for (std::uint32_t i = 0; text.size() < (9u << 20); i = i * 1664525 + 1013904223)
                                  text += std::to_string(i);
                                return text;
                              }())
                        .text();
  const int outcome = on_tmpfs(root, "size=6m", [&] {
    auto store = Store::open(root + "/root");
    if (!store) return 1;
    auto result = unpack(**store, big);
    if (result || result.error().code() != ErrorCode::no_space) return 2;
    if (count_entries(root + "/root/snapshots") != 1) return 3;
    auto blob = (*store)->content().write_blob(big);
    if (blob || blob.error().code() != ErrorCode::no_space) return 4;
    std::string config = [&] {
      image::ImageConfig made;
      made.diff_ids = {diff_id_of(big)};
      return image::serialize(made);
    }();
    auto source = make_memory_source(TarBuilder()
                                         .file("l.tar", big)
                                         .file("c.json", config)
                                         .file("manifest.json", R"([{"Config":"c.json","Layers":["l.tar"]}])")
                                         .text());
    SilentProgress progress;
    auto loaded = load_archive(**store, *source, {}, progress, CancelToken());
    if (loaded || loaded.error().code() != ErrorCode::no_space) return 5;
    if (count_entries(root + "/root/content/ingest") != 0 || !(*store)->content().list()->empty()) return 6;
    // And the store works on.
    if (!unpack(**store, TarBuilder().file("a", "1").text())) return 7;
    if (!(*store)->collect_garbage({})) return 8;
    return 0;
  });
  if (outcome == 77) {
    WARN("skipped: cannot mount a tmpfs here");
    return;
  }
  CHECK(outcome == 0);
}
