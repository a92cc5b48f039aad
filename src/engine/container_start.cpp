// SPDX-License-Identifier: Apache-2.0
// `start`. The caller checks, locks, mounts and thinks; then it forks a process that launches the container and execs
// the monitor, so that the container's first process is the monitor's child from birth. The lock passes to the child by
// the fork (one open file description) and is held until the monitor ends. The child uses no database (SQLite does not
// survive a fork). All or nothing: a failed start leaves a 'created' container. A restart by policy is the same start,
// in a process that the old monitor became: it has the lock already, and the old exit is kept until the container runs.
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <climits>

#include <dray/core/process.hpp>
#include <dray/runtime/cgroup.hpp>
#include <dray/runtime/launch.hpp>
#include <dray/runtime/monitor.hpp>

#include "container_spec.hpp"
#include "container_state.hpp"
#include "start_channel.hpp"

namespace dray::engine {
namespace {

struct Plan {
  const ContainerRecord& record;
  runtime::Spec spec;
  FileDescriptor rootfs, lock, first_client;
  std::string state_directory, log_path, exit_path, hosts_path, network_state_directory;
  std::vector<std::string> cleanup_argv;
  runtime::RestartRequest restart;
};

/// The restart that a start is; none for the user's own.
struct RestartStep {
  int count = 0, delay_ms = 0;
};

Result<std::vector<std::string>> make_argv(const Context& context, const char* command, const std::string& id) {
  char path[PATH_MAX];
  ssize_t length = ::readlink("/proc/self/exe", path, sizeof path);
  if (length <= 0) return fail_errno("reading /proc/self/exe");
  std::vector<std::string> argv = {std::string(path, static_cast<std::size_t>(length)),
                                   "--root",
                                   context.configuration.root,
                                   "--state",
                                   context.configuration.state,
                                   "container",
                                   command,
                                   id};
  return argv;
}

// ---- in the forked process -----------------------------------------------------------------------------------------

// The namespace exists: attach it, note the endpoint, complete the hosts file in place.
Result<std::vector<FileDescriptor>> attach_network(const Plan& plan, FdRef netns) {
  const ContainerRecord& record = plan.record;
  network::Attachment attachment =
      TRY(network::attach_to_bridge(netns, record.options.ports, plan.network_state_directory));
  const network::Endpoint& endpoint = attachment.endpoint;
  auto finish = [&]() -> Result<void> {
    TRY(write_file_atomically(plan.state_directory + "/endpoint.json", serialize(endpoint), 0600, Durability::none));
    std::string hosts =
        TRY(network::make_hosts_file(record.hostname, endpoint.ip_address, record.options.add_hosts, endpoint.gateway));
    FileDescriptor file = TRY(open_file(plan.hosts_path, O_WRONLY | O_TRUNC));
    return write_all(file, hosts);
  };
  auto finished = finish();
  if (finished) return std::move(attachment.port_reservations);
  Error error = std::move(finished).error();
  if (auto undone = network::withdraw_ports(endpoint); !undone)
    error = std::move(error).with_cleanup_failure(undone.error());
  return Failure(std::move(error));
}

Result<runtime::MonitorRequest> launch_container(Plan& plan) {
  const ContainerOptions& options = plan.record.options;
  runtime::MonitorRequest request;
  runtime::LaunchRequest launch;
  launch.spec = &plan.spec;
  launch.rootfs = plan.rootfs;
  launch.use_init = options.use_init;
  FileDescriptor in, out, err;
  if (!options.terminal) {
    if (options.open_stdin) {
      Pipe input = TRY(make_pipe());
      in = std::move(input.read_end);
      request.stdin_write = std::move(input.write_end);
    } else {
      in = TRY(open_file("/dev/null", O_RDONLY));
    }
    Pipe output = TRY(make_pipe());
    Pipe errors = TRY(make_pipe());
    out = std::move(output.write_end);
    err = std::move(errors.write_end);
    request.stdout_read = std::move(output.read_end);
    request.stderr_read = std::move(errors.read_end);
    launch.stdio = {in, out, err};
  }
  if (options.network == "bridge") {
    launch.configure_network = [&](FdRef netns) -> Result<void> {
      request.keep_open = TRY(attach_network(plan, netns));
      return {};
    };
  } else if (options.network == "none") {
    launch.configure_network = [](FdRef netns) { return network::bring_up_loopback(netns); };
  }
  request.launched = TRY(runtime::launch(launch));
  request.terminal = options.terminal;
  request.open_stdin = options.open_stdin;
  request.lock = std::move(plan.lock);
  request.first_client = std::move(plan.first_client);
  request.state_directory = plan.state_directory;
  request.log_path = plan.log_path;
  request.exit_path = plan.exit_path;
  request.exit_durable = !options.auto_remove;
  // Of a container that goes with its clean-up: a clean-up that comes late finds nothing, no successor that was started
  // meanwhile.
  request.client_cleans = options.auto_remove && request.first_client.valid();
  request.cgroups_path = plan.spec.cgroups_path;
  request.cleanup_argv = plan.cleanup_argv;
  request.restart = plan.restart;
  return request;
}

// Launches and says so in a file; what has failed is undone.
Result<std::string> launch_and_record(Plan& plan, runtime::MonitorRequest& request) {
  request = TRY(launch_container(plan));
  pid_t pid = request.launched.pid;
  RunningState state{pid, read_process_stat(pid).value_or(ProcessStat{}).start_ticks, format_time_now(),
                     plan.restart.count};
  auto written =
      write_file_atomically(plan.state_directory + "/running.json", serialize(state), 0600, Durability::none);
  if (written) {
    if (plan.restart.count > 0) ::unlink(plan.exit_path.c_str());  // until here it said "restarting"
    return state.started_at;
  }
  ::kill(pid, SIGKILL);
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  (void)runtime::destroy_cgroup(plan.spec.cgroups_path);
  return Failure(std::move(written).error());
}

[[noreturn]] void run_child(Plan& plan, FileDescriptor outcome) {
  // Own session: a ^C in the caller's terminal is for the client, not for the monitor. Nor does the monitor keep the
  // caller's terminal or pipes open.
  ::setsid();
  // Nor is the caller's signal mask (an attached client blocks what it forwards) the container's.
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  runtime::MonitorRequest request;
  auto started_at = launch_and_record(plan, request);
  (void)send_outcome(outcome, started_at);
  outcome.reset();
  if (!started_at) ::_exit(1);
  const pid_t pid = request.launched.pid;
  if (int null = ::open("/dev/null", O_RDWR | O_CLOEXEC); null >= 0) {
    for (int fd : {0, 1, 2}) ::dup2(null, fd);
  }
  Error error = runtime::become_monitor(std::move(request));
  // The container runs, but nobody can watch it: end it. The next command finds a stale container and cleans up.
  ::kill(pid, SIGKILL);
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  LastStart failure{*started_at, error.to_string(), 125};
  (void)write_file_atomically(plan.log_path.substr(0, plan.log_path.rfind('/')) + "/last_start.json",
                              serialize(failure), 0600, Durability::none);
  ::_exit(1);
}

// ---- in the caller -------------------------------------------------------------------------------------------------

int exit_code_of(const Error& error) {
  if (error.code() == ErrorCode::command_not_found) return 127;
  if (error.code() == ErrorCode::not_executable) return 126;
  return 128;
}

Result<runtime::RestartRequest> make_restart_request(const Context& context, const ContainerRecord& record,
                                                     RestartStep step) {
  const RestartPolicy& policy = record.options.restart;
  runtime::RestartRequest request;
  if (policy.kind == RestartPolicy::Kind::no) return request;
  request.only_on_failure = policy.kind == RestartPolicy::Kind::on_failure;
  request.max = policy.maximum_retries;
  request.count = step.count;
  request.delay_ms = step.delay_ms;
  request.stop_mark = stop_mark_path(context, record.id);
  request.argv = TRY(make_argv(context, "restart-by-policy", record.id));
  return request;
}

Result<Plan> make_plan(Context& context, const ContainerRecord& record, FileDescriptor lock, RestartStep step) {
  Plan plan{.record = record};
  plan.lock = std::move(lock);
  plan.state_directory = container_state_directory(context, record.id);
  plan.log_path = log_path(context, record.id);
  plan.exit_path = exit_path(context, record);
  plan.hosts_path = container_directory(context, record.id) + "/hosts";
  plan.network_state_directory = context.configuration.state;
  plan.cleanup_argv = TRY(make_argv(context, "cleanup", record.id));
  plan.restart = TRY(make_restart_request(context, record, step));
  store::MountRecipe recipe = TRY(context.store->snapshots().mount_recipe(record.snapshot));
  plan.rootfs = TRY(store::open_mount(recipe));
  plan.spec = TRY(make_spec(context, record, plan.rootfs));
  return plan;
}

// Everything undone, the reason kept for `ps` and `inspect`; a --rm container goes.
Error give_up(Context& context, const ContainerRecord& record, Error error) {
  auto cleaned = clean_up_running(context, record);
  if (!cleaned) error = std::move(error).with_cleanup_failure(cleaned.error());
  if (record.options.auto_remove) {
    auto removed = delete_container(context, record, true);
    if (!removed) error = std::move(error).with_cleanup_failure(removed.error());
    return error;
  }
  LastStart failure{"", error.message(), exit_code_of(error)};
  // After a failed restart, the exit before it is still what the container is known by.
  if (auto last = read_last_start(context, record.id); last && read_exit(context, record))
    failure.started_at = last->started_at;
  settle_exit(context, record);
  (void)write_file_atomically(container_directory(context, record.id) + "/last_start.json", serialize(failure), 0600,
                              Durability::none);
  return error;
}

Result<Started> launch_locked(Context& context, const ContainerRecord& record, FileDescriptor lock,
                              const StartOptions& options, RestartStep step) {
  Started started;
  Plan plan = TRY(make_plan(context, record, std::move(lock), step));
  if (options.attach) {
    int pair[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
      return fail_errno("creating the attach socket");
    started.connection = FileDescriptor(pair[0]);
    plan.first_client = FileDescriptor(pair[1]);
  }
  Pipe channel = TRY(make_pipe());
  pid_t child = runtime::fork_monitor();
  if (child < 0) return fail_errno("starting the monitor process");
  if (child == 0) {
    channel.read_end.reset();
    started.connection.reset();
    run_child(plan, std::move(channel.write_end));
  }
  channel.write_end.reset();
  plan.first_client.reset();
  plan.lock.reset();
  plan.rootfs.reset();
  auto outcome = receive_outcome(channel.read_end);
  if (!outcome) {
    while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
    }
    return Failure(std::move(outcome).error());
  }
  if (!record.options.auto_remove) {
    LastStart success{*outcome, "", 0};
    TRY(write_file_atomically(container_directory(context, record.id) + "/last_start.json", serialize(success), 0600,
                              Durability::none));
  }
  return started;
}

// The lock that the monitor left as descriptor 3, if it is that: anybody may call the command.
Result<FileDescriptor> inherited_lock(const Context& context, const ContainerRecord& record) {
  constexpr int kNumber = 3;
  struct stat given, expected;
  const std::string path = container_state_directory(context, record.id) + "/lock";
  if (::fstat(kNumber, &given) != 0 || ::stat(path.c_str(), &expected) != 0 || given.st_ino != expected.st_ino ||
      given.st_dev != expected.st_dev || ::flock(kNumber, LOCK_EX | LOCK_NB) != 0)
    return fail(ErrorCode::invalid_argument, "only a container's monitor runs this command; see dray start");
  ::fcntl(kNumber, F_SETFD, FD_CLOEXEC);
  return FileDescriptor(kNumber);
}

}  // namespace

Result<Started> start_container(Context& context, const std::string& name, const StartOptions& options) {
  store::Store::Lease lease = TRY(context.store->lease());
  ContainerRecord record = TRY(find_record(context, name));
  // A process that has just ended may still be marked as running: then its monitor's clean-up is waited for.
  auto running = find_running(context, record.id);
  if (running && open_process(*running)) return Started{};
  if (record.options.restart.kind != RestartPolicy::Kind::no && (running || is_restarting(context, record))) {
    // A restart that waits for its time gives way to this start.
    if (TRY(cancel_restart(context, record))) {
      clear_stop_mark(context, record);
      return Started{};
    }
  }
  auto lock = lock_container(context, record.id, 5000);
  if (!lock) {
    if (lock.error().code() == ErrorCode::in_use && find_running(context, record.id)) return Started{};
    return Failure(std::move(lock).error().with_context("starting container " + record.name));
  }
  TRY(find_name(context, record.id));  // removed while we waited for the lock?
  std::string state_directory = container_state_directory(context, record.id);
  if (::access((state_directory + "/running.json").c_str(), F_OK) == 0) TRY(clean_up_running(context, record));
  clear_stop_mark(context, record);
  ::unlink(exit_path(context, record).c_str());
  // A second descriptor of the lock: should the start fail, undoing it is still covered.
  FileDescriptor held(::fcntl(lock->fd().get(), F_DUPFD_CLOEXEC, 3));
  auto started = launch_locked(context, record, lock->take_fd(), options, {});
  if (started) return started;
  return Failure(give_up(context, record, std::move(started).error()));
}

Result<void> restart_by_policy(Context& context, const std::string& id) {
  store::Store::Lease lease = TRY(context.store->lease());
  ContainerRecord record = TRY(find_record(context, id));
  FileDescriptor lock = TRY(inherited_lock(context, record));
  auto exit = read_exit(context, record);
  const bool stopped = ::access(stop_mark_path(context, record.id).c_str(), F_OK) == 0;
  if (!exit || exit->restart_delay_ms == 0 || stopped) return {};
  // What a clean-up that was killed has left.
  if (::access((container_state_directory(context, record.id) + "/running.json").c_str(), F_OK) == 0)
    TRY(clean_up_running(context, record));
  FileDescriptor held(::fcntl(lock.get(), F_DUPFD_CLOEXEC, 3));
  auto started = launch_locked(context, record, std::move(lock), {}, {exit->restart_count, exit->restart_delay_ms});
  if (started) return {};
  return Failure(give_up(context, record, std::move(started).error()));
}

Result<FileDescriptor> attach_container(Context& context, const std::string& name) {
  ContainerRecord record = TRY(find_record(context, name));
  if (!find_running(context, record.id) && is_restarting(context, record))
    return fail(ErrorCode::in_use, "You cannot attach to a restarting container, wait until it is running");
  if (!find_running(context, record.id))
    return fail(ErrorCode::invalid_argument, "You cannot attach to a stopped container, start it first");
  return runtime::connect_monitor(container_state_directory(context, record.id));
}

}  // namespace dray::engine
