// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dray/engine/containers.hpp>

namespace dray::engine {

Result<void> check_volume_name(const std::string& name);
/// Host directory of a volume's content.
std::string volume_data(const Context& context, const std::string& name);
/// Creates it where missing.
Result<VolumeInfo> ensure_volume(Context& context, const std::string& name, bool anonymous);
/// Fills an empty volume with what the image (`rootfs`) has at `path`; ownership, modes, links and xattrs kept.
Result<void> fill_volume(Context& context, const std::string& name, FdRef rootfs, const std::string& path);

}  // namespace dray::engine
