// SPDX-License-Identifier: Apache-2.0
#include "archive_stage.hpp"
#include "content_paths.hpp"
#include "support.hpp"

using namespace dray;
using namespace dray::store;
using namespace dray::store::test;

namespace {

Result<std::vector<std::string>> load(Store& store, const std::string& archive) {
  auto source = make_memory_source(archive);
  SilentProgress progress;
  return load_archive(store, *source, {}, progress, CancelToken());
}

std::string config_of(const std::vector<std::string>& tars) {
  image::ImageConfig config;
  config.platform = image::Platform::host();
  for (const auto& tar : tars) config.diff_ids.push_back(diff_id_of(tar));
  return image::serialize(config);
}

void expect_nothing_left(Store& store) {
  CHECK(store.list_images()->empty());
  CHECK(store.content().list()->empty());
  CHECK(store.snapshots().list_layers()->empty());
  CHECK(count_entries(store.root() + "/content/ingest") == 0);
  CHECK(count_entries(store.root() + "/snapshots") == 1);
}

}  // namespace

TEST_CASE("what is saved can be loaded", "[store][archive]") {
  if (!is_root()) return;
  TestStore store;
  const std::string one = TarBuilder().file("a", "1").text(), two = TarBuilder().file("b", "2").text();
  auto record = put_test_image(*store, "docker.io/library/first:1", {one, two});
  auto second = record;
  second.reference = "example.com/second:2";
  REQUIRE_OK(store->put_image(second));
  put_test_image(*store, "docker.io/library/third:latest", {one});
  StringSink archive, again;
  CancelToken cancel;
  REQUIRE_OK(save_archive(*store, {"first:1", "example.com/second:2", "third"}, {}, archive, cancel));
  REQUIRE_OK(save_archive(*store, {"first:1", "example.com/second:2", "third"}, {}, again, cancel));
  CHECK(archive.text == again.text);

  TestStore other;
  auto lines = load(*other, archive.text);
  REQUIRE_OK(lines);
  CHECK(*lines == std::vector<std::string>{"Loaded image: first:1", "Loaded image: example.com/second:2",
                                           "Loaded image: third:latest"});
  CHECK(other->resolve_image("first:1")->manifest == record.manifest);
  auto image = other->load_image(*other->resolve_image("example.com/second:2"));
  REQUIRE_OK(image);
  CHECK(image->size == 2);
  auto view = open_mount(*other->snapshots().view(image->config.diff_ids));
  REQUIRE_OK(view);
  CHECK(look(*view, "a") == "file:1");
  CHECK(count_entries(other->root() + "/content/ingest") == 0);
  REQUIRE_OK(load(*other, archive.text));  // once more
  CHECK(other->list_images()->size() == 3);

  StringSink by_id;
  REQUIRE_OK(save_archive(*store, {record.image_id.short_hex()}, {}, by_id, cancel));
  TestStore third;
  CHECK(*load(*third, by_id.text) == std::vector<std::string>{"Loaded image ID: " + record.image_id.to_string()});
  CHECK(save_archive(*store, {"no-such"}, {}, by_id, cancel).error().code() == ErrorCode::not_found);
}

