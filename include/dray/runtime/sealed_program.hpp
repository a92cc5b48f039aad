// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <dray/core/result.hpp>

namespace dray::runtime {

/// From here on this program runs from a read-only mount of its own file: it is executed once more, with the same
/// arguments, environment and working directory, and returns when that is so. A process of a container with
/// CAP_SYS_PTRACE can open /proc/PID/exe of a process that joins it; through that mount it can never write to the file
/// (CVE-2019-5736 and its later variants). Costs a millisecond. To be called before anything is read or begun.
/// Who may not make mounts may not write to the file either, or owns it: success without.
Result<void> run_sealed();

/// May somebody in the container look into processes that join it? Its first process, by its capabilities, or one that
/// an earlier exec has let in: of that a file in the container's state directory tells.
bool is_seen_inside(const std::string& state_directory, const std::vector<std::string>& first_process);
/// Before a process with these capabilities is let in: makes that file if it will be one of them.
Result<void> note_who_sees(const std::string& state_directory, const std::vector<std::string>& capabilities);

}  // namespace dray::runtime
