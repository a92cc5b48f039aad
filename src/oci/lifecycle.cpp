// SPDX-License-Identifier: Apache-2.0
// From created to deleted.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include <dray/runtime/spec_json.hpp>

#include "container.hpp"
#include "hooks.hpp"
#include "log.hpp"

namespace dray::oci {
namespace {

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
  TRY(directory.open_gate(state, spec.process.args.front()));
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
  if (state.rdt_group) TRY(runtime::destroy_rdt_group(*state.rdt_group));
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
