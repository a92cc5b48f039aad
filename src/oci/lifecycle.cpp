// SPDX-License-Identifier: Apache-2.0
// From created to deleted.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include <dray/runtime/spec_json.hpp>

#include "container.hpp"
#include "hooks.hpp"
#include "log.hpp"

namespace dray::oci {
namespace {

// In the container as its process will be: same user, same rights. That is what exec() makes.
Result<void> run_start_hooks(const ContainerState& state, const runtime::Spec& spec) {
  const std::string document = describe_for_hook(state, "created");
  for (std::size_t i = 0; i < spec.hooks.start_container.size(); ++i) {
    const runtime::Hook& hook = spec.hooks.start_container[i];
    const std::string name = "error running startContainer hook #" + std::to_string(i);
    runtime::ExecRequest request;
    request.pid = state.pid;
    request.process = spec.process;
    request.process.terminal = false;
    request.program = hook.path;
    request.process.args = hook.args.empty() ? std::vector<std::string>{hook.path} : hook.args;
    if (!hook.env.empty()) request.process.env = hook.env;
    request.cgroups_path = state.cgroups_path;
    request.seccomp = spec.seccomp;
    request.take_seccomp_listener = make_seccomp_sender(spec.seccomp, state, "created");
    Pipe input = TRY(make_pipe()), output = TRY(make_pipe());
    request.stdio = {input.read_end, output.write_end, output.write_end};
    auto launched = runtime::exec(request);
    if (!launched) return Failure(std::move(launched).error().with_context(name));
    input.read_end.reset();
    output.write_end.reset();
    (void)write_all(input.write_end, document);  // it need not listen
    input.write_end.reset();
    struct pollfd waiting{launched->pidfd.get(), POLLIN, 0};
    const int limit = hook.timeout ? *hook.timeout * 1000 : -1;
    int count;
    do {
      count = ::poll(&waiting, 1, limit);
    } while (count < 0 && errno == EINTR);
    if (count == 0) ::kill(launched->pid, SIGKILL);
    int status = 0;
    while (::waitpid(launched->pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (count == 0) return fail(ErrorCode::unavailable, name + ": hook ran past specified timeout");
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) continue;
    auto said = read_all(output.read_end, 64 * 1024);
    return fail(ErrorCode::command_failed,
                name + ": " + describe_end(status) + ", stdout: , stderr: " + (said ? *said : ""));
  }
  return {};
}

// Not our child: the kernel tells by the pidfd.
Result<void> wait_for_end(const ContainerState& state, int milliseconds) {
  FileDescriptor process = open_process(state);
  if (!process.valid()) return {};
  struct pollfd waiting{process.get(), POLLIN, 0};
  int count;
  do {
    count = ::poll(&waiting, 1, milliseconds);
  } while (count < 0 && errno == EINTR);
  if (count == 0) return fail(ErrorCode::unavailable, "container " + state.id + " does not end");
  return {};
}

}  // namespace

Result<void> start_container(StateDirectory& directory, const ContainerState& state, const runtime::Spec& spec) {
  if (!spec.hooks.start_container.empty()) {
    runtime::Spec complete = spec;
    FileDescriptor rootfs = TRY(open_file("/proc/" + std::to_string(state.pid) + "/root", O_PATH | O_DIRECTORY));
    complete_environment(complete.process, rootfs);
    if (auto run = run_start_hooks(state, complete); !run) {
      (void)destroy_container(directory, state);
      return run;
    }
  }
  TRY(directory.open_gate(spec.process.args.front()));
  auto hooks = run_hooks(spec.hooks.poststart, {"poststart", describe_for_hook(state, "running"), 0, ""});
  if (!hooks) (void)destroy_container(directory, state);
  return hooks;
}

Result<void> kill_container(const ContainerState& state, int signal, bool all) {
  // Without a pid namespace the end of the first process ends no other.
  if (all || (signal == SIGKILL && !state.own_pid_namespace)) {
    if (!state.cgroups_path.empty()) return runtime::signal_cgroup(state.cgroups_path, signal);
  }
  FileDescriptor process = open_process(state);
  if (!process.valid()) return fail(ErrorCode::not_found, "container not running");
  if (::syscall(SYS_pidfd_send_signal, process.get(), signal, nullptr, 0) != 0) {
    if (errno == ESRCH) return fail(ErrorCode::not_found, "container not running");
    return fail_errno("signalling the container");
  }
  // A frozen process takes its end when it thaws.
  if (signal == SIGKILL && !state.cgroups_path.empty() && runtime::is_cgroup_frozen(state.cgroups_path).value_or(false))
    return runtime::thaw_cgroup(state.cgroups_path);
  return {};
}

Result<void> destroy_container(StateDirectory& directory, const ContainerState& state) {
  if (FileDescriptor process = open_process(state); process.valid()) {
    // It may end by itself meanwhile.
    auto killed = kill_container(state, SIGKILL, false);
    if (!killed && killed.error().code() != ErrorCode::not_found) return killed;
    TRY(wait_for_end(state, 10'000));
  }
  if (!state.cgroups_path.empty()) TRY(runtime::destroy_cgroup(state.cgroups_path));
  if (state.systemd_unit) TRY(runtime::stop_systemd_unit(*state.systemd_unit));
  auto spec = directory.read_spec();
  TRY(directory.remove());
  if (!spec) return {};
  // "… MUST log a warning, but the remaining hooks and lifecycle continue as if the hook had succeeded."
  for (const auto& hook : spec->hooks.poststop) {
    auto run = run_hooks({hook}, {"poststop", describe_for_hook(state, "stopped"), 0, ""});
    if (!run) log_warning(run.error().message());
  }
  return {};
}

}  // namespace dray::oci
