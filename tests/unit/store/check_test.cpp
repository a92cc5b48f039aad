// SPDX-License-Identifier: Apache-2.0
// Each way in which a store can be damaged by hand or by the disk: found, named, repaired as far as it can be.
#include <dray/store/check.hpp>

#include "support.hpp"

using namespace dray;
using namespace dray::store;
using namespace dray::store::test;

namespace {

struct Damaged {
  TestStore store;
  std::string tar = TarBuilder().file("a", "text of a").text();
  std::string second = TarBuilder().file("b", "text of b").text();
  ImageRecord record = put_test_image(*store, "docker.io/library/one:latest", {tar, second});

  std::string blob_path(const Digest& digest) const {
    return store->root() + "/content/blobs/" + digest.algorithm() + "/" + digest.hex();
  }
  void spoil(const Digest& digest) {
    REQUIRE_OK(write_file_atomically(blob_path(digest), "something else", 0600, Durability::none));
  }
  void lose_layer(const std::string& layer) {
    auto recipe = store->snapshots().view({diff_id_of(layer)});
    REQUIRE_OK(recipe);
    const auto [directory, name] = std::pair(recipe->lower.front().substr(0, recipe->lower.front().rfind('/')), "fs");
    auto parent = open_file(directory, O_PATH | O_DIRECTORY);
    REQUIRE_OK(parent);
    REQUIRE_OK(remove_tree(*parent, name));
  }
  CheckReport look(bool repair = false, const std::vector<ContainerClaim>& claims = {}) {
    CheckOptions options;
    options.repair = repair;
    options.containers = [&]() -> Result<std::vector<ContainerClaim>> { return claims; };
    auto report = check(*store, options, CancelToken());
    REQUIRE_OK(report);
    return *std::move(report);
  }
  std::vector<Problem::Kind> kinds(bool repair = false) {
    std::vector<Problem::Kind> found;
    for (const Problem& problem : look(repair).problems) {
      INFO(problem.subject << ": " << problem.what);
      CHECK(!problem.meaning.empty());
      CHECK(!problem.advice.empty());
      found.push_back(problem.kind);
    }
    return found;
  }
};

using Kind = Problem::Kind;
using Kinds = std::vector<Problem::Kind>;

}  // namespace

TEST_CASE("a whole store has no problem and no orphan", "[store][check]") {
  if (!is_root()) return;
  Damaged damaged;
  const CheckReport report = damaged.look();
  CHECK(report.problems.empty());
  CHECK(report.orphans.total() == 0);
  CHECK(report.blobs == 4);
  CHECK(report.layers == 2);
  CHECK(report.images == 1);
  CHECK(report.bytes > damaged.tar.size() + damaged.second.size());
}

TEST_CASE("a damaged layer blob is removed; the image still runs and says what it lacks", "[store][check]") {
  if (!is_root()) return;
  Damaged damaged;
  damaged.spoil(Digest::of(damaged.tar));
  CHECK(damaged.kinds() == Kinds{Kind::damaged_blob, Kind::incomplete_image});
  const CheckReport repaired = damaged.look(true);
  REQUIRE(repaired.problems.size() == 2);
  CHECK(repaired.problems[0].repaired);
  CHECK(!repaired.problems[1].repaired);
  CHECK(repaired.problems[1].advice.find("one") != std::string::npos);
  CHECK(!damaged.store->content().contains(Digest::of(damaged.tar)));
  REQUIRE_OK(damaged.store->content().write_blob(damaged.tar));
  CHECK(damaged.kinds().empty());
}

TEST_CASE("an image without its config goes", "[store][check]") {
  if (!is_root()) return;
  Damaged damaged;
  damaged.spoil(damaged.record.image_id);
  CHECK(damaged.kinds() == Kinds{Kind::damaged_blob, Kind::unusable_image});
  CHECK(damaged.kinds(true).size() == 2);
  CHECK(damaged.kinds().empty());
  CHECK(damaged.store->list_images()->empty());
  CHECK(damaged.look().orphans.blobs == 3);  // manifest and layers: prune takes them
}

TEST_CASE("a lost layer is unpacked again from its blob", "[store][check]") {
  if (!is_root()) return;
  Damaged damaged;
  damaged.lose_layer(damaged.tar);
  CHECK(damaged.kinds() == Kinds{Kind::lost_layer, Kind::unpacked_missing});
  CHECK(damaged.kinds(true).size() == 2);
  CHECK(damaged.kinds().empty());
  auto view = open_mount(*damaged.store->snapshots().view({diff_id_of(damaged.tar), diff_id_of(damaged.second)}));
  REQUIRE_OK(view);
  CHECK(look(*view, "a") == "file:text of a");
}

TEST_CASE("a layer lost with its blob makes the image unusable", "[store][check]") {
  if (!is_root()) return;
  Damaged damaged;
  damaged.lose_layer(damaged.second);
  REQUIRE_OK(damaged.store->content().remove(Digest::of(damaged.second)));
  CHECK(damaged.kinds() == Kinds{Kind::lost_layer, Kind::unusable_image});
  for (const Problem& problem : damaged.look(true).problems) CHECK(problem.repaired);
  CHECK(damaged.kinds().empty());
}

