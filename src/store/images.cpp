// SPDX-License-Identifier: Apache-2.0
// Image records: names for manifests in the content store. A record promises that all it refers to is there,
// and stays there after a power failure: put_image looks, then syncs content before names, names before the
// record. index.json of the layout is rewritten beside the table, inside the transaction, so that writers
// take turns; it is for other tools, the table decides.
#include <dray/core/process.hpp>

#include "content_paths.hpp"
#include "store_private.hpp"

namespace dray::store {
namespace {

// A macro, so that the statements are literals.
#define DRAY_SELECT_IMAGES "SELECT reference, manifest, media_type, image_id, created_at, repo_digests FROM images "

std::string join_lines(const std::vector<std::string>& lines) {
  std::string text;
  for (const auto& line : lines) text += (text.empty() ? "" : "\n") + line;
  return text;
}

Result<ImageRecord> record_of(const Row& row) {
  ImageRecord record;
  record.reference = row.text(0);
  record.manifest = TRY(Digest::parse(row.text(1)));
  record.media_type = row.text(2);
  record.image_id = TRY(Digest::parse(row.text(3)));
  record.created_at = row.text(4);
  std::string digests = row.text(5);
  for (std::size_t start = 0; start < digests.size();) {
    std::size_t end = std::min(digests.find('\n', start), digests.size());
    record.repo_digests.push_back(digests.substr(start, end - start));
    start = end + 1;
  }
  return record;
}

Result<std::vector<ImageRecord>> records_of(const Result<std::vector<Row>>& rows) {
  if (!rows) return Failure(rows.error());
  std::vector<ImageRecord> records;
  for (const Row& row : *rows) records.push_back(TRY(record_of(row)));
  return records;
}

Result<void> check_complete(Store& store, const ImageRecord& record) {
  const std::string name = "image " + (record.reference.empty() ? record.image_id.short_hex() : record.reference);
  LoadedImage image = TRY_CTX(store.load_image(record), name);
  if (image.manifest.layers.size() != image.config.diff_ids.size())
    return fail(ErrorCode::corrupt, name + ": its config names " + std::to_string(image.config.diff_ids.size()) +
                                        " layers, its manifest " + std::to_string(image.manifest.layers.size()));
  for (const auto& layer : image.manifest.layers) TRY_CTX(store.content().size(layer.digest), name);
  for (const auto& diff_id : image.config.diff_ids) TRY_CTX(store.snapshots().layer_size(diff_id), name);
  return {};
}

Result<void> write_index(Store& store) {
  image::Index index;
  index.media_type = image::kOciIndex;
  for (const ImageRecord& record : TRY(store.list_images())) {
    auto size = store.content().size(record.manifest);
    if (!size) continue;  // damaged by hand: other tools have no use for it
    image::Descriptor descriptor;
    descriptor.media_type = record.media_type;
    descriptor.digest = record.manifest;
    descriptor.size = *size;
    if (!record.reference.empty()) {
      descriptor.annotations["io.containerd.image.name"] = record.reference;
      descriptor.annotations["org.opencontainers.image.ref.name"] = record.reference;
    }
    index.manifests.push_back(std::move(descriptor));
  }
  return write_file_atomically(store.content().directory() + "/index.json", image::serialize(index), 0644,
                               Durability::none);
}

bool is_hex(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace

Result<void> renew_layout(Store& store) {
  auto transaction = TRY(Database::begin(store.database()));
  const auto written = write_index(store);
  if (!written && written.error().code() != ErrorCode::no_space) return written;
  return transaction.commit();
}

Result<void> Store::put_image(const ImageRecord& record) {
  TRY(snapshots_->make_durable());
  TRY(check_complete(*this, record));  // a sync that failed may have taken a layer away
  TRY(sync_blob_names(content_->directory()));

  const std::string manifest = record.manifest.to_string();
  auto transaction = TRY(Database::begin(database_));
  ImageRecord wanted = record;
  if (wanted.created_at.empty()) wanted.created_at = format_time_now();
  if (wanted.reference.empty()) {
    auto same = TRY(database_->query("SELECT 1 FROM images WHERE manifest = ?", {manifest}));
    if (!same.empty()) return {};  // it has a name already, or is known without one
  } else {
    // An image that gets a name is no longer one without.
    TRY(database_->execute("DELETE FROM images WHERE reference = '' AND manifest = ?", {manifest}));
    auto old = TRY(records_of(database_->query(DRAY_SELECT_IMAGES "WHERE reference = ?", {wanted.reference})));
    if (!old.empty() && old.front().manifest != wanted.manifest) {
      auto other = TRY(database_->query("SELECT 1 FROM images WHERE manifest = ? AND reference <> ?",
                                        {old.front().manifest.to_string(), wanted.reference}));
      if (other.empty()) {
        TRY(database_->execute("UPDATE images SET reference = '' WHERE reference = ?", {wanted.reference}));
      } else {
        TRY(database_->execute("DELETE FROM images WHERE reference = ?", {wanted.reference}));
      }
    } else if (!old.empty()) {
      for (const auto& digest : old.front().repo_digests)
        if (std::find(wanted.repo_digests.begin(), wanted.repo_digests.end(), digest) == wanted.repo_digests.end())
          wanted.repo_digests.push_back(digest);
      TRY(database_->execute("DELETE FROM images WHERE reference = ?", {wanted.reference}));
    }
  }
  TRY(
      database_->execute("INSERT INTO images(reference, manifest, media_type, image_id, created_at, "
                         "repo_digests) VALUES(?, ?, ?, ?, ?, ?)",
                         {wanted.reference, manifest, wanted.media_type, wanted.image_id.to_string(), wanted.created_at,
                          join_lines(wanted.repo_digests)}));
  TRY(write_index(*this));
  TRY(transaction.commit());
  return database_->sync();
}

Result<std::optional<ImageRecord>> Store::find_image(const Reference& reference) {
  if (!reference.digest()) {
    auto records = TRY(records_of(database_->query(DRAY_SELECT_IMAGES "WHERE reference = ?", {reference.canonical()})));
    if (records.empty()) return std::optional<ImageRecord>();
    return std::optional<ImageRecord>(std::move(records.front()));
  }
  // By digest: the name must fit too, as a record of the same image under another name says nothing about
  // this one.
  const std::string name = reference.domain() + "/" + reference.repository();
  const std::string digest = reference.digest()->to_string();
  for (ImageRecord& record : TRY(list_images())) {
    bool known = std::find(record.repo_digests.begin(), record.repo_digests.end(), name + "@" + digest) !=
                 record.repo_digests.end();
    if (!known && record.manifest == *reference.digest() && !record.reference.empty()) {
      auto own = Reference::parse(record.reference);
      known = own && own->domain() == reference.domain() && own->repository() == reference.repository();
    }
    if (known) return std::optional<ImageRecord>(std::move(record));
  }
  return std::optional<ImageRecord>();
}

Result<ImageRecord> Store::resolve_image(const std::string& name_or_id) {
  auto reference = Reference::parse(name_or_id);
  if (reference) {
    auto found = TRY(find_image(*reference));
    if (found) return *std::move(found);
  }
  std::string_view prefix = name_or_id;
  if (prefix.starts_with("sha256:")) prefix.remove_prefix(7);
  if (is_hex(prefix) && prefix.size() <= 64) {
    // Named records first, so that the one returned can be shown.
    auto records =
        TRY(records_of(database_->query(DRAY_SELECT_IMAGES "WHERE image_id LIKE ? ORDER BY reference = '', id",
                                        {"sha256:" + std::string(prefix) + "%"})));
    for (const auto& record : records)
      if (record.image_id != records.front().image_id)
        return fail(ErrorCode::invalid_argument,
                    "\"" + name_or_id + "\" is ambiguous: several images have an ID that begins with it");
    if (!records.empty()) return std::move(records.front());
  }
  return fail(ErrorCode::not_found, "no such image: " + name_or_id);
}

Result<std::vector<ImageRecord>> Store::list_images() {
  return records_of(database_->query(DRAY_SELECT_IMAGES "ORDER BY created_at DESC, id DESC"));
}

Result<LoadedImage> Store::load_image(const ImageRecord& record) {
  LoadedImage image;
  image.record = record;
  std::string manifest = TRY(content_->read_blob(record.manifest));
  image.manifest = TRY(image::parse_manifest(manifest));
  std::string config = TRY(content_->read_blob(image.manifest.config.digest));
  image.config = TRY(image::parse_config(config));
  for (const DiffId& diff_id : image.config.diff_ids) {
    auto size = snapshots_->layer_size(diff_id);
    if (size) image.size += *size;
  }
  return image;
}

Result<void> Store::remove_image(const ImageRecord& record) {
  auto transaction = TRY(Database::begin(database_));
  TRY(database_->execute("DELETE FROM images WHERE reference = ? AND manifest = ?",
                         {record.reference, record.manifest.to_string()}));
  // A full disk must not keep anybody from removing: index.json is then renewed by the next change.
  const auto written = write_index(*this);
  if (!written && written.error().code() != ErrorCode::no_space) return written;
  return transaction.commit();
}

}  // namespace dray::store
