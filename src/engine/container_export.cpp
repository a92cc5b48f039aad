// SPDX-License-Identifier: Apache-2.0
// A container may run while it is exported. Volumes are mounts of the container, so they are not there.
#include <dray/engine/file_trees.hpp>
#include <dray/store/tree_tar.hpp>

#include "container_state.hpp"

namespace dray::engine {

Result<void> export_container(Context& context, const std::string& name, ByteSink& sink, const CancelToken& cancel) {
  const ContainerRecord record = TRY(find_record(context, name));
  const auto lease = TRY(context.store->lease());
  const store::MountRecipe recipe = TRY(context.store->snapshots().view_active(record.snapshot));
  const FileDescriptor root = TRY_CTX(store::open_mount(recipe), "exporting container " + record.name);
  TRY_CTX(store::write_tree(root, sink, cancel), "exporting container " + record.name);
  return sink.finish();
}

}  // namespace dray::engine