TEST_CASE("build-cache records that point nowhere", "[store][check]") {
  if (!is_root()) return;
  Damaged damaged;
  image::Descriptor blob;
  blob.digest = Digest::of("never written");
  BuildCacheRecord lost{.key = "1", .layer = DiffId{Digest::of("no layer")}, .blob = {}, .description = "RUN x"};
  BuildCacheRecord unpacked{.key = "2", .layer = diff_id_of(damaged.tar), .blob = blob, .description = "RUN y"};
  REQUIRE_OK(damaged.store->put_build_cache(lost));
  REQUIRE_OK(damaged.store->put_build_cache(unpacked));
  auto found = damaged.kinds();
  std::sort(found.begin(), found.end());
  CHECK(found == Kinds{Kind::cache_layer, Kind::cache_blob});
  for (const Problem& problem : damaged.look(true).problems) CHECK(problem.repaired);
  CHECK(damaged.kinds().empty());
  CHECK(damaged.store->list_build_cache()->size() == 1);
}

TEST_CASE("layers lost with the power are no damage, and garbage collection forgets their cache records",
          "[store][check]") {
  if (!is_root()) return;
  Damaged damaged;
  const std::string tar = TarBuilder().file("c", "c").text();
  REQUIRE_OK(unpack(*damaged.store, tar));
  REQUIRE_OK(damaged.store->put_build_cache({.key = "1", .layer = diff_id_of(tar), .blob = {}, .description = "RUN"}));
  REQUIRE_OK(damaged.store->database()->execute("UPDATE snapshots SET boot = 'earlier' WHERE diff_id = ?",
                                                {diff_id_of(tar).digest.to_string()}));
  CHECK(damaged.kinds().empty());
  REQUIRE_OK(damaged.store->collect_garbage({}));
  CHECK(damaged.kinds().empty());
  CHECK(damaged.store->list_build_cache()->empty());
}

TEST_CASE("an index that names a blob which is gone", "[store][check]") {
  if (!is_root()) return;
  Damaged damaged;
  auto extra = damaged.store->content().write_blob("an attestation");
  REQUIRE_OK(extra);
  image::Manifest attestation;
  attestation.media_type = image::kOciManifest;
  attestation.config.digest = *extra;
  attestation.config.media_type = image::kOciConfig;
  attestation.config.size = 14;
  image::Index index;
  index.media_type = image::kOciIndex;
  for (const Digest& digest :
       {damaged.record.manifest, *damaged.store->content().write_blob(image::serialize(attestation))}) {
    image::Descriptor entry;
    entry.media_type = image::kOciManifest;
    entry.digest = digest;
    entry.size = *damaged.store->content().size(digest);
    index.manifests.push_back(entry);
  }
  image::Descriptor descriptor;
  descriptor.media_type = image::kOciIndex;
  descriptor.digest = *damaged.store->content().write_blob(image::serialize(index));
  descriptor.size = image::serialize(index).size();
  REQUIRE_OK(damaged.store->put_image_index(damaged.record.reference, descriptor));
  CHECK(damaged.kinds().empty());
  REQUIRE_OK(damaged.store->content().remove(*extra));
  CHECK(damaged.kinds() == Kinds{Kind::image_index});
  CHECK(damaged.kinds(true) == Kinds{Kind::image_index});
  CHECK(damaged.kinds().empty());
  CHECK(damaged.store->list_images()->size() == 1);
}

TEST_CASE("containers whose parts are gone are named and not touched", "[store][check]") {
  if (!is_root()) return;
  Damaged damaged;
  auto snapshot = damaged.store->snapshots().prepare({diff_id_of(damaged.tar)});
  REQUIRE_OK(snapshot);
  ContainerClaim whole{.name = "whole", .snapshot = *snapshot, .layers = {diff_id_of(damaged.tar)}, .error = ""};
  ContainerClaim bare{.name = "bare", .snapshot = "4711", .layers = {}, .error = ""};
  ContainerClaim unreadable{.name = "unreadable", .snapshot = "", .layers = {}, .error = "its record is damaged"};
  CHECK(damaged.look(false, {whole}).problems.empty());
  CHECK(damaged.look(false, {whole}).orphans.total() == 0);
  CHECK(damaged.look(false).orphans.snapshots == 1);
  const CheckReport report = damaged.look(true, {whole, bare, unreadable});
  REQUIRE(report.problems.size() == 2);
  CHECK(report.problems[0].subject == "container bare");
  CHECK(report.problems[1].what == "its record is damaged");
  CHECK(!report.problems[0].repaired);
}

TEST_CASE("what nobody refers to is counted, and is no problem", "[store][check]") {
  if (!is_root()) return;
  Damaged damaged;
  REQUIRE_OK(damaged.store->content().write_blob("nobody's"));
  REQUIRE_OK(unpack(*damaged.store, TarBuilder().file("c", "c").text()));
  REQUIRE_OK(make_directories(damaged.store->root() + "/snapshots/new-1234/fs"));
  REQUIRE_OK(write_file_atomically(damaged.store->root() + "/content/ingest/blob-1", "x", 0600, Durability::none));
  const CheckReport report = damaged.look();
  CHECK(report.problems.empty());
  CHECK(report.orphans.blobs == 1);
  CHECK(report.orphans.layers == 1);
  CHECK(report.orphans.snapshots == 1);
  CHECK(report.orphans.partial_files == 1);
  REQUIRE_OK(damaged.store->collect_garbage({}));
  CHECK(damaged.look().orphans.total() == 0);
}

TEST_CASE("a repair waits for nobody: beside other work it changes nothing", "[store][check]") {
  if (!is_root()) return;
  Damaged damaged;
  damaged.spoil(Digest::of(damaged.tar));
  const auto lease = damaged.store->lease();
  REQUIRE_OK(lease);
  const CheckReport report = damaged.look(true);
  CHECK(report.repair_deferred);
  CHECK(report.problems.size() == 2);
  CHECK(damaged.store->content().contains(Digest::of(damaged.tar)));
}
