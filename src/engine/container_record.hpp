// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <dray/engine/containers.hpp>

// What is on disk for a container. The row of table `containers` is the truth about its existence and name; directories
// without a row are leftovers.
//   root/containers/<id>/   config.json, last_start.json, exit.json, hosts, hostname, resolv.conf, <id>-json.log,
//   stopped (by the user: the restart policy rests) state/containers/<id>/  lock (held by the monitor), running.json,
//   endpoint.json, attach.sock; exit.json of --rm containers

namespace dray::engine {

/// A mount of a container as fixed by `create`: volumes have names by now.
struct MountPoint {
  VolumeMount mount;
  bool anonymous = false;
};

struct ContainerRecord {
  std::string id, name, created_at;
  std::string boot;  ///< the boot in which it was created; a --rm container does not outlive it
  Digest image_id;
  std::vector<DiffId> layers;
  std::string snapshot;
  std::vector<std::string> entrypoint, cmd;  ///< as merged from image and options
  std::vector<std::string> env;              ///< image's and options', merged
  std::string user, working_dir, stop_signal, hostname;
  std::vector<std::string> exposed_ports;
  std::map<std::string, std::string> labels;
  std::vector<MountPoint> mounts;
  ContainerOptions options;

  std::vector<std::string> args() const;
};

std::string serialize(const ContainerRecord& record);
Result<ContainerRecord> parse_record(std::string_view text);

struct RunningState {
  pid_t pid = 0;
  std::uint64_t start_ticks = 0;  ///< field 22 of /proc/<pid>/stat: tells a reused pid
  std::string started_at;
  int restart_count = 0;
};
struct ExitState {
  int exit_code = 0;
  bool oom_killed = false;
  std::string finished_at;
  int restart_count = 0;     ///< the one that is due included
  int restart_delay_ms = 0;  ///< > 0: the monitor starts it again, as long as it holds the lock
};
/// How the latest start went; outlives a reboot, so that a container that was running then is known to have ended.
struct LastStart {
  std::string started_at, error;
  int exit_code = 0;
};
std::string serialize(const RunningState& state);
std::string serialize(const ExitState& state);
std::string serialize(const LastStart& start);
std::string serialize(const network::Endpoint& endpoint);
Result<RunningState> parse_running(std::string_view text);
Result<ExitState> parse_exit(std::string_view text);
Result<LastStart> parse_last_start(std::string_view text);
Result<network::Endpoint> parse_endpoint(std::string_view text);

/// One record of a json-file log; nullopt for a line that is not one.
struct LogLine {
  std::string text, stream, time;
};
std::optional<LogLine> parse_log_line(std::string_view line);

}  // namespace dray::engine
