// SPDX-License-Identifier: Apache-2.0
// local: Dray's own store. It keeps one platform of an image, unpacked; so this destination unpacks.
#include <dray/core/process.hpp>

#include "transport.hpp"

namespace dray::registry {
namespace {

class LocalSource : public ImageSource {
 public:
  LocalSource(store::Store& store, store::ImageRecord record) : store_(store), record_(std::move(record)) {}

  Result<Document> top() override {
    image::Descriptor descriptor;
    descriptor.digest = record_.manifest;
    descriptor.media_type = record_.media_type;
    return verified_document(TRY(store_.content().read_blob(record_.manifest)), descriptor);
  }
  Result<Document> child(HttpClient&, const image::Descriptor& descriptor) override {
    return verified_document(TRY(store_.content().read_blob(descriptor.digest)), descriptor);
  }
  Result<FileDescriptor> open(HttpClient&, const image::Descriptor& blob, const std::string&, StepProgress&) override {
    return store_.content().open_blob(blob.digest);
  }
  Result<std::vector<image::Descriptor>> referrers(HttpClient&, const Digest&) override {
    return std::vector<image::Descriptor>();
  }

 private:
  store::Store& store_;
  const store::ImageRecord record_;
};

class LocalDestination : public ImageDestination {
 public:
  LocalDestination(const CopyContext& context, Reference reference)
      : context_(context), reference_(std::move(reference)) {}

  std::string scratch() const override { return context_.store.content().directory() + "/ingest"; }
  bool holds_indexes() const override { return false; }
  Result<bool> has(HttpClient&, const image::Descriptor& blob) override {
    return context_.store.content().contains(blob.digest);
  }
  Result<void> put(HttpClient&, const image::Descriptor& blob, FileDescriptor file, StepProgress& progress) override {
    store::BlobWriter writer = TRY(context_.store.content().begin_write(blob.digest.algorithm()));
    auto source = make_fd_source(std::move(file));
    TRY(dray::copy(*source, writer));
    TRY(writer.commit(blob.digest, blob.size));
    progress.end(ProgressEvent::Kind::completed, "Copied");
    return {};
  }

  Result<void> put_document(HttpClient&, const Document& document, bool name_it) override {
    auto& content = context_.store.content();
    if (!content.contains(document.digest)) {
      store::BlobWriter writer = TRY(content.begin_write(document.digest.algorithm()));
      TRY(writer.write(std::as_bytes(std::span(document.bytes))));
      TRY(writer.commit(document.digest, document.bytes.size()));
    }
    if (!name_it) return {};
    const image::Manifest manifest = TRY(image::parse_manifest(document.bytes));
    const image::ImageConfig config = TRY(image::parse_config(TRY(content.read_blob(manifest.config.digest))));
    if (config.diff_ids.size() != manifest.layers.size())
      return fail(ErrorCode::corrupt, "the image config names " + std::to_string(config.diff_ids.size()) +
                                          " layers, the manifest " + std::to_string(manifest.layers.size()));
    for (std::size_t i = 0; i < manifest.layers.size(); ++i) {
      if (context_.stop.requested()) return Failure(Stop::error());
      if (context_.store.snapshots().contains(config.diff_ids[i])) continue;
      auto blob = make_fd_source(TRY(content.open_blob(manifest.layers[i].digest)));
      TRY_CTX(context_.store.snapshots().unpack(*blob, config.diff_ids[i]),
              "unpacking layer " + manifest.layers[i].digest.short_hex());
    }
    store::ImageRecord record;
    record.reference = reference_.canonical();
    record.manifest = document.digest;
    record.media_type = !document.media_type.empty() ? document.media_type : manifest.media_type;
    record.image_id = manifest.config.digest;
    record.created_at = format_time_now();
    return context_.store.put_image(record);
  }

 private:
  const CopyContext& context_;
  const Reference reference_;
};

}  // namespace

Result<std::unique_ptr<ImageSource>> open_local_source(const CopyContext& context, const std::string& rest) {
  return std::make_unique<LocalSource>(context.store, TRY(context.store.resolve_image(rest)));
}

Result<std::unique_ptr<ImageDestination>> open_local_destination(const CopyContext& context, const std::string& rest) {
  Reference reference = TRY(Reference::parse(rest));
  if (reference.digest()) return fail(ErrorCode::invalid_argument, "local: needs a name with a tag, not a digest");
  return std::make_unique<LocalDestination>(context, std::move(reference));
}

}  // namespace dray::registry
