// SPDX-License-Identifier: Apache-2.0
// dir: skopeo's flat directory: "version", "manifest.json", "<hex>.manifest.json" for what an index names, and each
// blob under its digest's hex.
#include <fcntl.h>
#include <sys/stat.h>

#include "transport.hpp"

namespace dray::registry {
namespace {

constexpr std::string_view kVersion = "Directory Transport Version: 1.1\n";

class DirectorySource : public ImageSource {
 public:
  explicit DirectorySource(std::string directory) : directory_(std::move(directory)) {}
  Result<Document> top() override {
    std::string bytes = TRY(read_file(directory_ + "/manifest.json", image::kMaxManifestSize));
    image::Descriptor descriptor;
    descriptor.digest = Digest::of(bytes);
    return verified_document(std::move(bytes), descriptor);
  }
  Result<Document> child(HttpClient&, const image::Descriptor& descriptor) override {
    return verified_document(
        TRY(read_file(directory_ + "/" + descriptor.digest.hex() + ".manifest.json", image::kMaxManifestSize)),
        descriptor);
  }
  Result<FileDescriptor> open(HttpClient&, const image::Descriptor& blob, const std::string&, StepProgress&) override {
    return open_file(directory_ + "/" + blob.digest.hex(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  }
  Result<std::vector<image::Descriptor>> referrers(HttpClient&, const Digest&) override {
    return std::vector<image::Descriptor>();
  }

 private:
  const std::string directory_;
};

class DirectoryDestination : public ImageDestination {
 public:
  explicit DirectoryDestination(std::string directory) : directory_(std::move(directory)) {}
  std::string scratch() const override { return directory_; }
  Result<bool> has(HttpClient&, const image::Descriptor& blob) override {
    struct stat status;
    return ::stat((directory_ + "/" + blob.digest.hex()).c_str(), &status) == 0 &&
           static_cast<std::uint64_t>(status.st_size) == blob.size;
  }
  Result<void> put(HttpClient&, const image::Descriptor& blob, FileDescriptor file, StepProgress& progress) override {
    TRY(place_file(file, directory_ + "/" + blob.digest.hex()));
    progress.end(ProgressEvent::Kind::completed, "Copied");
    return {};
  }
  Result<void> put_document(HttpClient&, const Document& document, bool name_it) override {
    const std::string name = name_it ? "manifest.json" : document.digest.hex() + ".manifest.json";
    return write_file_atomically(directory_ + "/" + name, document.bytes, 0644, Durability::none);
  }
  Result<void> finish() override {
    return write_file_atomically(directory_ + "/version", kVersion, 0644, Durability::none);
  }

 private:
  const std::string directory_;
};

}  // namespace

Result<std::unique_ptr<ImageSource>> open_directory_source(const std::string& rest) {
  return std::make_unique<DirectorySource>(rest);
}

Result<std::unique_ptr<ImageDestination>> open_directory_destination(const std::string& rest) {
  TRY(make_directories(rest));
  return std::make_unique<DirectoryDestination>(rest);
}

}  // namespace dray::registry
