// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "container_record.hpp"

namespace dray::engine {

std::string container_directory(const Context& context, const std::string& id);
std::string container_state_directory(const Context& context, const std::string& id);
std::string log_path(const Context& context, const std::string& id);
std::string exit_path(const Context& context, const ContainerRecord& record);
std::string cgroups_path(const std::string& id);

Result<void> create_tables(Context& context);

struct ContainerName {
  std::string id, name;
};
/// ID, name or unambiguous prefix to the row.
Result<ContainerName> find_name(Context& context, std::string_view name);
Result<std::vector<ContainerName>> all_names(Context& context);
Result<ContainerRecord> read_record(Context& context, const ContainerName& name);
Result<ContainerRecord> find_record(Context& context, std::string_view name);

/// The container's lock, waited for up to `timeout_ms`; in_use when it stays held. Creates the state directory.
Result<FileLock> lock_container(const Context& context, const std::string& id, int timeout_ms);
/// Does somebody hold this file's exclusive lock?
bool lock_held(const std::string& path);
/// Waits until nobody holds the container's lock, so until its monitor and clean-up have ended; in_use after the
/// timeout.
Result<void> await_monitor(const Context& context, const std::string& id, int timeout_ms);
/// The running container (running.json exists and the lock is held), or nullopt.
std::optional<RunningState> find_running(const Context& context, const std::string& id);

/// A restart is due: the container has ended, and its monitor waits to start it again.
bool is_restarting(const Context& context, const ContainerRecord& record);
/// Running or restarting, never missing the change from one to the other.
bool is_active(const Context& context, const ContainerRecord& record);

/// The user's wish that its policy start it no more, kept over a reboot; nothing for a container without policy.
std::string stop_mark_path(const Context& context, const std::string& id);
Result<void> mark_stopped(const Context& context, const ContainerRecord& record);
void clear_stop_mark(const Context& context, const ContainerRecord& record);
/// Marks the container as stopped and waits until the monitor has let go of its restart. A restart that had begun is
/// finished: then the answer is the running container.
Result<std::optional<RunningState>> cancel_restart(const Context& context, const ContainerRecord& record);
/// Takes a restart that nobody will carry out off the exit's record. Caller holds the lock.
void settle_exit(const Context& context, const ContainerRecord& record);

std::optional<ExitState> read_exit(const Context& context, const ContainerRecord& record);
std::optional<LastStart> read_last_start(const Context& context, const std::string& id);
std::optional<network::Endpoint> read_endpoint(const Context& context, const std::string& id);

/// Detaches network, removes the cgroup and the running state. Caller holds the lock, or is the monitor's child.
Result<void> clean_up_running(Context& context, const ContainerRecord& record);
/// Row, snapshot, directories, anonymous volumes if asked. Caller holds the lock.
Result<void> delete_container(Context& context, const ContainerRecord& record, bool volumes);
/// Cleans a stale container up if there is one (best effort, never waits): one whose monitor was killed, or that a
/// reboot ended. Its exit is noted (137, at this moment); with --rm it is removed, and the answer is true.
bool clean_up_if_stale(Context& context, const ContainerRecord& record);

/// pidfd of the running container's first process; not_found if it is gone (or its number was reused).
Result<FileDescriptor> open_process(const RunningState& state);

std::string make_container_name();

}  // namespace dray::engine
