// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dray/store/snapshotter.hpp>

namespace dray::store {

// The twins behind open_mount(), apart so that tests can run both on one kernel.

/// fsopen/fsconfig/fsmount. unsupported if the kernel's overlay lacks `lowerdir+` (before 6.7).
Result<FileDescriptor> open_overlay_new_api(const MountRecipe& recipe);
/// mount(2) in a private mount namespace of a helper thread, cloned out of it with open_tree.
Result<FileDescriptor> open_overlay_mount2(const MountRecipe& recipe);

}  // namespace dray::store