TEST_CASE("the old docker save format: plain layers are packed", "[store][archive]") {
  if (!is_root()) return;
  TestStore store;
  const std::string layer = TarBuilder().file("a", std::string(50'000, 'a')).text();
  const std::string config = config_of({layer, layer});
  const std::string hex = Digest::of(config).hex();
  const std::string archive =
      TarBuilder()
          .file("one/layer.tar", layer)
          .symlink("two/layer.tar", "../one/layer.tar")
          .file("nobodys.tar", TarBuilder().file("b", "no image names it").text())
          .file("no-layer.tar", "not even a tar")
          .file(hex + ".json", config)
          .file("manifest.json",
                R"([{"Config":")" + hex + R"(.json","RepoTags":["old:1"],"Layers":["one/layer.tar","two/layer.tar"]}])")
          .text();
  auto lines = load(*store, archive);
  REQUIRE_OK(lines);
  CHECK(*lines == std::vector<std::string>{"Loaded image: old:1"});
  auto image = store->load_image(*store->resolve_image("old:1"));
  REQUIRE_OK(image);
  CHECK(image->record.image_id.hex() == hex);
  REQUIRE(image->manifest.layers.size() == 2);
  CHECK(image->manifest.layers[0].media_type == image::kOciLayerGzip);
  CHECK(*store->content().size(image->manifest.layers[0].digest) < 5000);
  CHECK(count_entries(store->root() + "/snapshots") == 2);  // the layer, and "empty"
  REQUIRE_OK(load(*store, archive));
  CHECK(count_entries(store->root() + "/snapshots") == 2);
}

TEST_CASE("archives that are not what they say leave nothing", "[store][archive][hostile]") {
  if (!is_root()) return;
  TestStore store;
  const std::string layer = TarBuilder().file("a", "1").text(), other = TarBuilder().file("a", "2").text();
  const std::string config = config_of({layer});
  const std::string hex = Digest::of(config).hex();
  auto with = [&](const std::string& config_text, const std::string& layer_text, const std::string& layers) {
    return TarBuilder()
        .file("l.tar", layer_text)
        .file(hex + ".json", config_text)
        .file("manifest.json", R"([{"Config":")" + hex + R"(.json","RepoTags":["x:1"],"Layers":)" + layers + "}]")
        .text();
  };
  CHECK(load(*store, with(config, other, R"(["l.tar"])")).error().code() == ErrorCode::corrupt);        // diffID
  CHECK(load(*store, with(config + " ", layer, R"(["l.tar"])")).error().code() == ErrorCode::corrupt);  // config digest
  CHECK(load(*store, with(config, layer, R"(["l.tar","l.tar"])")).error().code() == ErrorCode::corrupt);  // count
  CHECK(load(*store, with(config, layer, R"(["../../../etc/passwd"])")).error().code() == ErrorCode::not_found);
  CHECK(load(*store, with(config, layer, R"([7])")).error().code() == ErrorCode::corrupt);
  CHECK(load(*store, TarBuilder().file("a", "1").text()).error().code() == ErrorCode::corrupt);
  CHECK(load(*store, "no tar at all, but text that goes on for a while").error().code() == ErrorCode::corrupt);
  CHECK(!load(*store, TarBuilder().file("manifest.json", "[" + std::string(5000, '[')).text()));
  CHECK(!load(*store, TarBuilder().symlink("manifest.json", "manifest.json").text()));
  CHECK(!load(*store, TarBuilder().file("blobs/sha256/" + std::string(64, 'a'), "wrong").text()));
  expect_nothing_left(*store);
  // A name that looks like what might be made of another one: no file takes the place of one that was verified.
  const std::string blob = "blobs/sha256/" + Digest::of("good").hex();
  TarBuilder twice;
  twice.file("l.tar", layer).file(hex + ".json", config).file("manifest.json", "[]").file(blob, "good");
  for (int i = 0; i < 9; ++i) twice.file(blob + "\n" + std::to_string(i + 5), "other");
  twice.file(blob, "good").file("zzz", "bad").file("blobs/sha256/" + Digest::of("bad").hex(), "bad");
  {
    auto staged = ArchiveStage::create(ingest_path(store->content().directory()), store->snapshots());
    REQUIRE_OK(staged);
    REQUIRE_OK(staged->read(*make_memory_source(twice.text()), CancelToken()));
    CHECK(*staged->read_document(blob) == "good");
  }
  // Two layers, the second one wrong: the first one is taken back.
  const std::string both = config_of({layer, other});
  const std::string both_hex = Digest::of(both).hex();
  CHECK(
      !load(*store, TarBuilder()
                        .file("l.tar", layer)
                        .file(both_hex + ".json", both)
                        .file("manifest.json", R"([{"Config":")" + both_hex + R"(.json","Layers":["l.tar","l.tar"]}])")
                        .text()));
  expect_nothing_left(*store);
  CancelToken cancel;
  cancel.cancel();
  auto source = make_memory_source(with(config, layer, R"(["l.tar"])"));
  SilentProgress progress;
  CHECK(load_archive(*store, *source, {}, progress, cancel).error().code() == ErrorCode::cancelled);
  expect_nothing_left(*store);
}
