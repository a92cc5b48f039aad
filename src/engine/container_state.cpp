// SPDX-License-Identifier: Apache-2.0
// Where a container stands: rows, files and the lock. Running means that the monitor holds the lock; everything else is
// derived from files, so a killed process leaves nothing that could lie.
#include "container_state.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cstdlib>

#include <dray/core/rooted_path.hpp>
#include <dray/runtime/cgroup.hpp>

namespace dray::engine {
namespace {

constexpr std::size_t kMaxStateFile = 4u << 20;

void sleep_ms(long milliseconds) {
  struct timespec time{milliseconds / 1000, (milliseconds % 1000) * 1'000'000};
  ::nanosleep(&time, nullptr);
}

bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

}  // namespace

bool lock_held(const std::string& path) {
  // Probes with a shared lock, which is given back at once.
  auto fd = open_file(path, O_RDWR);
  if (!fd) return false;
  if (::flock(fd->get(), LOCK_SH | LOCK_NB) == 0) return false;
  return errno == EWOULDBLOCK;
}

std::string container_directory(const Context& context, const std::string& id) {
  return context.configuration.root + "/containers/" + id;
}
std::string container_state_directory(const Context& context, const std::string& id) {
  return context.configuration.state + "/containers/" + id;
}
std::string log_path(const Context& context, const std::string& id) {
  return container_directory(context, id) + "/" + id + "-json.log";
}
std::string exit_path(const Context& context, const ContainerRecord& record) {
  // The monitor fsyncs it. A --rm container's exit is of no interest after a power failure: tmpfs, where that is free.
  return (record.options.auto_remove ? container_state_directory(context, record.id)
                                     : container_directory(context, record.id)) +
         "/exit.json";
}
std::string cgroups_path(const std::string& id) { return "dray/" + id; }

Result<void> create_tables(Context& context) {
  auto database = context.store->database();
  TRY(database->execute(
      "CREATE TABLE IF NOT EXISTS containers(id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, created TEXT "
      "NOT NULL) WITHOUT ROWID"));
  TRY(database->execute(
      "CREATE TABLE IF NOT EXISTS volumes(name TEXT PRIMARY KEY, created TEXT NOT NULL, anonymous INTEGER "
      "NOT NULL) WITHOUT ROWID"));
  return {};
}

Result<ContainerName> find_name(Context& context, std::string_view name) {
  std::string given(name), plain(name.starts_with('/') ? name.substr(1) : name);
  auto database = context.store->database();
  auto rows = TRY(database->query("SELECT id, name FROM containers WHERE id = ? OR name = ?", {given, plain}));
  for (const auto& row : rows) {
    if (row.text(0) == given) return ContainerName{row.text(0), row.text(1)};
  }
  if (!rows.empty()) return ContainerName{rows[0].text(0), rows[0].text(1)};
  if (!given.empty() && given.find_first_not_of("0123456789abcdef") == std::string::npos) {
    rows = TRY(database->query("SELECT id, name FROM containers WHERE substr(id, 1, ?) = ? LIMIT 2",
                               {static_cast<std::int64_t>(given.size()), given}));
    if (rows.size() > 1) return fail(ErrorCode::invalid_argument, "Multiple IDs found with provided prefix: " + given);
    if (rows.size() == 1) return ContainerName{rows[0].text(0), rows[0].text(1)};
  }
  return fail(ErrorCode::not_found, "No such container: " + given);
}

Result<std::vector<ContainerName>> all_names(Context& context) {
  auto rows = TRY(context.store->database()->query("SELECT id, name FROM containers ORDER BY created DESC, id"));
  std::vector<ContainerName> names;
  for (const auto& row : rows) names.push_back({row.text(0), row.text(1)});
  return names;
}

Result<ContainerRecord> read_record(Context& context, const ContainerName& name) {
  std::string text = TRY(read_file(container_directory(context, name.id) + "/config.json", kMaxStateFile));
  ContainerRecord record = TRY(parse_record(text));
  record.id = name.id;
  record.name = name.name;
  record.options.name = name.name;
  return record;
}

Result<ContainerRecord> find_record(Context& context, std::string_view name) {
  ContainerName found = TRY(find_name(context, name));
  return TRY_CTX(read_record(context, found), "container " + std::string(name));
}

Result<FileLock> lock_container(const Context& context, const std::string& id, int timeout_ms) {
  std::string directory = container_state_directory(context, id);
  std::string path = directory + "/lock";
  for (int waited = 0;;) {
    TRY(make_directories(directory, 0700));
    auto lock = FileLock::try_acquire(path, FileLock::Mode::exclusive);
    if (lock) {
      // Between open and flock the owner may have removed the directory: then this lock protects nothing.
      struct stat ours, current;
      if (::fstat(lock->fd().get(), &ours) == 0 && ::stat(path.c_str(), &current) == 0 && ours.st_ino == current.st_ino)
        return lock;
      continue;
    }
    if (lock.error().code() == ErrorCode::not_found) continue;
    if (lock.error().code() != ErrorCode::in_use || waited >= timeout_ms) return lock;
    int step = waited < 20 ? 1 : 10;
    sleep_ms(step);
    waited += step;
  }
}

Result<void> await_monitor(const Context& context, const std::string& id, int timeout_ms) {
  std::string path = container_state_directory(context, id) + "/lock";
  for (int waited = 0; lock_held(path);) {
    if (waited >= timeout_ms) return fail(ErrorCode::in_use, "the monitor of container " + id + " does not end");
    int step = waited < 20 ? 1 : 10;
    sleep_ms(step);
    waited += step;
  }
  return {};
}

std::optional<RunningState> find_running(const Context& context, const std::string& id) {
  std::string directory = container_state_directory(context, id);
  auto text = read_file(directory + "/running.json", kMaxStateFile);
  if (!text || !lock_held(directory + "/lock")) return std::nullopt;
  auto state = parse_running(*text);
  if (!state) return std::nullopt;
  return std::move(*state);
}

std::optional<ExitState> read_exit(const Context& context, const ContainerRecord& record) {
  auto text = read_file(exit_path(context, record), kMaxStateFile);
  if (!text) return std::nullopt;
  auto state = parse_exit(*text);
  if (!state) return std::nullopt;
  return std::move(*state);
}

std::optional<LastStart> read_last_start(const Context& context, const std::string& id) {
  auto text = read_file(container_directory(context, id) + "/last_start.json", kMaxStateFile);
  if (!text) return std::nullopt;
  auto start = parse_last_start(*text);
  if (!start) return std::nullopt;
  return std::move(*start);
}

std::optional<network::Endpoint> read_endpoint(const Context& context, const std::string& id) {
  auto text = read_file(container_state_directory(context, id) + "/endpoint.json", kMaxStateFile);
  if (!text) return std::nullopt;
  auto endpoint = parse_endpoint(*text);
  if (!endpoint) return std::nullopt;
  return std::move(*endpoint);
}

Result<void> clean_up_running(Context& context, const ContainerRecord& record) {
  std::string directory = container_state_directory(context, record.id);
  std::optional<Error> first;
  auto note = [&first](Result<void> result) {
    if (result) return;
    first = first ? std::move(*first).with_cleanup_failure(result.error()) : result.error();
  };
  note(runtime::destroy_cgroup(cgroups_path(record.id)));
  if (auto endpoint = read_endpoint(context, record.id)) note(network::withdraw_ports(*endpoint));
  // running.json goes last: until then the next command sees a stale container and tries again.
  if (first) return Failure(std::move(*first));
  ::unlink((directory + "/endpoint.json").c_str());
  ::unlink((directory + "/attach.sock").c_str());
  if (::unlink((directory + "/running.json").c_str()) != 0 && errno != ENOENT)
    return fail_errno("removing running.json");
  return {};
}

namespace {

// `wait` holds this lock shared while it reads the exit code: a --rm container is not removed under its eyes.
void await_waiters(const std::string& state_directory) {
  auto fd = open_file(state_directory + "/waiters", O_RDWR);
  for (int i = 0; fd && i < 500 && ::flock(fd->get(), LOCK_EX | LOCK_NB) != 0; ++i) sleep_ms(1);
}

}  // namespace

Result<void> delete_container(Context& context, const ContainerRecord& record, bool volumes) {
  await_waiters(container_state_directory(context, record.id));
  // The row goes first: from then on what is left is garbage that prune finds.
  TRY(context.store->database()->execute("DELETE FROM containers WHERE id = ?", {record.id}));
  std::optional<Error> first;
  auto note = [&first](Result<void> result) {
    if (!result && !first) first = result.error();
  };
  // And it does not come back after a power failure without its files; a `run --rm` does not wait for a disk.
  if (!record.options.auto_remove) note(context.store->database()->sync());
  if (!record.snapshot.empty()) note(context.store->snapshots().remove(record.snapshot));
  if (volumes) {
    for (const auto& point : record.mounts) {
      if (!point.anonymous) continue;
      auto removed = remove_volume(context, point.mount.source);
      if (!removed && removed.error().code() != ErrorCode::not_found && removed.error().code() != ErrorCode::in_use)
        note(std::move(removed));
    }
  }
  for (const std::string& parent : {context.configuration.root, context.configuration.state}) {
    auto directory = open_file(parent + "/containers", O_PATH | O_DIRECTORY);
    if (directory) note(remove_tree(*directory, record.id));
  }
  if (first) return Failure(std::move(*first).with_context("removing container " + record.name));
  return {};
}

namespace {

bool is_of_another_boot(const Context& context, const ContainerRecord& record) {
  const std::string& current = context.store->snapshots().boot_id();
  return !record.boot.empty() && !current.empty() && record.boot != current;
}

// Started, and nobody wrote how it ended.
bool lacks_exit(const Context& context, const ContainerRecord& record) {
  if (record.options.auto_remove || exists(exit_path(context, record))) return false;
  auto start = read_last_start(context, record.id);
  return start && start->error.empty() && !start->started_at.empty();
}

// Its monitor was killed, or told not to, after it had noted that it would restart the container.
bool lost_restart(const Context& context, const ContainerRecord& record) {
  if (record.options.restart.kind == RestartPolicy::Kind::no) return false;
  auto exit = read_exit(context, record);
  return exit && exit->restart_delay_ms > 0;
}

}  // namespace

bool clean_up_if_stale(Context& context, const ContainerRecord& record) {
  const std::string directory = container_state_directory(context, record.id);
  auto needed = [&] {
    return exists(directory + "/running.json") || lacks_exit(context, record) || lost_restart(context, record) ||
           (record.options.auto_remove && is_of_another_boot(context, record));
  };
  if (lock_held(directory + "/lock") || !needed()) return false;
  auto lock = lock_container(context, record.id, 0);
  // Whoever had the lock meanwhile may have done it all, the removal included.
  if (!lock || !find_name(context, record.id) || !needed()) return false;
  // A failure is not lost: running.json stays, and the next command tries again.
  if (!clean_up_running(context, record)) return false;
  if (record.options.auto_remove) return delete_container(context, record, true).has_value();
  settle_exit(context, record);
  if (lacks_exit(context, record)) {
    // Docker, too, notes the time when it found the container dead. Not synced: it can be found again.
    (void)write_file_atomically(exit_path(context, record), serialize(ExitState{137, false, format_time_now(), 0, 0}),
                                0600, Durability::none);
  }
  return false;
}

Result<FileDescriptor> open_process(const RunningState& state) {
  FileDescriptor fd(static_cast<int>(::syscall(SYS_pidfd_open, state.pid, 0)));
  if (!fd.valid()) return fail_errno("opening process " + std::to_string(state.pid));
  auto now = read_process_stat(state.pid);
  if (state.start_ticks != 0 && (!now || now->start_ticks != state.start_ticks))
    return fail(ErrorCode::not_found, "process " + std::to_string(state.pid) + " has ended");
  return fd;
}

}  // namespace dray::engine
