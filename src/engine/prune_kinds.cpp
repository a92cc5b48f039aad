// SPDX-License-Identifier: Apache-2.0
// `image prune`, `container prune` and `volume prune`; `system prune` uses the first two.
#include "prune_kinds.hpp"

#include <algorithm>

#include <dray/core/process.hpp>
#include <dray/core/tree_size.hpp>

#include "container_state.hpp"
#include "images_private.hpp"

namespace dray::engine {
namespace {

bool has_label(const std::map<std::string, std::string>& labels, const std::string& wanted) {
  const std::size_t equals = wanted.find('=');
  const auto found = labels.find(wanted.substr(0, equals));
  return found != labels.end() && (equals == std::string::npos || found->second == wanted.substr(equals + 1));
}

/// Somebody else was faster, or began to use it.
bool is_race(const Error& error) { return error.code() == ErrorCode::in_use || error.code() == ErrorCode::not_found; }

}  // namespace

bool PruneFilters::fits(const std::string& created_at, const std::map<std::string, std::string>& labels_of_it) const {
  if (until && parse_time(created_at).value_or(0) >= *until) return false;
  const auto has = [&](const std::string& wanted) { return has_label(labels_of_it, wanted); };
  return std::all_of(labels.begin(), labels.end(), has) && std::none_of(absent.begin(), absent.end(), has);
}

Result<Pruned> remove_stopped_containers(Context& context, const PruneFilters& filters) {
  Pruned pruned;
  for (const ContainerInfo& container : TRY(list_containers(context, true))) {
    if (container.status == Status::running || container.status == Status::restarting) continue;
    // It may be about to start: `run` holds a lease until then.
    if (container.status == Status::created && context.store->is_leased()) continue;
    if (!filters.fits(container.created_at, container.options.labels)) continue;
    const auto record = read_record(context, {container.id, container.name});
    std::uint64_t size = 0;
    if (record)
      size = TRY(tree_size(context.store->snapshots().directories_of(record->snapshot).front(), CancelToken()));
    auto removed = remove_container(context, container.id, false, false);
    if (!removed && !is_race(removed.error())) return Failure(std::move(removed).error());
    if (!removed) continue;
    pruned.names.push_back(container.id);
    pruned.bytes += size;
  }
  return pruned;
}

Result<std::vector<std::string>> forget_unused_images(Context& context, PruneImages which,
                                                      const PruneFilters& filters) {
  std::set<Digest> used;
  for (const ContainerName& name : TRY(all_names(context))) {
    const auto record = read_record(context, name);
    if (record) used.insert(record->image_id);
  }
  std::map<Digest, std::size_t> records_left;
  const auto records = TRY(context.store->list_images());
  for (const auto& record : records) ++records_left[record.image_id];
  std::vector<std::string> lines;
  for (const auto& record : records) {
    if (used.contains(record.image_id) || (which == PruneImages::dangling && !record.reference.empty())) continue;
    const auto image = context.store->load_image(record);
    const std::string created = image && !image->config.created.empty() ? image->config.created : record.created_at;
    if (!filters.fits(created, image ? image->config.config.labels : std::map<std::string, std::string>())) continue;
    TRY(context.store->remove_image(record));
    const auto reference = Reference::parse(record.reference);
    if (!record.reference.empty())
      lines.push_back("untagged: " + (reference ? reference->familiar() : record.reference));
    if (--records_left[record.image_id] == 0) lines.push_back("deleted: " + record.image_id.to_string());
  }
  return lines;
}

Result<Pruned> prune_images(Context& context, PruneImages which, const PruneFilters& filters) {
  Pruned pruned;
  pruned.names = TRY(forget_unused_images(context, which, filters));
  if (pruned.names.empty()) return pruned;
  const auto garbage = context.store->collect_garbage(TRY(layers_in_use(context)));
  if (!garbage && garbage.error().code() != ErrorCode::in_use) return Failure(garbage.error());
  pruned.is_deferred = !garbage;
  if (garbage) pruned.bytes = garbage->bytes;
  return pruned;
}

Result<Pruned> prune_containers(Context& context, const PruneFilters& filters) {
  return remove_stopped_containers(context, filters);
}

Result<Pruned> prune_volumes(Context& context, bool all) {
  Pruned pruned;
  for (const VolumeInfo& volume : TRY(list_volumes(context))) {
    if (!all && !volume.anonymous) continue;
    const std::uint64_t size = TRY(tree_size(volume.mountpoint, CancelToken()));
    auto removed = remove_volume(context, volume.name);
    if (!removed && !is_race(removed.error())) return Failure(std::move(removed).error());
    if (!removed) continue;
    pruned.names.push_back(volume.name);
    pruned.bytes += size;
  }
  return pruned;
}

}  // namespace dray::engine
