// SPDX-License-Identifier: Apache-2.0
// Layouts that several write at once, and archives that nobody would make.
#include "catch.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <thread>

#include <dray/core/tar.hpp>

#include "transport.hpp"

using namespace dray;
using namespace dray::registry;

namespace {

Document manifest(int number) {
  image::Manifest manifest;
  manifest.media_type = image::kOciManifest;
  manifest.config.media_type = std::string(image::kOciConfig);
  manifest.config.digest = Digest::of(std::to_string(number));
  manifest.config.size = 1;
  Document document;
  document.bytes = image::serialize(manifest);
  document.media_type = image::kOciManifest;
  document.digest = Digest::of(document.bytes);
  return document;
}

}  // namespace

TEST_CASE("copies into one layout at once lose no entry, and leave no lock", "[registry]") {
  constexpr int kThreads = 4, kEach = 15;
  const TempDir directory = TempDir::create("/tmp", "dray-layout-test-").value();
  std::vector<std::thread> threads;
  std::atomic<int> failures = 0;
  for (int thread = 0; thread < kThreads; ++thread)
    threads.emplace_back([&, thread] {
      auto client = HttpClient::create();
      for (int i = 0; i < kEach; ++i) {
        const int number = thread * kEach + i;
        auto destination = open_layout_destination(directory.path() + ":t" + std::to_string(number));
        if (!client || !destination || !(*destination)->put_document(*client, manifest(number), true) ||
            !(*destination)->finish())
          ++failures;
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(failures == 0);
  const auto index = image::parse_index(*read_file(directory.path() + "/index.json"));
  REQUIRE_OK(index);
  CHECK(index->manifests.size() == kThreads * kEach);
  CHECK(::access((directory.path() + "/blobs/.lock").c_str(), F_OK) != 0);
}

TEST_CASE("an archive of too many links is refused", "[registry]") {
  const TempDir directory = TempDir::create("/tmp", "dray-archive-test-").value();
  const std::string path = directory.path() + "/links";
  {
    FileDescriptor file = open_file(path, O_WRONLY | O_CREAT, 0600).value();
    auto plain = make_fd_sink(FdRef(file));
    auto packed = make_zstd_sink(*plain, 1);
    tar::Writer writer(*packed);
    tar::Entry entry;
    entry.type = tar::EntryType::hardlink;
    entry.link_target = "manifest.json";
    bool written = true;
    for (int i = 0; i <= 100000; ++i) {
      entry.path = std::to_string(i);
      written = written && writer.add(entry, nullptr);
    }
    REQUIRE(written);
    REQUIRE_OK(writer.finish());
    REQUIRE_OK(packed->finish());
  }
  auto store = store::Store::open(directory.path() + "/root").value();
  SilentProgress progress;
  CancelToken cancel;
  Stop stop(cancel);
  Options options;
  const CopyOptions what;
  const CopyContext context{*store, what, options, progress, cancel, stop, std::nullopt};
  const auto source = open_archive_source(context, path);
  REQUIRE_FALSE(source);
  CHECK(source.error().message().find("too many files") != std::string::npos);
}
