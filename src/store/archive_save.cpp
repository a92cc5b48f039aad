// SPDX-License-Identifier: Apache-2.0
// One tar that is both an OCI image layout and docker save's form: manifest.json names the same blobs.
#include <fcntl.h>

#include <dray/core/tar.hpp>
#include <dray/store/store.hpp>

#include "archive_json.hpp"

namespace dray::store {
namespace {

std::string blob_name(const Digest& digest) { return "blobs/" + digest.algorithm() + "/" + digest.hex(); }

class CancellableSource : public ByteSource {
 public:
  CancellableSource(ByteSource& inner, const CancelToken& cancel) : inner_(inner), cancel_(cancel) {}
  Result<std::size_t> read(std::span<std::byte> buffer) override {
    if (cancel_.cancelled()) return fail(ErrorCode::cancelled, "cancelled");
    return inner_.read(buffer);
  }

 private:
  ByteSource& inner_;
  const CancelToken& cancel_;
};

Result<void> add_text(tar::Writer& writer, const std::string& name, const std::string& text) {
  tar::Entry entry;
  entry.path = name;
  entry.mode = 0644;
  entry.size = text.size();
  auto content = make_memory_source(text);
  return writer.add(entry, content.get());
}

}  // namespace

Result<void> save_archive(Store& store, const std::vector<std::string>& names, ByteSink& sink, const CancelToken& cancel) {
  Store::Lease lease = TRY(store.lease());
  image::Index index;
  index.media_type = image::kOciIndex;
  std::vector<ArchiveImage> archive_images;
  std::map<std::string, Digest> blobs;  // by member name: each once, sorted
  std::map<std::string, std::size_t> position;
  for (const std::string& name : names) {
    ImageRecord record = TRY(store.resolve_image(name));
    LoadedImage loaded = TRY(store.load_image(record));
    image::Descriptor descriptor;
    descriptor.media_type = record.media_type;
    descriptor.digest = record.manifest;
    descriptor.size = TRY(store.content().size(record.manifest));
    auto reference = record.reference.empty() ? Result<Reference>(fail(ErrorCode::not_found, "")) : Reference::parse(record.reference);
    // As docker: saved by ID, an image carries no name.
    bool by_name = reference && Reference::parse(name).has_value() && TRY(Reference::parse(name)).canonical() == record.reference;
    if (by_name) {
      descriptor.annotations["io.containerd.image.name"] = record.reference;
      descriptor.annotations["org.opencontainers.image.ref.name"] = reference->tag();
    }
    index.manifests.push_back(descriptor);
    auto [found, is_new] = position.try_emplace(record.manifest.to_string(), archive_images.size());
    if (is_new) {
      ArchiveImage entry;
      entry.config = blob_name(loaded.manifest.config.digest);
      for (const auto& layer : loaded.manifest.layers) entry.layers.push_back(blob_name(layer.digest));
      archive_images.push_back(std::move(entry));
    }
    if (by_name) archive_images[found->second].repo_tags.push_back(reference->familiar());
    for (const Digest& digest : {record.manifest, loaded.manifest.config.digest}) blobs[blob_name(digest)] = digest;
    for (const auto& layer : loaded.manifest.layers) blobs[blob_name(layer.digest)] = layer.digest;
  }
  tar::Writer writer(sink);
  for (const auto& [member, digest] : blobs) {
    tar::Entry entry;
    entry.path = member;
    entry.mode = 0644;
    entry.size = TRY(store.content().size(digest));
    auto source = make_fd_source(TRY(store.content().open_blob(digest)));
    CancellableSource content(*source, cancel);
    TRY(writer.add(entry, &content));
  }
  TRY(add_text(writer, "index.json", image::serialize(index)));
  TRY(add_text(writer, "manifest.json", serialize_archive_manifest(archive_images)));
  TRY(add_text(writer, "oci-layout", R"({"imageLayoutVersion":"1.0.0"})"));
  TRY(writer.finish());
  return sink.finish();
}

}  // namespace dray::store
