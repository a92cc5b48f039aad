// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include <dray/core/progress.hpp>

namespace dray::cli {

/// BuildKit's plain progress on stderr: "#3 [2/4] RUN …", "#3 0.123 output", "#3 DONE 0.2s", "#3 CACHED", "#3 ERROR:
/// …".
std::unique_ptr<ProgressSink> make_plain_progress();
/// BuildKit's terminal view on stderr: "[+] Building 1.2s (3/5)", a line a step, the tail of running steps' output.
std::unique_ptr<ProgressSink> make_tty_progress();
/// docker pull's and push's lines: "<layer>: Pull complete"; on a terminal they are updated in place, with bars.
std::unique_ptr<ProgressSink> make_transfer_progress(int fd, bool in_place);
std::unique_ptr<ProgressSink> make_no_progress();

}  // namespace dray::cli
