// SPDX-License-Identifier: Apache-2.0
// start, kill, delete, pause, resume.
#include <signal.h>

#include <dray/core/process.hpp>

#include "../command.hpp"
#include "../notify_socket.hpp"

namespace dray::oci {
namespace {

constexpr const char* kIdUsage = "<container-id>";

// A command with nothing but an id.
Result<std::optional<Container>> find_operand(Invocation& invocation, const char* name, const char* description) {
  std::vector<std::string> operands;
  Flags flags = make_flags(invocation, name, kIdUsage, description);
  flags.operands(operands, 1, 1);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return std::optional<Container>();
  return std::optional<Container>(TRY(find_container(invocation.settings.root, operands.front())));
}

}  // namespace

Result<int> command_start(Invocation& invocation) {
  auto container = TRY(find_operand(invocation, "start",
                                    "executes the user defined process in a created container\n\nThe start command "
                                    "executes the user defined process in a created container.\n"));
  if (!container) return 0;
  // Of two at once the second finds it running.
  const FileLock lock = TRY(FileLock::acquire(container->directory.path() + "/start.lock", FileLock::Mode::exclusive));
  container->status = status_of(container->directory, container->state);
  if (container->status == Status::running || container->status == Status::paused)
    return fail(ErrorCode::invalid_argument, "cannot start an already running container");
  if (container->status != Status::created)
    return fail(ErrorCode::invalid_argument,
                std::string("cannot start a container that has ") +
                    (container->status == Status::stopped ? "stopped" : "not been created yet"));
  const runtime::Spec spec = TRY(container->directory.read_spec());
  auto notify = TRY(NotifySocket::listen(container->directory));
  TRY(start_container(container->directory, container->state, spec));
  if (!notify) return 0;
  FileDescriptor process = open_process(container->state);
  if (process.valid()) TRY(notify->wait(process, container->state.pid));
  return 0;
}

Result<int> command_kill(Invocation& invocation) {
  bool all = false;
  std::vector<std::string> operands;
  Flags flags = make_flags(invocation, "kill", "<container-id> [signal]",
                           "kill sends the specified signal (default: SIGTERM) to the container's init process\n\n"
                           "Where \"<container-id>\" is the name for the instance of the container and\n"
                           "\"[signal]\" is the signal to be sent to the init process.\n");
  flags.flag("--all,-a", all, "send the signal to all processes of the container");
  flags.operands(operands, 1, 2);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  const std::string word = operands.size() > 1 ? operands[1] : "SIGTERM";
  int signal = 0;  // which only asks whether the container is there
  if (word != "0") {
    auto parsed = parse_signal(word);
    if (!parsed) return fail(ErrorCode::invalid_argument, "unknown signal \"" + word + "\"");
    signal = *parsed;
  }
  const Container container = TRY(find_container(invocation.settings.root, operands.front()));
  if (container.status == Status::stopped && (all || (signal == SIGKILL && !container.state.own_pid_namespace))) {
    // Its first process has ended, others need not have.
    if (!container.state.cgroups_path.empty()) TRY(runtime::signal_cgroup(container.state.cgroups_path, signal));
    return 0;
  }
  TRY(kill_container(container.state, signal, all));
  return 0;
}

Result<int> command_delete(Invocation& invocation) {
  bool force = false;
  std::vector<std::string> operands;
  Flags flags = make_flags(invocation, "delete", "[command options] <container-id>",
                           "delete any resources held by the container often used with detached container\n");
  flags.flag("--force,-f", force, "Forcibly deletes the container if it is still running (uses SIGKILL)");
  flags.operands(operands, 1, 1);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  auto directory = StateDirectory::open(invocation.settings.root, operands.front());
  if (!directory) {
    if (force && directory.error().code() == ErrorCode::not_found) return 0;
    return Failure(std::move(directory).error());
  }
  auto state = directory->read();
  if (!state) {
    // What a `create` that was killed at its very start has left.
    if (!force && state.error().code() == ErrorCode::not_found) return Failure(std::move(state).error());
    TRY(directory->remove());
    return 0;
  }
  const Status status = status_of(*directory, *state);
  if (!force && status != Status::stopped && status != Status::created)
    return fail(ErrorCode::in_use, "cannot delete container " + state->id + " that is not stopped: " + name_of(status));
  TRY(destroy_container(*directory, *state));
  return 0;
}

Result<int> command_pause(Invocation& invocation) {
  auto container = TRY(find_operand(invocation, "pause",
                                    "pause suspends all processes inside the container\n\nThe pause command suspends "
                                    "all processes in the instance of the container.\n"));
  if (!container) return 0;
  if (container->status != Status::running && container->status != Status::created)
    return fail(ErrorCode::invalid_argument, "container not running");
  TRY(runtime::freeze_cgroup(container->state.cgroups_path));
  return 0;
}

Result<int> command_resume(Invocation& invocation) {
  auto container = TRY(find_operand(invocation, "resume",
                                    "resumes all processes that have been previously paused\n\nThe resume command "
                                    "resumes all processes in the instance of the container.\n"));
  if (!container) return 0;
  if (container->status != Status::paused) return fail(ErrorCode::invalid_argument, "container not paused");
  TRY(runtime::thaw_cgroup(container->state.cgroups_path));
  return 0;
}

}  // namespace dray::oci
