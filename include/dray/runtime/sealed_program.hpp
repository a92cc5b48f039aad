// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dray/core/result.hpp>

namespace dray::runtime {

/// From here on this program runs from a read-only mount of its own file: it is executed once more, with the same
/// arguments, environment and working directory, and returns when that is so. A process of a container with
/// CAP_SYS_PTRACE can open /proc/PID/exe of a process that joins it; through that mount it can never write to the file
/// (CVE-2019-5736 and its later variants). Costs a millisecond. To be called before anything is read or begun.
/// Who may not make mounts may not write to the file either, or owns it: success without.
Result<void> run_sealed();

}  // namespace dray::runtime
