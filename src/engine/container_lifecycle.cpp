// SPDX-License-Identifier: Apache-2.0
// Ending containers: signals, waiting, removal, and the clean-up that the monitor runs. Each verb may be repeated, and
// may meet a container whose monitor was killed: then the free lock says so, and the verb does the monitor's part
// first.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <dray/runtime/launch.hpp>

#include "container_state.hpp"

namespace dray::engine {
namespace {

constexpr int kCleanUpTimeoutMs = 20'000;

void sleep_us(long microseconds) {
  struct timespec time{microseconds / 1'000'000, (microseconds % 1'000'000) * 1000};
  ::nanosleep(&time, nullptr);
}

Result<void> send_signal(FdRef process, int number) {
  if (::syscall(SYS_pidfd_send_signal, process.get(), number, nullptr, 0) != 0 && errno != ESRCH)
    return fail_errno("sending signal " + std::to_string(number));
  return {};
}

// True when the process has ended within the time (negative: no limit).
bool await_end(FdRef process, int timeout_ms, const CancelToken* cancel = nullptr) {
  struct pollfd item{process.get(), POLLIN, 0};
  while (timeout_ms != 0 && !(cancel != nullptr && cancel->cancelled())) {
    int slice = timeout_ms < 0 ? 200 : std::min(timeout_ms, 200);
    int ready = ::poll(&item, 1, slice);
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
    if (timeout_ms > 0) timeout_ms -= slice;
  }
  return ::poll(&item, 1, 0) > 0;
}

// Stops a running container and waits until its monitor has cleaned up. Its restart policy rests from here on.
Result<void> end_container(Context& context, const ContainerRecord& record, int signal_number, int timeout_ms) {
  TRY(mark_stopped(context, record));
  auto running = find_running(context, record.id);
  if (!running && is_restarting(context, record)) running = TRY(cancel_restart(context, record));
  if (!running) {
    clean_up_if_stale(context, record);
    return {};
  }
  auto process = open_process(*running);
  if (process) {
    TRY(send_signal(*process, signal_number));
    if (!await_end(*process, timeout_ms)) {
      TRY(send_signal(*process, SIGKILL));
      if (!await_end(*process, 10'000))
        return fail(ErrorCode::unavailable, "tried to kill container, but did not receive an exit event");
    }
  }
  TRY(await_monitor(context, record.id, kCleanUpTimeoutMs));
  clean_up_if_stale(context, record);  // the clean-up itself may have been killed
  return {};
}

// Nothing where none is set; an image may say anything, too.
std::optional<int> stop_signal_of(const ContainerRecord& record) {
  if (record.stop_signal.empty()) return std::nullopt;
  auto parsed = parse_signal(record.stop_signal);
  return parsed ? std::optional<int>(*parsed) : std::nullopt;
}

int seconds_to_ms(int seconds) { return seconds < 0 ? -1 : seconds > 1'000'000 ? -1 : seconds * 1000; }

Result<void> stop_record(Context& context, const ContainerRecord& record, std::optional<int> timeout_seconds) {
  int number = stop_signal_of(record).value_or(SIGTERM);
  int timeout = timeout_seconds.value_or(record.options.stop_timeout_seconds);
  return end_container(context, record, number, seconds_to_ms(timeout));
}

}  // namespace

Result<void> stop_container(Context& context, const std::string& name, std::optional<int> timeout_seconds) {
  ContainerRecord record = TRY(find_record(context, name));
  TRY_CTX(stop_record(context, record, timeout_seconds), "cannot stop container: " + name);
  return {};
}

Result<void> kill_container(Context& context, const std::string& name, const std::string& signal) {
  int number = TRY(parse_signal(signal.empty() ? "KILL" : signal));
  ContainerRecord record = TRY(find_record(context, name));
  // Docker's rule: the signal is one to stop with, unless the container has a stop signal of its own and this is not
  // it.
  const bool stops = number == SIGKILL || stop_signal_of(record).value_or(number) == number;
  const bool restarting = is_restarting(context, record);
  auto running = find_running(context, record.id);
  if (stops && (running || restarting)) TRY(mark_stopped(context, record));
  if (!running && restarting) return stops ? end_container(context, record, number, 10'000) : Result<void>();
  if (!running) {
    clean_up_if_stale(context, record);
    return fail(ErrorCode::in_use, "cannot kill container: " + name + ": container " + record.id + " is not running");
  }
  auto process = open_process(*running);
  if (!process) return {};  // it has just ended by itself
  TRY(send_signal(*process, number));
  // Like Docker, kill -9 returns when the container has ended.
  if (number == SIGKILL) return end_container(context, record, SIGKILL, 10'000);
  return {};
}

Result<void> restart_container(Context& context, const std::string& name, std::optional<int> timeout_seconds) {
  ContainerRecord record = TRY(find_record(context, name));
  if (record.options.auto_remove && find_running(context, record.id))
    return fail(ErrorCode::unsupported, "cannot restart container: " + name + ": it was created with --rm");
  TRY_CTX(stop_record(context, record, timeout_seconds), "cannot restart container: " + name);
  TRY(start_container(context, record.id, {}));
  return {};
}

Result<void> remove_container(Context& context, const std::string& name, bool force, bool volumes) {
  ContainerName found = TRY(find_name(context, name));
  auto read = read_record(context, found);
  ContainerRecord record;
  if (read) {
    record = std::move(*read);
  } else {
    // Its files were lost (power failure): what has a row can still be removed. The snapshot goes with prune.
    record.id = found.id;
    record.name = found.name;
  }
  const bool restarting = is_restarting(context, record);
  if (restarting || is_active(context, record)) {
    if (!force)
      return fail(ErrorCode::in_use, "cannot remove container \"/" + record.name + "\": container is " +
                                         (restarting ? "restarting" : "running") +
                                         ": stop the container before removing or force remove");
    TRY(end_container(context, record, SIGKILL, 10'000));
  }
  auto still = find_name(context, record.id);
  if (!still) return {};  // --rm was faster
  auto lock = lock_container(context, record.id, 5000);
  if (!lock) return Failure(std::move(lock).error().with_context("removing container " + record.name));
  // Whoever holds the lock knows that nothing runs; a running.json that is still there is that of a killed monitor.
  TRY(clean_up_running(context, record));
  return delete_container(context, record, volumes);
}

Result<int> wait_container(Context& context, const std::string& name, const CancelToken& cancel) {
  ContainerRecord record = TRY(find_record(context, name));
  std::string state = container_state_directory(context, record.id);
  while (!cancel.cancelled() && !find_running(context, record.id) && is_restarting(context, record)) sleep_us(10'000);
  // Held while we wait: the clean-up of a --rm container gives us time to read the exit code.
  FileDescriptor directory, waiters;
  auto running = find_running(context, record.id);
  if (running) {
    auto opened = open_file(state, O_PATH | O_DIRECTORY);
    if (opened) directory = std::move(*opened);
    auto lock = FileLock::acquire(state + "/waiters", FileLock::Mode::shared);
    if (lock) waiters = lock->take_fd();
    auto process = open_process(*running);
    if (process && !await_end(*process, -1, &cancel)) return fail(ErrorCode::cancelled, "interrupted");
  }
  // The monitor writes exit.json right after it reaped the process.
  for (int i = 0; i < 20'000; ++i) {
    auto text = record.options.auto_remove && directory.valid() ? [&]() -> Result<std::string> {
      FileDescriptor file = TRY(open_file_at(directory, "exit.json", O_RDONLY));
      return read_all(file, 65536);
    }()
        : read_file(exit_path(context, record), 65536);
    if (text) {
      auto exit = parse_exit(*text);
      if (!exit) return Failure(std::move(exit).error());
      waiters.reset();
      // With a restart due, the monitor goes on.
      if (running && exit->restart_delay_ms == 0) TRY(await_monitor(context, record.id, kCleanUpTimeoutMs));
      return exit->exit_code;
    }
    if (!find_running(context, record.id)) break;
    sleep_us(i < 1000 ? 100 : 1000);
  }
  clean_up_if_stale(context, record);
  auto last = read_exit(context, record);
  if (last) return last->exit_code;
  auto start = read_last_start(context, record.id);
  if (start && !start->error.empty()) return start->exit_code;
  return running || start ? 137 : 0;
}

Result<void> clean_up_container(Context& context, const std::string& id) {
  auto found = find_record(context, id);
  if (!found) {
    if (found.error().code() == ErrorCode::not_found) return {};
    return Failure(std::move(found).error());
  }
  const ContainerRecord& record = *found;
  // The monitor holds the lock for us, and has written exit.json. Without either the container still runs.
  FileLock lock;
  if (!read_exit(context, record)) {
    auto taken = lock_container(context, record.id, 0);
    if (!taken) return fail(ErrorCode::in_use, "container " + record.name + " is running");
    lock = std::move(*taken);
  }
  TRY(clean_up_running(context, record));
  if (record.options.auto_remove) return delete_container(context, record, true);
  return {};
}

}  // namespace dray::engine
