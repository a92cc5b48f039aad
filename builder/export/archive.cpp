// SPDX-License-Identifier: Apache-2.0
// OCI image layouts. Entries in a fixed order with fixed times: one image gives one archive.
#include "export/archive.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <dray/core/directory_lock.hpp>
#include <dray/core/process.hpp>
#include <dray/core/tar.hpp>
#include <dray/image/layout.hpp>

namespace dray::builder {
namespace {

constexpr std::string_view kLayout = R"({"imageLayoutVersion":"1.0.0"})";

/// The layout's index: the image under each of its names.
image::Index layout_index(const ExportRequest& request, const OutputOptions& output, const ComposedImage& image) {
  image::Index index;
  index.media_type = image::kOciIndex;
  image::Descriptor descriptor = image.top;
  if (!descriptor.platform && !image.is_index()) descriptor.platform = image.images.front().manifest.platform;
  if (!image.is_index())
    for (const auto& [key, value] : image.images.front().manifest.annotations) descriptor.annotations[key] = value;
  if (request.epoch) descriptor.annotations["org.opencontainers.image.created"] = format_time(*request.epoch);
  for (const Reference& name : output.names) {
    descriptor.annotations["io.containerd.image.name"] = name.canonical();
    descriptor.annotations["org.opencontainers.image.ref.name"] = name.tag();
    index.manifests.push_back(descriptor);
  }
  if (output.names.empty()) index.manifests.push_back(descriptor);
  return index;
}

DockerArchiveImage docker_image(const OutputOptions& output, const ComposedManifest& manifest) {
  DockerArchiveImage image;
  image.config = image::blob_path(manifest.config);
  for (const Reference& name : output.names) image.tags.push_back(name.familiar());
  for (const ImageLayer& layer : manifest.layers) image.layers.push_back(image::blob_path(layer.blob.digest));
  return image;
}

class TarLayout {
 public:
  TarLayout(ByteSink& sink, std::int64_t time) : writer_(sink), time_(time) {}

  Result<void> directory(const std::string& path) {
    tar::Entry entry = named(path, 0755);
    entry.type = tar::EntryType::directory;
    return writer_.add(entry, nullptr);
  }
  Result<void> text(const std::string& path, std::string_view text) {
    tar::Entry entry = named(path, 0644);
    entry.size = text.size();
    auto source = make_memory_source(std::string(text));
    return writer_.add(entry, source.get());
  }
  Result<void> blob(store::Store& store, const Digest& digest) {
    tar::Entry entry = named(image::blob_path(digest), 0444);
    entry.size = TRY(store.content().size(digest));
    auto file = make_fd_source(TRY(store.content().open_blob(digest)));
    HashingSource source(*file, digest.algorithm());
    TRY_CTX(writer_.add(entry, &source), "blob " + digest.to_string());
    if (source.finish() == digest) return {};
    return fail(ErrorCode::corrupt, "blob " + digest.to_string() + " is damaged in the store");
  }
  Result<void> finish() { return writer_.finish(); }

 private:
  tar::Entry named(const std::string& path, unsigned mode) const {
    tar::Entry entry;
    entry.path = path;
    entry.mode = mode;
    entry.mtime_seconds = time_;
    return entry;
  }
  tar::Writer writer_;
  std::int64_t time_;
};

Result<void> write_tar(const ExportRequest& request, const OutputOptions& output, const ComposedImage& image,
                       const CancelToken& cancel) {
  OutputFile file = TRY(create_output(output.dest));
  TarLayout layout(file.sink(), request.epoch.value_or(0));
  TRY(layout.directory("blobs"));
  TRY(layout.directory("blobs/sha256"));
  std::string algorithm = "sha256";
  for (const Digest& blob : image.blobs) {
    TRY(cancel.check());
    if (blob.algorithm() != algorithm) TRY(layout.directory("blobs/" + (algorithm = blob.algorithm())));
    TRY(layout.blob(request.store, blob));
  }
  TRY(layout.text("index.json", image::serialize(layout_index(request, output, image))));
  if (output.type == OutputOptions::Type::docker)
    TRY(layout.text("manifest.json", docker_archive_manifest(docker_image(output, image.images.front()))));
  TRY(layout.text("oci-layout", kLayout));
  TRY(layout.finish());
  return file.commit();
}

/// Blobs first, index.json last: whoever reads the layout meanwhile finds what it names.
Result<void> write_directory(const ExportRequest& request, const OutputOptions& output, const ComposedImage& image,
                             const CancelToken& cancel) {
  for (const Digest& blob : image.blobs) {
    TRY(cancel.check());
    TRY(write_layout_blob(request.store, blob, output.dest));
  }
  const DirectoryLock lock = TRY(DirectoryLock::acquire(output.dest));
  TRY(write_file_atomically(output.dest + "/oci-layout", kLayout, 0644, Durability::fsync));
  const image::Index added = layout_index(request, output, image);
  std::string index = image::serialize(added);
  if (const auto old = read_file(output.dest + "/index.json", image::kMaxManifestSize))
    index = TRY_CTX(merged_layout_index(*old, added), "\"" + output.dest + "\"");
  TRY(write_file_atomically(output.dest + "/index.json", index, 0644, Durability::fsync));
  if (output.type != OutputOptions::Type::docker) return {};
  const std::string manifest = docker_archive_manifest(docker_image(output, image.images.front()));
  return write_file_atomically(output.dest + "/manifest.json", manifest, 0644, Durability::fsync);
}

}  // namespace

Result<OutputFile> create_output(const std::string& dest) {
  if (dest == "-") return OutputFile::standard_output();
  return OutputFile::create(dest);
}

Result<void> write_layout_blob(store::Store& store, const Digest& blob, const std::string& layout) {
  const std::string path = image::blob_path(layout, blob);
  struct stat status;
  const std::uint64_t size = TRY(store.content().size(blob));
  if (::stat(path.c_str(), &status) == 0 && static_cast<std::uint64_t>(status.st_size) == size) return {};
  TRY(make_directories(layout + "/blobs/" + blob.algorithm()));
  OutputFile file = TRY(OutputFile::create(path, 0644, Durability::fsync));
  auto source = make_fd_source(TRY(store.content().open_blob(blob)));
  HashingSource hashed(*source, blob.algorithm());
  TRY(copy(hashed, file.sink()));
  if (hashed.finish() != blob) return fail(ErrorCode::corrupt, "blob " + blob.to_string() + " is damaged in the store");
  return file.commit();
}

Result<void> export_layout(const ExportRequest& request, const OutputOptions& output, const ComposedImage& image,
                           const CancelToken& cancel) {
  if (output.type == OutputOptions::Type::docker && image.is_index())
    return fail(ErrorCode::unsupported,
                "docker's archive format holds no image index (several platforms, or attestations): "
                "use type=oci");
  return output.as_tar ? write_tar(request, output, image, cancel) : write_directory(request, output, image, cancel);
}

}  // namespace dray::builder
