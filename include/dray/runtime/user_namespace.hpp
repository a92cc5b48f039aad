// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dray/core/result.hpp>
#include <dray/runtime/spec.hpp>

// What a caller without privileges needs before launch().

namespace dray::runtime {

/// Not the host's root: an ordinary user, or root of a user namespace.
bool is_rootless();
/// Has the process what it takes to prepare mounts?
bool may_mount();

/// For a caller who may not mount: takes the calling process, which must have one thread, into the user namespace that
/// the spec wants, new with the spec's maps (by newuidmap and newgidmap if need be) or existing, and into a mount
/// namespace of that. There launch() finds all rights it needs; `spec` then says to stay. There is no way back: what
/// the caller runs afterwards (hooks) runs in there.
Result<void> enter_user_namespace(Spec& spec);

}  // namespace dray::runtime
