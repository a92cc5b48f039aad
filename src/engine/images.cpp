// SPDX-License-Identifier: Apache-2.0
// Images as the user sees them: list, history, tag, remove.
#include <dray/core/process.hpp>
#include <dray/engine/images.hpp>

#include "container_state.hpp"
#include "images_private.hpp"
#include "platform_images.hpp"

namespace dray::engine {
namespace {

ImageSummary summarise(Context& context, const store::ImageRecord& record) {
  ImageSummary summary;
  summary.repository = summary.tag = "<none>";
  if (!record.reference.empty()) {
    auto reference = Reference::parse(record.reference);
    if (reference) {
      summary.repository = reference->familiar_name();
      if (!reference->tag().empty()) summary.tag = reference->tag();
    }
  }
  summary.id = record.image_id;
  summary.manifest = record.manifest;
  summary.created_at = record.created_at;
  auto image = context.store->load_image(record);
  if (image) {
    if (!image->config.created.empty()) summary.created_at = image->config.created;
    summary.size = image->size;
  }
  return summary;
}

struct Use {
  std::string container;
  bool running = false;
};

Result<std::optional<Use>> find_use(Context& context, const Digest& image_id) {
  std::optional<Use> use;
  auto names = TRY(all_names(context));
  for (const auto& name : names) {
    auto record = read_record(context, name);
    if (!record || record->image_id != image_id) continue;
    bool running = is_active(context, *record);
    if (!use || running) use = Use{record->id.substr(0, 12), running};
    if (running) break;
  }
  return use;
}

Result<void> check_use(Context& context, const Digest& image_id, const std::string& name, bool force,
                       bool by_reference) {
  auto use = TRY(find_use(context, image_id));
  if (!use || (force && !use->running)) return {};
  std::string kind = use->running ? "running" : "stopped";
  if (by_reference)
    return fail(ErrorCode::in_use, "conflict: unable to remove repository reference \"" + name +
                                       "\" (must force) - container " + use->container +
                                       " is using its referenced image " + image_id.short_hex());
  return fail(ErrorCode::in_use, "conflict: unable to delete " + image_id.short_hex() +
                                     (use->running ? " (cannot be forced)" : " (must be forced)") +
                                     " - image is being used by " + kind + " container " + use->container);
}

}  // namespace

Error no_such_image(Error error, const std::string& name) {
  if (error.code() != ErrorCode::not_found) return error;
  return Error(ErrorCode::not_found, "No such image: " + name);
}

Result<std::vector<DiffId>> layers_in_use(Context& context) {
  std::vector<DiffId> layers;
  auto names = TRY(all_names(context));
  for (const auto& name : names) {
    auto record = read_record(context, name);
    if (record) layers.insert(layers.end(), record->layers.begin(), record->layers.end());
  }
  return layers;
}

Result<std::vector<ImageSummary>> list_images(Context& context) {
  std::vector<ImageSummary> summaries;
  auto records = TRY(context.store->list_images());
  for (const auto& record : records) summaries.push_back(summarise(context, record));
  std::stable_sort(summaries.begin(), summaries.end(), [](const ImageSummary& a, const ImageSummary& b) {
    return parse_time(a.created_at).value_or(0) > parse_time(b.created_at).value_or(0);
  });
  return summaries;
}

Result<std::vector<HistoryRow>> image_history(Context& context, const std::string& name,
                                              const std::optional<image::Platform>& platform) {
  auto record = context.store->resolve_image(name);
  if (!record) return Failure(no_such_image(std::move(record).error(), name));
  store::LoadedImage image = TRY(image_for(context, name, platform));
  std::vector<HistoryRow> rows;
  std::size_t layer = 0;
  for (const auto& entry : image.config.history) {
    HistoryRow row;
    row.id = "<missing>";
    row.created = entry.created;
    row.created_by = entry.created_by;
    row.comment = entry.comment;
    if (!entry.empty_layer && layer < image.config.diff_ids.size()) {
      auto size = context.store->snapshots().layer_size(image.config.diff_ids[layer++]);
      if (size) row.size = *size;
    }
    rows.push_back(std::move(row));
  }
  std::reverse(rows.begin(), rows.end());
  if (!rows.empty()) rows.front().id = image.manifest.config.digest.to_string();
  return rows;
}

Result<void> tag_image(Context& context, const std::string& source, const std::string& target) {
  auto record = context.store->resolve_image(source);
  if (!record) return Failure(no_such_image(std::move(record).error(), source));
  Reference reference = TRY(Reference::parse(target));
  if (reference.digest()) return fail(ErrorCode::invalid_argument, "refusing to create a tag with a digest reference");
  store::Store::Lease lease = TRY(context.store->lease());
  store::ImageRecord tagged = *record;
  tagged.reference = reference.canonical();
  tagged.created_at = format_time_now();
  tagged.repo_digests.clear();
  TRY(context.store->put_image(tagged));
  if (record->reference.empty()) return {};
  const auto index = TRY(context.store->find_image_index(record->reference));
  return index ? context.store->put_image_index(tagged.reference, *index) : Result<void>();
}

Result<std::vector<std::string>> tags_in_store(Context& context, const Reference& name) {
  std::vector<std::string> names;
  for (const store::ImageRecord& record : TRY(context.store->list_images())) {
    const auto known = Reference::parse(record.reference);
    if (known && !known->digest() && known->domain() == name.domain() && known->repository() == name.repository())
      names.push_back(known->canonical());
  }
  std::ranges::sort(names);
  return names;
}

Result<std::vector<std::string>> remove_image(Context& context, const std::string& name, bool force) {
  auto found = context.store->resolve_image(name);
  if (!found) return Failure(no_such_image(std::move(found).error(), name));
  std::vector<store::ImageRecord> same;
  auto records = TRY(context.store->list_images());
  for (auto& record : records) {
    if (record.image_id == found->image_id) same.push_back(std::move(record));
  }
  auto reference = Reference::parse(name);
  bool by_reference = reference && !found->reference.empty() && found->reference == reference->canonical();
  std::vector<store::ImageRecord> doomed = same;
  if (by_reference) {
    doomed = {*found};
  } else if (same.size() > 1 && !force) {
    return fail(ErrorCode::in_use, "conflict: unable to delete " + found->image_id.short_hex() +
                                       " (must be forced) - image is referenced in multiple repositories");
  }
  bool last = doomed.size() >= same.size();
  if (last) TRY(check_use(context, found->image_id, name, force, by_reference));
  std::vector<std::string> lines;
  for (const auto& record : doomed) {
    TRY(context.store->remove_image(record));
    if (record.reference.empty()) continue;
    auto parsed = Reference::parse(record.reference);
    lines.push_back("Untagged: " + (parsed ? parsed->familiar() : record.reference));
    for (const auto& digest : record.repo_digests) {
      auto with_digest = Reference::parse(digest);
      if (last) lines.push_back("Untagged: " + (with_digest ? with_digest->familiar() : digest));
    }
  }
  if (!last) return lines;
  lines.push_back("Deleted: " + found->image_id.to_string());
  // Content goes when nobody works in the store; if somebody does, the next removal or prune takes it.
  auto layers = TRY(layers_in_use(context));
  auto collected = context.store->collect_garbage(layers);
  if (!collected && collected.error().code() != ErrorCode::in_use) return Failure(std::move(collected).error());
  return lines;
}

}  // namespace dray::engine
