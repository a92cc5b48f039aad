// SPDX-License-Identifier: Apache-2.0
#include "platform_images.hpp"

#include <algorithm>

namespace dray::engine {
namespace {

Result<std::optional<store::LoadedImage>> from_index(Context& context, const image::Descriptor& index,
                                                     const image::Platform& platform) {
  store::Store& store = *context.store;
  const std::string bytes = TRY(store.content().read_blob(index.digest));
  const auto entry = image::select_platform(TRY(image::parse_index(bytes)), platform);
  if (!entry) return std::optional<store::LoadedImage>();
  store::ImageRecord record;
  record.manifest = entry->digest;
  record.media_type = entry->media_type;
  store::LoadedImage image = TRY(store.load_image(record));
  image.record.image_id = image.manifest.config.digest;
  if (image.manifest.layers.size() != image.config.diff_ids.size()) return std::optional<store::LoadedImage>();
  return std::optional<store::LoadedImage>(std::move(image));
}

}  // namespace

Result<std::optional<store::LoadedImage>> find_platform_image(Context& context, const Reference& reference,
                                                              const image::Platform& platform) {
  const auto found = TRY(context.store->find_image(reference));
  if (!found) return std::optional<store::LoadedImage>();
  store::LoadedImage image = TRY(context.store->load_image(*found));
  if (image.config.platform.matches(platform)) return std::optional<store::LoadedImage>(std::move(image));
  if (const auto index = TRY(context.store->find_image_index(reference.canonical())))
    return from_index(context, *index, platform);
  for (const store::ImageRecord& record : TRY(context.store->list_images())) {
    const bool same = std::ranges::any_of(record.repo_digests, [&](const std::string& digest) {
      return std::ranges::find(found->repo_digests, digest) != found->repo_digests.end();
    });
    if (!same) continue;
    auto other = context.store->load_image(record);
    if (other && other->config.platform.matches(platform)) return std::optional<store::LoadedImage>(*std::move(other));
  }
  return std::optional<store::LoadedImage>();
}

Result<store::LoadedImage> image_for(Context& context, const std::string& name,
                                     const std::optional<image::Platform>& platform) {
  store::LoadedImage image = TRY(context.store->load_image(TRY(context.store->resolve_image(name))));
  if (!platform || image.config.platform.matches(*platform)) return image;
  const auto reference = Reference::parse(name);
  auto other = reference ? TRY(find_platform_image(context, *reference, *platform)) : std::nullopt;
  if (other) return *std::move(other);
  return fail(ErrorCode::not_found, "no such image: " + name + " for platform " + platform->to_string() +
                                        " (it is for " + image.config.platform.to_string() + ")");
}

Result<void> unpack_image(Context& context, const store::LoadedImage& image) {
  store::Store& store = *context.store;
  for (std::size_t i = 0; i < image.config.diff_ids.size() && i < image.manifest.layers.size(); ++i) {
    if (store.snapshots().contains(image.config.diff_ids[i])) continue;
    auto blob = make_fd_source(TRY(store.content().open_blob(image.manifest.layers[i].digest)));
    TRY(store.snapshots().unpack(*blob, image.config.diff_ids[i]));
  }
  return {};
}

}  // namespace dray::engine
