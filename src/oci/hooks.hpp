// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include <dray/core/result.hpp>
#include <dray/runtime/spec.hpp>

#include "state.hpp"

namespace dray::oci {

/// Where a hook runs (config.md §posix-platform-hooks).
struct HookPlace {
  const char* kind;       ///< "prestart"
  std::string state;      ///< on its standard input
  pid_t container = 0;    ///< in the namespaces of this process; 0 = in ours
  std::string directory;  ///< to run in; "" = ours
};

/// One after the other; the first that fails (or hangs longer than its timeout, and is killed) ends it:
/// "error running prestart hook #0: …".
Result<void> run_hooks(const std::vector<runtime::Hook>& hooks, const HookPlace& place);

/// startContainer: in the container as its process will be, with the same user and the same rights. That is what exec()
/// makes.
Result<void> run_start_hooks(const ContainerState& state, const runtime::Spec& spec);

}  // namespace dray::oci
