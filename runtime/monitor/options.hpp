// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include "restart.hpp"

// What become_monitor() tells dray-monitor, as argv: "name=value" words, then "--" and the clean-up command, and
// maybe another "--" and the command that starts the container again.
// Descriptors travel by number; there is no secret among them (anyone can read a command line).

namespace dray::monitor {

struct Options {
  pid_t pid = -1;
  int pidfd = -1, console = -1, in = -1, out = -1, err = -1;
  int lock = -1, client = -1, listener = -1, log = -1, oom = -1, state_directory = -1;
  bool stdin_once = false, exit_durable = false, client_cleans = false;
  RestartRule restart;
  const char* exit_path = nullptr;
  const char* stop_mark = nullptr;  ///< a file that is there when the user stopped the container
  char** cleanup_argv = nullptr;    ///< null-terminated, or null
  char** restart_argv = nullptr;
};

/// False for anything not understood: another version's monitor must not guess.
bool parse_options(int argc, char** argv, Options& options);
/// Closes what was only held open (the reservations of ports).
void close_kept(int argc, char** argv);

}  // namespace dray::monitor
