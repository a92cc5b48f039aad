// SPDX-License-Identifier: Apache-2.0
#include <dray/store/layer_writer.hpp>

#include "support.hpp"

using namespace dray;
using namespace dray::store;
using namespace dray::store::test;

TEST_CASE("a layer is hashed, packed and named in one pass", "[store][layer]") {
  TestStore store;
  std::string tar;
  for (int i = 0; tar.size() < 1'500'000; ++i) tar += std::to_string(i);  // more than the second thread's buffers
  const std::pair<Compression, std::string_view> kinds[] = {{Compression::gzip, image::kOciLayerGzip},
                                                            {Compression::zstd, image::kOciLayerZstd},
                                                            {Compression::none, image::kOciLayer}};
  for (const auto& [compression, media_type] : kinds) {
    for (const std::optional<int> level : {std::optional<int>(), std::optional<int>(2)}) {
      auto writer = *LayerWriter::begin(store->content(), compression, level);
      for (std::size_t at = 0; at < tar.size(); at += 77'777)
        REQUIRE_OK(
            writer.write(std::as_bytes(std::span(tar)).subspan(at, std::min<std::size_t>(77'777, tar.size() - at))));
      CHECK(writer.tar_size() == tar.size());
      const auto layer = writer.commit();
      REQUIRE_OK(layer);
      CHECK(layer->diff_id == diff_id_of(tar));
      CHECK(layer->blob.media_type == media_type);
      CHECK(layer->blob.size == *store->content().size(layer->blob.digest));
      auto blob = make_fd_source(*store->content().open_blob(layer->blob.digest));
      auto unpacked = make_decompressing_source(*blob);
      StringSink back;
      REQUIRE_OK(copy(*unpacked, back));
      CHECK(back.text == tar);
    }
  }
}

TEST_CASE("a layer that is given up leaves nothing", "[store][layer]") {
  TestStore store;
  {
    auto writer = *LayerWriter::begin(store->content());
    const std::string tar(1'000'000, 'x');
    REQUIRE_OK(writer.write(std::as_bytes(std::span(tar))));
  }
  CHECK(store->content().list()->empty());
  CHECK(count_entries(store->root() + "/content/ingest") == 0);
  CHECK(LayerWriter::begin(store->content(), Compression::xz).error().code() == ErrorCode::unsupported);
}
