// SPDX-License-Identifier: Apache-2.0
#include "source/source_layer.hpp"

#include <dray/core/process.hpp>
#include <dray/store/layer_writer.hpp>

namespace dray::builder {
Result<SourceLayer> fetch_source(const Op& op, const SourceContext& context) {
  TRY(make_directories(context.temporary(), 0700));
  if (const auto* http = std::get_if<HttpOp>(&op)) return fetch_http(*http, context);
  if (const auto* git = std::get_if<GitOp>(&op)) return fetch_git(*git, context);
  return fail(ErrorCode::internal, "a source that cannot be fetched");
}

Result<std::optional<SourceLayer>> find_source_layer(const SourceContext& context, const std::string& key) {
  if (context.build.no_cache) return std::nullopt;
  std::optional<store::BuildCacheRecord> record = TRY(context.store.find_build_cache(key));
  if (!record || !record->layer || !record->blob) return std::nullopt;
  if (!context.store.snapshots().contains(*record->layer) || !context.store.content().contains(record->blob->digest))
    return std::nullopt;
  return SourceLayer{.layer = *record->layer, .blob = *record->blob, .created_at = record->created_at, .cached = true};
}

Result<SourceLayer> make_source_layer(const SourceContext& context, const std::vector<std::string>& keys,
                                      const std::string& description,
                                      const std::function<Result<void>(FdRef root)>& fill) {
  store::Snapshotter& snapshots = context.store.snapshots();
  const std::string active = TRY(snapshots.prepare({}));
  const auto make = [&]() -> Result<SourceLayer> {
    {
      const FileDescriptor root = TRY(store::open_mount(TRY(snapshots.mount_recipe(active, true))));
      TRY(fill(root));
    }
    store::LayerWriter tar = TRY(store::LayerWriter::begin(context.store.content()));
    TRY(snapshots.write_diff(active, tar, context.cancel));
    const store::PackedLayer packed = TRY(tar.commit());
    TRY(snapshots.commit(active, packed.diff_id));
    const SourceLayer layer{.layer = packed.diff_id, .blob = packed.blob, .created_at = format_time_now()};
    for (const std::string& key : keys) TRY(remember_source_layer(context, key, description, layer));
    return layer;
  };
  auto made = make();
  if (!made) (void)snapshots.remove(active);  // what cannot be removed now is garbage for `prune`
  return made;
}

Result<void> remember_source_layer(const SourceContext& context, const std::string& key, const std::string& description,
                                   const SourceLayer& layer) {
  store::BuildCacheRecord record;
  record.key = key;
  record.layer = layer.layer;
  record.blob = layer.blob;
  record.description = description;
  record.created_at = layer.created_at;
  record.last_used_at = format_time_now();
  return context.store.put_build_cache(record);
}

}  // namespace dray::builder
