// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <vector>

#include <dray/core/fd.hpp>
#include <dray/core/result.hpp>
#include <dray/runtime/spec.hpp>

namespace dray::runtime {

/// Writes the maps of the new user namespace that `pid` is in (user_namespaces(7)): directly where we may, else by
/// newuidmap and newgidmap, which know what /etc/subuid and /etc/subgid allow to us.
Result<void> write_id_maps(pid_t pid, const std::vector<IdMapping>& uids, const std::vector<IdMapping>& gids);

/// A user namespace with these maps and nobody in it, for an idmapped mount.
Result<FileDescriptor> make_user_namespace(const std::vector<IdMapping>& uids, const std::vector<IdMapping>& gids);

/// Is the calling process in another user namespace than the host's first one?
bool in_own_user_namespace();

}  // namespace dray::runtime
