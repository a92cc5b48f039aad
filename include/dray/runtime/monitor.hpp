// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <dray/core/fd.hpp>
#include <dray/core/process.hpp>
#include <dray/runtime/launch.hpp>

// The monitor: one small static process a container (dray-monitor). The process that called launch() execs it with
// become_monitor(), so the container's first process stays its child. It relays stdio to clients and to the log, reaps,
// records the exit, runs the clean-up command and ends. It holds an exclusive flock on <state>/lock while it lives:
// whoever can take that lock knows that nothing runs.

namespace dray::runtime {

/// Frames on the attach socket (SOCK_STREAM, <state>/attach.sock, mode 0600): {kind: u8, zero: u8[3], length: u32
/// little-endian, payload}.
enum class FrameKind : std::uint8_t {
  stdin_data = 0,   ///< client → monitor
  stdin_close = 1,  ///< client → monitor: end of input
  resize = 2,       ///< client → monitor: rows u16, columns u16 (little-endian)
  stdout_data = 3,  ///< monitor → client
  stderr_data = 4,
  exited = 5,    ///< monitor → client: exit code i32; the last frame (sent after the clean-up)
  clean_up = 6,  ///< monitor → first client with MonitorRequest::client_cleans: the exit is on disk, clean up now
  cleaned_up =
      7  ///< client → monitor: done. Without it within 2 s, or when the client leaves, the clean-up command runs
};
inline constexpr std::uint32_t kMaxFrame = 64 * 1024;

/// What the monitor does when the container has ended (after the clean-up): with `argv`, it waits (100 ms, doubled each
/// time up to a minute, reset by 10 s of running) and becomes that command, which gets the lock as descriptor 3. The
/// exit file then also has "restart_count" and "restart_delay_ms"; with a held lock the latter says that a restart is
/// due.
struct RestartRequest {
  bool only_on_failure = false;
  int max = 0;            ///< of only_on_failure; 0 = any number
  int count = 0;          ///< restarts so far
  int delay_ms = 0;       ///< before the latest one
  std::string stop_mark;  ///< while this file is there, nothing is restarted; its making ends a wait
  std::vector<std::string> argv;
};

struct MonitorRequest {
  Launched launched;
  bool terminal = false;
  bool open_stdin = false;  ///< keep the container's stdin open for clients (-i); else it was /dev/null
  bool stdin_once = true;   ///< close the container's stdin when the first client that attached it leaves
  FileDescriptor stdin_write, stdout_read, stderr_read;  ///< our ends of the pipes (without terminal)
  FileDescriptor lock;                                   ///< flocked file
  FileDescriptor first_client;                           ///< connected socket of the starting CLI, or invalid
  std::vector<FileDescriptor> keep_open;                 ///< port reservations
  std::string state_directory;                           ///< attach.sock, exit.json are made here
  std::string log_path;  ///< json-file log: {"log":"…\n","stream":"stdout","time":"RFC3339Nano"}; "" = no log
  std::string
      exit_path;  ///< {"exit_code":0,"oom_killed":false,"finished_at":"…"} written atomically before the clean-up
  std::string cgroups_path;
  bool exit_durable = true;  ///< fsync it; false where only clients that listen will ask
  /// The first client runs the clean-up itself, which saves starting a program. What it does must do no harm when done
  /// late or twice.
  bool client_cleans = false;
  std::vector<std::string>
      cleanup_argv;  ///< run after exit, e.g. {"/usr/bin/dray","--root",…,"container","cleanup",ID}
  RestartRequest restart;
};

/// Replaces the calling process by dray-monitor; returns only on failure. Call in a process with no other duty (a
/// fork).
Error become_monitor(MonitorRequest request);

/// Connects to a running container's monitor. unavailable when nothing listens.
Result<FileDescriptor> connect_monitor(const std::string& state_directory);

}  // namespace dray::runtime
