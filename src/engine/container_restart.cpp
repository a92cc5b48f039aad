// SPDX-License-Identifier: Apache-2.0
// Restart policies, the engine's part. The monitor decides and waits (runtime/monitor/restart.cpp); it notes in
// exit.json that a restart is due and keeps the lock, so "restarting" is, like "running", a held lock: a killed monitor
// leaves a container that has ended. The user's wish against it is a file that outlives a reboot; it is made before
// anything else is done to stop the container, and looked for after each step towards a restart.
#include <time.h>
#include <unistd.h>

#include "container_state.hpp"

namespace dray::engine {
namespace {

constexpr int kCancelTimeoutMs = 20'000;

bool has_policy(const ContainerRecord& record) { return record.options.restart.kind != RestartPolicy::Kind::no; }

bool should_run(const Context& context, const ContainerRecord& record) {
  switch (record.options.restart.kind) {
    case RestartPolicy::Kind::always:
      break;
    case RestartPolicy::Kind::unless_stopped:
      if (::access(stop_mark_path(context, record.id).c_str(), F_OK) == 0) return false;
      break;
    default:
      return false;  // on-failure is not for a reboot: Docker's documentation
  }
  auto start = read_last_start(context, record.id);
  return read_exit(context, record) || (start && !start->started_at.empty());
}

}  // namespace

bool is_restarting(const Context& context, const ContainerRecord& record) {
  if (!has_policy(record)) return false;
  auto exit = read_exit(context, record);
  return exit && exit->restart_delay_ms > 0 && lock_held(container_state_directory(context, record.id) + "/lock");
}

bool is_active(const Context& context, const ContainerRecord& record) {
  if (find_running(context, record.id)) return true;
  return has_policy(record) && (is_restarting(context, record) || find_running(context, record.id));
}

std::string stop_mark_path(const Context& context, const std::string& id) {
  return container_directory(context, id) + "/stopped";
}

Result<void> mark_stopped(const Context& context, const ContainerRecord& record) {
  const std::string path = stop_mark_path(context, record.id);
  if (!has_policy(record) || ::access(path.c_str(), F_OK) == 0) return {};
  return write_file_atomically(path, "", 0600, Durability::fsync);
}

void clear_stop_mark(const Context& context, const ContainerRecord& record) {
  if (has_policy(record)) ::unlink(stop_mark_path(context, record.id).c_str());
}

Result<std::optional<RunningState>> cancel_restart(const Context& context, const ContainerRecord& record) {
  TRY(mark_stopped(context, record));
  const std::string lock = container_state_directory(context, record.id) + "/lock";
  for (int waited = 0; lock_held(lock); waited += 5) {
    auto running = find_running(context, record.id);
    if (running && open_process(*running)) return running;
    if (waited >= kCancelTimeoutMs)
      return fail(ErrorCode::in_use, "the restart of container " + record.name + " does not end");
    struct timespec pause{0, 5'000'000};
    ::nanosleep(&pause, nullptr);
  }
  return std::optional<RunningState>();
}

void settle_exit(const Context& context, const ContainerRecord& record) {
  auto exit = read_exit(context, record);
  if (!exit || exit->restart_delay_ms == 0) return;
  exit->restart_delay_ms = 0;
  (void)write_file_atomically(exit_path(context, record), serialize(*exit), 0600, Durability::none);
}

Result<StartWantedReport> start_wanted_containers(Context& context) {
  StartWantedReport report;
  auto names = TRY(all_names(context));
  // In the order of their creation: the older one may be what the younger one needs.
  for (auto name = names.rbegin(); name != names.rend(); ++name) {
    auto record = read_record(context, *name);
    if (!record) {
      report.failures.emplace_back(name->name, std::move(record).error());
      continue;
    }
    if (clean_up_if_stale(context, *record) || is_active(context, *record) || !should_run(context, *record)) continue;
    auto started = start_container(context, record->id, {});
    if (started)
      report.started.push_back(record->name);
    else
      report.failures.emplace_back(record->name, std::move(started).error());
  }
  return report;
}

}  // namespace dray::engine
