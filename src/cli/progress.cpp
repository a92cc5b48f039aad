// SPDX-License-Identifier: Apache-2.0
#include "progress.hpp"

#include <cstdlib>

namespace dray::cli {

Result<std::unique_ptr<ProgressSink>> make_progress(std::string mode, const ProgressOptions& options) {
  if (mode.empty() || mode == "auto") {
    const char* wanted = std::getenv("BUILDKIT_PROGRESS");
    if (wanted != nullptr && *wanted != '\0') mode = wanted;
  }
  const bool terminal = is_terminal(2);
  if (mode.empty() || mode == "auto") mode = terminal ? "tty" : "plain";
  if (mode == "tty") {
    if (!terminal)
      return fail(ErrorCode::invalid_argument, "--progress=tty needs a terminal: use plain where there is none");
    return make_tty_progress(options);
  }
  if (mode == "plain") return make_plain_progress(options);
  if (mode == "rawjson") return make_rawjson_progress(options);
  if (mode == "quiet" || mode == "none") return make_no_progress();
  return fail(ErrorCode::invalid_argument,
              "invalid progress mode \"" + mode + "\": use auto, plain, tty, rawjson or quiet");
}

}  // namespace dray::cli
