// SPDX-License-Identifier: Apache-2.0
// What a container is and how it stands, read from its files.
#include "container_state.hpp"

namespace dray::engine {
namespace {

ContainerInfo describe(Context& context, const ContainerRecord& record) {
  ContainerInfo info;
  info.id = record.id;
  info.name = record.name;
  info.image = record.options.image;
  info.image_id = record.image_id.to_string();
  info.command = record.args();
  info.created_at = record.created_at;
  info.options = record.options;
  info.options.labels = record.labels;
  auto last = read_last_start(context, record.id);
  if (last) info.started_at = last->started_at;
  auto running = find_running(context, record.id);
  auto exit = read_exit(context, record);
  if (!running && !exit) running = find_running(context, record.id);  // it was restarted between the two looks
  if (running) {
    info.status = Status::running;
    info.pid = running->pid;
    info.started_at = running->started_at;
    info.restart_count = running->restart_count;
    info.endpoint = read_endpoint(context, record.id);
    return info;
  }
  if (exit) {
    info.status = is_restarting(context, record) ? Status::restarting : Status::exited;
    info.restart_count = exit->restart_count;
    if (last) info.error = last->error;  // why the restart failed
    info.exit_code = exit->exit_code;
    info.oom_killed = exit->oom_killed;
    info.finished_at = exit->finished_at;
  } else if (last && !last->error.empty()) {
    info.error = last->error;
    info.exit_code = last->exit_code;
  } else if (last && !last->started_at.empty()) {
    info.status = Status::exited;  // killed with its monitor, and being started or cleaned up by another command
    info.exit_code = 137;
  }
  return info;
}

ContainerInfo describe_dead(const ContainerName& name, const Error& error) {
  ContainerInfo info;
  info.id = name.id;
  info.name = name.name;
  info.status = Status::dead;
  info.error = error.message();
  return info;
}

}  // namespace

Result<ContainerInfo> find_container(Context& context, const std::string& name) {
  ContainerName found = TRY(find_name(context, name));
  auto record = read_record(context, found);
  if (!record) return describe_dead(found, record.error());
  if (clean_up_if_stale(context, *record)) return fail(ErrorCode::not_found, "No such container: " + name);
  return describe(context, *record);
}

Result<std::vector<ContainerInfo>> list_containers(Context& context, bool all) {
  auto names = TRY(all_names(context));
  std::vector<ContainerInfo> containers;
  for (const auto& name : names) {
    auto record = read_record(context, name);
    if (record && clean_up_if_stale(context, *record)) continue;
    ContainerInfo info = record ? describe(context, *record) : describe_dead(name, record.error());
    if (all || info.status == Status::running || info.status == Status::restarting)
      containers.push_back(std::move(info));
  }
  return containers;
}

}  // namespace dray::engine
