// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <dray/core/progress.hpp>
#include <dray/core/result.hpp>

#include "terminal.hpp"

namespace dray::cli {

using ProgressOutput = std::function<void(std::string_view text)>;

struct ProgressOptions {
  std::string phase = "Building";
  bool expand_warnings = false;                 ///< --debug: with explanation and excerpt
  ProgressOutput output;                        ///< not set: stderr
  std::function<TerminalSize()> size;           ///< not set: that of stderr
  std::chrono::milliseconds redraw_every{100};  ///< 0: only at the end
};

/// --progress: auto, plain, tty, rawjson or quiet ("none"). "" is auto: $BUILDKIT_PROGRESS, else tty on a terminal.
/// What is left to say (logs of failed steps, warnings, the excerpt of an error) is printed when the sink goes.
Result<std::unique_ptr<ProgressSink>> make_progress(std::string mode, const ProgressOptions& options = {});

/// BuildKit's plain progress: "#3 [2/4] RUN …", "#3 0.123 output", "#3 DONE 0.2s", "#3 CACHED", "#3 ERROR: …". One step
/// is shown at a time; others wait until it ends or is silent.
std::unique_ptr<ProgressSink> make_plain_progress(const ProgressOptions& options = {});
/// BuildKit's terminal view: "[+] Building 1.2s (3/5)", a line a step, the tail of running steps' output.
std::unique_ptr<ProgressSink> make_tty_progress(const ProgressOptions& options = {});
/// BuildKit's SolveStatus objects, one a line.
std::unique_ptr<ProgressSink> make_rawjson_progress(const ProgressOptions& options = {});
/// docker pull's and push's lines: "<layer>: Pull complete"; on a terminal they are updated in place, with bars.
std::unique_ptr<ProgressSink> make_transfer_progress(int fd, bool in_place);
std::unique_ptr<ProgressSink> make_no_progress();

}  // namespace dray::cli
