// SPDX-License-Identifier: Apache-2.0
#include "export/compose.hpp"

#include <dray/core/process.hpp>

#include "cache_transfer/cache_document.hpp"

namespace dray::builder {
namespace {

using Level = Annotation::Level;

constexpr std::string_view kInToto = "application/vnd.in-toto+json";

class Composer {
 public:
  Composer(const ExportRequest& request, const OutputOptions& output, const CancelToken& cancel)
      : request_(request), output_(output), cancel_(cancel) {}

  Result<ComposedImage> run() {
    bool attested = false;
    for (const BuiltImage& image : request_.images) {
      made_.images.push_back(TRY(manifest(image)));
      attested = attested || !image.attestations.empty();
    }
    if (request_.images.size() == 1 && !attested) {
      made_.top = made_.images.front().manifest;
      return std::move(made_);
    }
    return index();
  }

 private:
  std::map<std::string, std::string> annotations(Level level, const image::Platform* platform) const {
    std::map<std::string, std::string> result;
    for (const Annotation& annotation : output_.annotations) {
      if (annotation.level != level) continue;
      if (annotation.platform && (platform == nullptr || !platform->matches(*annotation.platform))) continue;
      result[annotation.key] = annotation.value;
    }
    return result;
  }

  Result<image::Descriptor> write(const std::string& bytes, std::string media_type) {
    image::Descriptor descriptor;
    descriptor.media_type = std::move(media_type);
    descriptor.digest = TRY(request_.store.content().write_blob(bytes));
    descriptor.size = bytes.size();
    made_.blobs.insert(descriptor.digest);
    return descriptor;
  }

  Result<ImageLayer> prepare(ImageLayer layer, bool own) {
    if (own && output_.rewrite_timestamp)
      layer = TRY(clamp_layer_times(request_.store, layer, *request_.epoch, cancel_));
    if (own || output_.compression.force)
      layer = TRY(convert_layer(request_.store, layer, output_.compression, cancel_));
    layer.blob.media_type = layer_media_type(layer.blob.media_type, output_.oci_types);
    layer.blob.annotations.clear();
    return layer;
  }

  Result<ComposedManifest> manifest(const BuiltImage& image) {
    ComposedManifest composed;
    for (const ImageLayer& layer : image.base) composed.layers.push_back(TRY(prepare(layer, false)));
    for (const ImageLayer& layer : image.own) composed.layers.push_back(TRY(prepare(layer, true)));
    image::ImageConfig config = image.config;
    config.diff_ids.clear();
    image::Manifest manifest;
    manifest.media_type = std::string(output_.oci_types ? image::kOciManifest : image::kDockerManifest);
    for (const ImageLayer& layer : composed.layers) {
      config.diff_ids.push_back(layer.diff_id);
      manifest.layers.push_back(layer.blob);
      made_.blobs.insert(layer.blob.digest);
    }
    std::string bytes = image::serialize(config);
    if (image.inline_cache) bytes = with_inline_cache(bytes, serialize(cache_of(image, composed)));
    manifest.config = TRY(write(bytes, std::string(output_.oci_types ? image::kOciConfig : image::kDockerConfig)));
    composed.config = manifest.config.digest;
    manifest.annotations = annotations(Level::manifest, &image.platform);
    if (!manifest.annotations.empty() && !output_.oci_types)
      return fail(ErrorCode::invalid_argument, "annotations need OCI media types: leave oci-mediatypes=false out");
    composed.manifest = TRY(write(image::serialize(manifest), manifest.media_type));
    composed.manifest.platform = image.platform;
    composed.manifest.annotations = annotations(Level::manifest_descriptor, &image.platform);
    return composed;
  }

  /// Of the layers that are in the image as the cache knows them, as the image has them packed.
  static CacheDocument cache_of(const BuiltImage& image, const ComposedManifest& composed) {
    CacheDocument document;
    for (std::size_t i = 0; i < image.own_keys.size(); ++i) {
      const ImageLayer& layer = composed.layers[image.base.size() + i];
      if (layer.diff_id == image.own[i].diff_id)
        document.add({layer.blob, layer.diff_id, layer.created_at}, image.own_keys[i]);
    }
    return document;
  }

  std::vector<std::string> package_urls(const image::Platform& platform) const {
    std::string query = "?platform=";
    for (const char c : platform.to_string()) query += c == '/' ? "%2F" : std::string(1, c);
    std::vector<std::string> urls;
    for (const Reference& name : output_.names)
      urls.push_back("pkg:docker/" + name.familiar_name() + "@" + name.tag() + query);
    if (urls.empty()) urls.push_back("_");
    return urls;
  }

  Result<image::Descriptor> attest(const BuiltImage& image, const image::Descriptor& subject) {
    std::vector<image::Descriptor> statements;
    for (const Attestation& attestation : image.attestations) {
      const std::string statement = in_toto_statement(attestation, package_urls(image.platform), subject.digest);
      statements.push_back(TRY(write(statement, std::string(kInToto))));
      statements.back().annotations["in-toto.io/predicate-type"] = attestation.predicate_type;
    }
    const AttestationManifest made = attestation_manifest(statements, subject, output_.artifact);
    TRY(write(made.config, made.config_descriptor.media_type));
    image::Descriptor descriptor = TRY(write(made.manifest, std::string(image::kOciManifest)));
    descriptor.platform = image::Platform{.os = "unknown", .architecture = "unknown", .variant = {}, .os_version = {}};
    descriptor.annotations["vnd.docker.reference.type"] = "attestation-manifest";
    descriptor.annotations["vnd.docker.reference.digest"] = subject.digest.to_string();
    return descriptor;
  }

  Result<ComposedImage> index() {
    image::Index index;
    index.media_type = std::string(output_.oci_types ? image::kOciIndex : image::kDockerIndex);
    for (const ComposedManifest& composed : made_.images) index.manifests.push_back(composed.manifest);
    for (std::size_t i = 0; i < request_.images.size(); ++i) {
      if (request_.images[i].attestations.empty()) continue;
      made_.attestations.push_back(TRY(attest(request_.images[i], made_.images[i].manifest)));
      index.manifests.push_back(made_.attestations.back());
    }
    std::map<std::string, std::string> own = annotations(Level::index, nullptr);
    if (request_.epoch && output_.oci_types)
      own.emplace("org.opencontainers.image.created", format_time(*request_.epoch));
    made_.top = TRY(write(index_document(index, own), index.media_type));
    made_.top.annotations = annotations(Level::index_descriptor, nullptr);
    return std::move(made_);
  }

  const ExportRequest& request_;
  const OutputOptions& output_;
  const CancelToken& cancel_;
  ComposedImage made_;
};

}  // namespace

Result<ComposedImage> compose_image(const ExportRequest& request, const OutputOptions& output,
                                    const CancelToken& cancel) {
  if (output.rewrite_timestamp && !request.epoch)
    return fail(ErrorCode::invalid_argument,
                "rewrite-timestamp=true needs SOURCE_DATE_EPOCH, as a build argument or in "
                "the environment");
  if (request.images.size() == 1) {
    for (const Annotation& annotation : output.annotations) {
      const bool for_index = annotation.level == Level::index || annotation.level == Level::index_descriptor;
      if (for_index && request.images.front().attestations.empty())
        return fail(
            ErrorCode::invalid_argument,
            "annotation \"" + annotation.key + "\" is for an index, but one platform without attestations is exported");
    }
  }
  return Composer(request, output, cancel).run();
}

}  // namespace dray::builder
