// SPDX-License-Identifier: Apache-2.0
// oci: an OCI image layout in a directory (image-spec, image-layout.md). index.json is replaced as a whole, last, under
// a lock, so that two copies into one layout do not lose each other's entries.
#include <fcntl.h>
#include <sys/stat.h>

#include <dray/core/directory_lock.hpp>
#include <dray/image/layout.hpp>

#include "transport.hpp"
#include "transport_json.hpp"

namespace dray::registry {
namespace {

class LayoutSource : public ImageSource {
 public:
  LayoutSource(std::string directory, std::string name) : directory_(std::move(directory)), name_(std::move(name)) {}

  Result<Document> top() override {
    const std::string bytes = TRY(read_file(directory_ + "/index.json", image::kMaxManifestSize));
    const image::Index index = TRY_CTX(image::parse_index(bytes), "\"" + directory_ + "/index.json\"");
    const image::Descriptor* found = nullptr;
    for (const image::Descriptor& entry : index.manifests) {
      if (!name_.empty() && name_of(entry) != name_ && entry.digest.to_string() != name_) continue;
      if (found != nullptr && name_.empty())
        return Failure(Error(ErrorCode::invalid_argument, "the layout \"" + directory_ + "\" holds several images")
                           .with_hint("name one: " + directory_ + ":TAG"));
      found = &entry;
    }
    if (const auto digest = Digest::parse(name_); found == nullptr && digest) {  // below an index, or in no list at all
      image::Descriptor entry;
      entry.digest = *digest;
      Document document = TRY(read(entry));
      if (document.media_type.empty())
        document.media_type = image::is_index(document.bytes, "") ? image::kOciIndex : image::kOciManifest;
      return document;
    }
    if (found == nullptr)
      return fail(ErrorCode::not_found, "the layout \"" + directory_ + "\" holds no image" +
                                            (name_.empty() ? "" : " with the tag \"" + name_ + "\""));
    return read(*found);
  }
  Result<Document> child(HttpClient&, const image::Descriptor& descriptor) override { return read(descriptor); }
  Result<FileDescriptor> open(HttpClient&, const image::Descriptor& blob, const std::string&, StepProgress&) override {
    return open_file(image::blob_path(directory_, blob.digest), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  }
  Result<std::vector<image::Descriptor>> referrers(HttpClient&, const Digest& subject) override {
    const std::string bytes = TRY(read_file(directory_ + "/index.json", image::kMaxManifestSize));
    std::vector<image::Descriptor> found;
    for (const image::Descriptor& entry : TRY(image::parse_index(bytes)).manifests) {
      auto document = read(entry);
      if (document && subject_of(document->bytes) == subject) found.push_back(entry);
    }
    return found;
  }

 private:
  static std::string name_of(const image::Descriptor& entry) {
    const auto found = entry.annotations.find("org.opencontainers.image.ref.name");
    return found == entry.annotations.end() ? "" : found->second;
  }
  Result<Document> read(const image::Descriptor& descriptor) {
    return verified_document(TRY(read_file(image::blob_path(directory_, descriptor.digest), image::kMaxManifestSize)),
                             descriptor);
  }
  const std::string directory_, name_;
};

class LayoutDestination : public ImageDestination {
 public:
  LayoutDestination(std::string directory, std::string name)
      : directory_(std::move(directory)), name_(std::move(name)) {}

  std::string scratch() const override { return directory_ + "/blobs"; }
  Result<bool> has(HttpClient&, const image::Descriptor& blob) override {
    struct stat status;
    return ::stat(image::blob_path(directory_, blob.digest).c_str(), &status) == 0 &&
           static_cast<std::uint64_t>(status.st_size) == blob.size;
  }
  Result<void> put(HttpClient&, const image::Descriptor& blob, FileDescriptor file, StepProgress& progress) override {
    TRY(make_directories(directory_ + "/blobs/" + blob.digest.algorithm()));
    TRY(place_file(file, image::blob_path(directory_, blob.digest)));
    progress.end(ProgressEvent::Kind::completed, "Copied");
    return {};
  }
  Result<void> put_document(HttpClient&, const Document& document, bool name_it) override {
    TRY(make_directories(directory_ + "/blobs/" + document.digest.algorithm()));
    TRY(write_file_atomically(image::blob_path(directory_, document.digest), document.bytes, 0644, Durability::none));
    if (!name_it && subject_of(document.bytes).empty()) return {};
    const DirectoryLock lock = TRY(DirectoryLock::acquire(directory_));
    const std::string path = directory_ + "/index.json";
    std::string index;
    if (auto known = read_file(path, image::kMaxManifestSize)) {
      index = *std::move(known);
    } else if (known.error().code() != ErrorCode::not_found) {
      return Failure(std::move(known).error());
    }
    image::Descriptor entry;
    entry.media_type = document.media_type;
    entry.digest = document.digest;
    entry.size = document.bytes.size();
    TRY(write_file_atomically(path, TRY(add_to_layout(index, entry, name_it ? name_ : "")), 0644, Durability::none));
    return {};
  }
  Result<void> finish() override {
    return write_file_atomically(directory_ + "/oci-layout", R"({"imageLayoutVersion":"1.0.0"})", 0644,
                                 Durability::none);
  }

 private:
  const std::string directory_, name_;
};

}  // namespace

Result<std::unique_ptr<ImageSource>> open_layout_source(const std::string& rest) {
  auto [path, name] = split_path_and_name(rest);
  return std::make_unique<LayoutSource>(std::move(path), std::move(name));
}

Result<std::unique_ptr<ImageDestination>> open_layout_destination(const std::string& rest) {
  auto [path, name] = split_path_and_name(rest);
  TRY(make_directories(path + "/blobs/sha256"));
  return std::make_unique<LayoutDestination>(std::move(path), std::move(name));
}

}  // namespace dray::registry
