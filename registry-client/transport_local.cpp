// SPDX-License-Identifier: Apache-2.0
// local: Dray's own store. It keeps one platform of an image unpacked, so this destination unpacks; with --all the
// index and the other platforms' blobs beside it.
#include <dray/core/process.hpp>

#include "platform_choice.hpp"
#include "transport.hpp"
#include "whole_index.hpp"

namespace dray::registry {
namespace {

class LocalSource : public ImageSource {
 public:
  LocalSource(store::Store& store, image::Descriptor top) : store_(store), top_(std::move(top)) {}

  Result<Document> top() override { return verified_document(TRY(store_.content().read_blob(top_.digest)), top_); }
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
  const image::Descriptor top_;
};

class LocalDestination : public ImageDestination {
 public:
  LocalDestination(const CopyContext& context, Reference reference)
      : context_(context), reference_(std::move(reference)) {}

  std::string scratch() const override { return context_.store.content().directory() + "/ingest"; }
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
    TRY(context_.store.content().write_blob(document.bytes, document.digest));
    if (!name_it) return {};
    if (!image::is_index(document.bytes, document.media_type)) {
      TRY(record(document));
      return context_.store.forget_image_index(reference_.canonical());
    }
    const image::Platform platform = first_platform(document, context_.what.platform);
    TRY(record(TRY(choose_platform(document, platform, reference_.familiar(), [&](const image::Descriptor& entry) {
      auto bytes = context_.store.content().read_blob(entry.digest);
      return bytes ? verified_document(*std::move(bytes), entry) : Failure(std::move(bytes).error());
    }))));
    return context_.store.put_image_index(reference_.canonical(), descriptor_of_index(document));
  }

 private:
  Result<void> record(const Document& document) {
    auto& content = context_.store.content();
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

  const CopyContext& context_;
  const Reference reference_;
};

Result<bool> has_platform(store::Store& store, const Digest& index, const image::Platform& platform) {
  const std::string bytes = TRY(store.content().read_blob(index));
  return image::select_platform(TRY(image::parse_index(bytes)), platform).has_value();
}

}  // namespace

Result<std::unique_ptr<ImageSource>> open_local_source(const CopyContext& context, const std::string& rest) {
  store::Store& store = context.store;
  const store::ImageRecord record = TRY(store.resolve_image(rest));
  image::Descriptor top;
  top.digest = record.manifest;
  top.media_type = record.media_type;
  const auto named = Reference::parse(rest);
  if (named && named->canonical() == record.reference) {
    const auto index = TRY(store.find_image_index(record.reference));
    // A name may stand for the one image that there is, whatever it is for.
    const bool wanted =
        index && (context.what.all_platforms || TRY(has_platform(store, index->digest, context.what.platform)));
    if (wanted) top = *index;
  }
  return std::make_unique<LocalSource>(store, std::move(top));
}

Result<std::unique_ptr<ImageDestination>> open_local_destination(const CopyContext& context, const std::string& rest) {
  Reference reference = TRY(Reference::parse(rest));
  if (reference.digest()) return fail(ErrorCode::invalid_argument, "local: needs a name with a tag, not a digest");
  return std::make_unique<LocalDestination>(context, std::move(reference));
}

}  // namespace dray::registry
