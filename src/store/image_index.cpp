// SPDX-License-Identifier: Apache-2.0
// Indexes of images with several manifests. A row is true only while its reference still has the manifest it had then,
// so that nobody who changes image records need know of this table.
#include "content_paths.hpp"
#include "store_private.hpp"

namespace dray::store {
namespace {

constexpr int kMaxDepth = 4;
constexpr std::size_t kMaxBlobs = 20000;

Result<void> ensure_table(Database& database) {
  return database.execute(
      "CREATE TABLE IF NOT EXISTS image_indexes(reference TEXT PRIMARY KEY, digest TEXT NOT NULL, media_type TEXT NOT "
      "NULL, "
      "size INTEGER NOT NULL, manifest TEXT NOT NULL) WITHOUT ROWID");
}

Result<void> collect(ContentStore& content, const image::Descriptor& document, int depth, std::vector<Digest>& blobs) {
  blobs.push_back(document.digest);
  if (blobs.size() > kMaxBlobs || depth > kMaxDepth)
    return fail(ErrorCode::corrupt, "image index " + document.digest.to_string() + " refers to too much");
  const std::string bytes = TRY(content.read_blob(document.digest));
  if (image::is_index(bytes, document.media_type)) {
    const image::Index index = TRY(image::parse_index(bytes));
    for (const image::Descriptor& entry : index.manifests) TRY(collect(content, entry, depth + 1, blobs));
    return {};
  }
  const image::Manifest manifest = TRY(image::parse_manifest(bytes));
  blobs.push_back(manifest.config.digest);
  for (const image::Descriptor& layer : manifest.layers) blobs.push_back(layer.digest);
  return {};
}

}  // namespace

Result<std::vector<Digest>> Store::referenced_blobs(const image::Descriptor& document) {
  std::vector<Digest> blobs;
  TRY(collect(*content_, document, 0, blobs));
  return blobs;
}

Result<void> Store::put_image_index(const std::string& reference, const image::Descriptor& index) {
  for (const Digest& blob : TRY(referenced_blobs(index)))
    if (!content_->contains(blob))
      return fail(ErrorCode::not_found, reference + ": blob " + blob.to_string() + " is not in the store");
  TRY(sync_blob_names(content_->directory()));
  TRY(ensure_table(*database_));
  TRY(database_->execute(
      "INSERT OR REPLACE INTO image_indexes(reference, digest, media_type, size, manifest) "
      "SELECT reference, ?, ?, ?, manifest FROM images WHERE reference = ?",
      {index.digest.to_string(), index.media_type, static_cast<std::int64_t>(index.size), reference}));
  return database_->sync();
}

Result<std::optional<image::Descriptor>> Store::find_image_index(const std::string& reference) {
  TRY(ensure_table(*database_));
  const auto rows =
      TRY(database_->query("SELECT i.digest, i.media_type, i.size FROM image_indexes i JOIN images USING(reference, "
                           "manifest) WHERE reference = ?",
                           {reference}));
  if (rows.empty()) return std::optional<image::Descriptor>();
  image::Descriptor index;
  index.digest = TRY(Digest::parse(rows.front().text(0)));
  index.media_type = rows.front().text(1);
  index.size = static_cast<std::uint64_t>(rows.front().integer(2));
  return std::optional<image::Descriptor>(std::move(index));
}

Result<void> Store::forget_image_index(const std::string& reference) {
  TRY(ensure_table(*database_));
  return database_->execute("DELETE FROM image_indexes WHERE reference = ?", {reference});
}

Result<void> keep_image_indexes(Store& store, std::set<Digest>& blobs) {
  const auto rows = TRY(store.database()->query("SELECT 1 FROM sqlite_master WHERE name = 'image_indexes'"));
  if (rows.empty()) return {};
  for (const ImageRecord& record : TRY(store.list_images())) {
    if (record.reference.empty()) continue;
    const auto index = TRY(store.find_image_index(record.reference));
    if (!index) continue;
    const auto referenced = store.referenced_blobs(*index);
    if (!referenced) continue;  // damaged: nothing to keep together
    blobs.insert(referenced->begin(), referenced->end());
  }
  return {};
}

}  // namespace dray::store
