// SPDX-License-Identifier: Apache-2.0
// `system df`. Layers are counted once, however many images have them.
#include <dray/core/tree_size.hpp>
#include <dray/engine/disk.hpp>

#include "container_state.hpp"

namespace dray::engine {
namespace {

struct Part {
  std::uint64_t bytes = 0;
  std::set<Digest> images;
  bool in_use = false;
};

Result<void> measure_images(Context& context, const std::map<Digest, std::size_t>& used, DiskUsage& usage) {
  std::map<Digest, Part> unpacked, packed;
  std::map<Digest, std::vector<Digest>> layers_of;
  const auto note = [&](std::map<Digest, Part>& parts, const Digest& digest, std::uint64_t bytes, const Digest& image) {
    Part& part = parts[digest];
    part.bytes = bytes;
    part.images.insert(image);
    part.in_use = part.in_use || used.contains(image);
  };
  for (const store::ImageRecord& record : TRY(context.store->list_images())) {
    const auto image = context.store->load_image(record);
    if (!image) continue;  // `system check` says what is wrong with it
    std::vector<Digest>& layers = layers_of[record.image_id];
    layers.clear();
    for (const DiffId& layer : image->config.diff_ids) {
      note(unpacked, layer.digest, context.store->snapshots().layer_size(layer).value_or(0), record.image_id);
      layers.push_back(layer.digest);
    }
    for (const image::Descriptor& blob : image->manifest.layers)
      note(packed, blob.digest, context.store->content().size(blob.digest).value_or(0), record.image_id);
  }
  for (const auto* parts : {&unpacked, &packed}) {
    for (const auto& [digest, part] : *parts) {
      usage.image_bytes += part.bytes;
      if (!part.in_use) usage.reclaimable_image_bytes += part.bytes;
    }
  }
  for (ImageSummary& summary : TRY(list_images(context))) {
    DiskUsage::Image image{.summary = std::move(summary)};
    for (const Digest& layer : layers_of[image.summary.id])
      if (unpacked[layer].images.size() > 1) image.shared += unpacked[layer].bytes;
    const auto found = used.find(image.summary.id);
    if (found != used.end()) image.containers = found->second;
    usage.images.push_back(std::move(image));
  }
  return {};
}

}  // namespace

Result<DiskUsage> disk_usage(Context& context, const CancelToken& cancel) {
  DiskUsage usage;
  const auto lease = TRY(context.store->lease());
  std::map<Digest, std::size_t> images;
  std::map<std::string, std::size_t> volumes;
  for (ContainerInfo& info : TRY(list_containers(context, true))) {
    DiskUsage::Container container{.info = std::move(info)};
    const auto record = read_record(context, {container.info.id, container.info.name});
    if (record) {
      ++images[record->image_id];
      container.size = TRY(tree_size(context.store->snapshots().directories_of(record->snapshot).front(), cancel));
      for (const MountPoint& mount : record->mounts) {
        if (mount.mount.kind != VolumeMount::Kind::volume) continue;
        ++volumes[mount.mount.source];
        ++container.local_volumes;
      }
    }
    usage.containers.push_back(std::move(container));
  }
  TRY(measure_images(context, images, usage));
  for (VolumeInfo& info : TRY(list_volumes(context))) {
    DiskUsage::Volume volume{.info = std::move(info)};
    volume.size = TRY(tree_size(volume.info.mountpoint, cancel));
    const auto found = volumes.find(volume.info.name);
    if (found != volumes.end()) volume.links = found->second;
    usage.volumes.push_back(std::move(volume));
  }
  usage.cache = TRY(list_build_cache(context));
  return usage;
}

}  // namespace dray::engine
