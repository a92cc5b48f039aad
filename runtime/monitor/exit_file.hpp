// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace dray::monitor {

/// How the container ended, for the engine; JSON.
struct Exit {
  int code;
  bool oom_killed;
  int restart_count;     ///< 0 = not said
  int restart_delay_ms;  ///< > 0: it will be started again after so long
};

/// Takes the room that the file will need, beside `path`, so that a container that ends because it filled the disk is
/// noted, too. Failing is no harm: write_exit_file() makes what is not there.
void reserve_exit_file(const char* path);
/// Temporary file and rename: after a kill the exit is there or not, never half; `durable`, also after a power failure.
bool write_exit_file(const char* path, const Exit& exit, bool durable);

}  // namespace dray::monitor
