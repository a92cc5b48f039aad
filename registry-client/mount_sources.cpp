// SPDX-License-Identifier: Apache-2.0
#include "mount_sources.hpp"

namespace dray::registry {
namespace {

/// A damaged image is of no help, but no reason not to push another one.
void add_blobs(store::Store& store, const store::ImageRecord& record, const std::string& repository,
               std::map<Digest, std::string>& sources) {
  image::Descriptor manifest;
  manifest.digest = record.manifest;
  manifest.media_type = record.media_type;
  if (const auto blobs = store.referenced_blobs(manifest))
    for (const Digest& blob : *blobs) sources.emplace(blob, repository);
  if (record.reference.empty()) return;
  const auto index = store.find_image_index(record.reference);
  if (!index || !*index) return;
  if (const auto blobs = store.referenced_blobs(**index))
    for (const Digest& blob : *blobs) sources.emplace(blob, repository);
}

}  // namespace

std::map<Digest, std::string> find_mount_sources(store::Store& store, const Reference& target) {
  std::map<Digest, std::string> sources;
  const auto records = store.list_images();
  if (!records) return sources;
  for (const store::ImageRecord& record : *records)
    for (const std::string& name : record.repo_digests) {
      const auto known = Reference::parse(name);
      if (known && known->domain() == target.domain() && known->repository() != target.repository())
        add_blobs(store, record, known->repository(), sources);
    }
  return sources;
}

}  // namespace dray::registry
