// SPDX-License-Identifier: Apache-2.0
// `import`: the tar is packed into the content store while it is read, then unpacked like any layer, digests verified.
// --change goes through the builder, as a Dockerfile on the imported image, so that both read instructions alike.
#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cctype>

#include <dray/core/process.hpp>
#include <dray/engine/file_trees.hpp>
#include <dray/engine/images.hpp>

#include "build_executor.hpp"
#include "container_spec.hpp"
#include "layer_image.hpp"
#include "registry_process.hpp"

namespace dray::engine {
namespace {

constexpr std::array kChanges = {"CMD",     "ENTRYPOINT", "ENV",  "EXPOSE", "HEALTHCHECK", "LABEL",
                                 "ONBUILD", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"};

Result<void> check_change(const std::string& change) {
  std::string word = change.substr(0, change.find_first_of(" \t"));
  std::ranges::transform(word, word.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  if (change.contains('\n') || change.contains("<<"))
    return fail(ErrorCode::invalid_argument, "a change is one instruction on one line: \"" + change + "\"");
  if (std::ranges::find(kChanges, word) == kChanges.end())
    return fail(ErrorCode::invalid_argument, word + " is not a valid change command");
  return {};
}

class Imported : public builder::ImageSource {
 public:
  explicit Imported(store::LoadedImage image) : image_(std::move(image)) {}
  Result<store::LoadedImage> resolve(const Reference&, const image::Platform&, bool, ProgressSink&,
                                     const CancelToken&) override {
    return image_;
  }

 private:
  store::LoadedImage image_;
};

Result<store::PackedLayer> pack(Context& context, ByteSource& tar, const CancelToken& cancel) {
  const auto uncompressed = make_decompressing_source(tar);
  CancellableSource cancellable(*uncompressed, cancel);
  store::LayerWriter layer = TRY(store::LayerWriter::begin(context.store->content()));
  TRY(copy(cancellable, layer));
  if (layer.tar_size() == 0) return fail(ErrorCode::corrupt, "the tar to import is empty");
  return layer.commit();
}

image::ImageConfig make_config(const ImportRequest& request) {
  image::ImageConfig config;
  config.created = format_time_now();
  config.platform = request.platform;
  config.history.emplace_back().created = config.created;
  config.history.back().comment = request.message.empty() ? "Imported from " + request.source : request.message;
  return config;
}

Result<Digest> apply_changes(Context& context, const ImportRequest& request, store::LoadedImage image,
                             ProgressSink& progress, const CancelToken& cancel) {
  builder::BuildRequest build;
  build.dockerfile_text = "FROM imported\n";
  for (const std::string& change : request.changes) *build.dockerfile_text += change + "\n";
  if (!request.reference.empty()) build.tags = {request.reference};
  build.platforms = {image.config.platform};
  const BuildOptions options;
  BuildExecutor executor(context, options);
  Imported images(std::move(image));
  return TRY_CTX(builder::build(*context.store, executor, images, build, progress, cancel), "applying the changes")
      .image_id;
}

}  // namespace

Result<Digest> import_image(Context& context, const ImportRequest& request, ByteSource& tar, ProgressSink& progress,
                            const CancelToken& cancel) {
  for (const std::string& change : request.changes) TRY(check_change(change));
  std::string canonical;
  if (!request.reference.empty()) {
    const Reference reference = TRY(Reference::parse(request.reference));
    if (reference.digest()) return fail(ErrorCode::invalid_argument, "cannot import digest reference");
    canonical = reference.canonical();
  }
  image::ImageConfig config = make_config(request);
  const auto lease = TRY(context.store->lease());
  const store::PackedLayer layer = TRY_CTX(pack(context, tar, cancel), "importing " + request.source);
  store::LoadedImage image =
      TRY_CTX(make_layer_image(*context.store, layer, std::move(config)), "importing " + request.source);
  if (!request.changes.empty()) return apply_changes(context, request, std::move(image), progress, cancel);
  image.record.reference = canonical;
  TRY(context.store->put_image(image.record));
  return image.record.image_id;
}

Result<Digest> import_url(Context& context, const ImportRequest& request, ProgressSink& progress,
                          const CancelToken& cancel) {
  TRY(make_directories(context.configuration.root + "/tmp", 0700));
  const auto lease = TRY(context.store->lease());  // `system prune` empties the directory when nobody works
  const TempDir folder = TRY(TempDir::create(context.configuration.root + "/tmp", "import-"));
  builder::HttpRequest http;
  http.url = request.source;
  http.file = folder.path() + "/file";
  TRY_CTX(fetch_file(http, progress, cancel), "importing " + request.source);
  const auto tar = make_fd_source(TRY(open_file(http.file, O_RDONLY)));
  return import_image(context, request, *tar, progress, cancel);
}

}  // namespace dray::engine
