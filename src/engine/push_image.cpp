// SPDX-License-Identifier: Apache-2.0
// A push sends what a name means: an index with all it refers to, or a manifest.
#include <algorithm>

#include <dray/engine/images.hpp>

#include "registry_process.hpp"

namespace dray::engine {
namespace {

/// nullopt where the reference's own manifest is the one.
Result<std::optional<image::Descriptor>> platform_manifest(Context& context, const Reference& reference,
                                                           const std::optional<image::Descriptor>& index,
                                                           const image::Platform& platform) {
  if (index) {
    const image::Index parsed = TRY(image::parse_index(TRY(context.store->content().read_blob(index->digest))));
    return std::optional(TRY_CTX(image::select_platform(parsed, platform), reference.familiar()));
  }
  const auto record = TRY(context.store->find_image(reference));
  if (!record) return std::optional<image::Descriptor>();  // the push says so
  const store::LoadedImage image = TRY(context.store->load_image(*record));
  if (image.config.platform.matches(platform)) return std::optional<image::Descriptor>();
  return fail(ErrorCode::not_found, reference.familiar() + ": no image for platform " + platform.to_string() +
                                        " (it is for " + image.config.platform.to_string() + ")");
}

/// For `images --digests`, and for pushes to other repositories there, which can have the blobs mounted.
Result<void> record_pushed(Context& context, const Reference& reference, const Digest& digest) {
  const auto lease = TRY(context.store->lease());
  auto record = TRY(context.store->find_image(reference));
  const std::string name = reference.domain() + "/" + reference.repository() + "@" + digest.to_string();
  if (!record || std::ranges::find(record->repo_digests, name) != record->repo_digests.end()) return {};
  record->repo_digests.push_back(name);
  return context.store->put_image(*record);
}

}  // namespace

Result<image::Descriptor> push_image(Context& context, const std::string& name,
                                     const std::optional<image::Platform>& platform, ProgressSink& progress,
                                     const CancelToken& cancel) {
  const Reference reference = TRY(Reference::parse(name));
  auto document = TRY(context.store->find_image_index(reference.canonical()));
  if (platform) document = TRY(platform_manifest(context, reference, document, *platform));
  if (document) {
    TRY(push_document(context, *document, reference, false, progress, cancel));
    // One platform's image is not what the name means here.
    if (!platform) TRY(record_pushed(context, reference, document->digest));
    return *document;
  }
  HelperResult result = TRY(run_registry_helper(context, "push", reference, {}, progress, cancel));
  image::Descriptor pushed;
  pushed.digest = TRY(Digest::parse(result.digest));
  pushed.media_type = std::move(result.media_type);
  pushed.size = result.size;
  return pushed;
}

}  // namespace dray::engine
