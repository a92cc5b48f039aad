// SPDX-License-Identifier: Apache-2.0
// `exec`: a further process in a running container, with the container's environment, user and confinement unless told
// otherwise.
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>

#include <dray/core/rooted_path.hpp>
#include <dray/runtime/launch.hpp>
#include <dray/runtime/sealed_program.hpp>

#include "container_spec.hpp"
#include "container_state.hpp"
#include "host_ca.hpp"

namespace dray::engine {
namespace {

Result<runtime::Process> make_exec_process(const Context& context, const ContainerRecord& record,
                                           const ExecOptions& options, FdRef rootfs) {
  ContainerRecord view = record;  // the first process's rules, with this command's wishes
  view.options.terminal = options.terminal;
  if (!options.user.empty()) view.user = options.user;
  if (!options.working_dir.empty()) view.working_dir = options.working_dir;
  std::vector<std::string> env;
  for (const auto& entry : options.env) {
    if (entry.find('=') != std::string::npos) {
      env.push_back(entry);
    } else if (const char* value = ::getenv(entry.c_str())) {
      env.push_back(entry + "=" + value);
    }
  }
  view.env = merge_environment(view.env, env);
  runtime::Process process = TRY(make_process(view, rootfs));
  process.args = options.command;
  process.console_rows = options.rows;
  process.console_columns = options.columns;
  if (options.privileged) process.capabilities = make_capabilities(runtime::all_capabilities(), process.user.uid);
  if (record.options.trust_host_ca) {
    HostCa trust = TRY(make_host_ca(context, rootfs, HostCaPlaces::variables));
    runtime::Spec spec;
    spec.process = std::move(process);
    apply_host_ca(trust, spec);  // the mounts are there since the start
    process = std::move(spec.process);
  }
  return process;
}

// Whoever in the container may look into processes may open our file by /proc. Executes this program once more; nothing
// is begun yet.
Result<void> seal_if_seen(const Context& context, const ContainerRecord& record,
                          const std::vector<std::string>& names) {
  const std::string directory = container_state_directory(context, record.id);
  const auto own = TRY(capability_names(record.options, record.options.privileged));
  if (runtime::is_seen_inside(directory, own)) TRY(runtime::run_sealed());
  return runtime::note_who_sees(directory, names);
}

}  // namespace

Result<Exec> exec_in_container(Context& context, const std::string& name, const ExecOptions& options) {
  if (options.command.empty()) return fail(ErrorCode::invalid_argument, "no exec command specified");
  ContainerRecord record = TRY(find_record(context, name));
  auto running = find_running(context, record.id);
  if (!running) {
    if (is_restarting(context, record))
      return fail(ErrorCode::in_use, "Container " + record.id + " is restarting, wait until the container is running");
    clean_up_if_stale(context, record);
    return fail(ErrorCode::in_use, "container " + record.id + " is not running");
  }
  const bool privileged = record.options.privileged || options.privileged;
  auto names = TRY(capability_names(record.options, privileged));
  TRY(seal_if_seen(context, record, names));
  FileDescriptor process = TRY_CTX(open_process(*running), "container " + record.id);
  FileDescriptor rootfs = TRY(open_file("/proc/" + std::to_string(running->pid) + "/root", O_PATH | O_DIRECTORY));
  runtime::ExecRequest request;
  request.pid = running->pid;
  request.pidfd = process;
  request.process = TRY(make_exec_process(context, record, options, rootfs));
  request.seccomp = TRY(make_seccomp(record.options, privileged, names));
  request.cgroups_path = cgroups_path(record.id);
  Exec exec;
  FileDescriptor in, out, err;
  if (!options.terminal) {
    if (options.open_stdin && !options.detach) {
      Pipe input = TRY(make_pipe());
      in = std::move(input.read_end);
      exec.stdin_write = std::move(input.write_end);
    } else {
      in = TRY(open_file("/dev/null", O_RDONLY));
    }
    if (options.detach) {
      out = TRY(open_file("/dev/null", O_WRONLY));
      err = TRY(open_file("/dev/null", O_WRONLY));
    } else {
      Pipe output = TRY(make_pipe());
      Pipe errors = TRY(make_pipe());
      out = std::move(output.write_end);
      exec.stdout_read = std::move(output.read_end);
      err = std::move(errors.write_end);
      exec.stderr_read = std::move(errors.read_end);
    }
    request.stdio = {in, out, err};
  }
  runtime::Launched launched = TRY(runtime::exec(request));
  exec.pid = launched.pid;
  exec.pidfd = std::move(launched.pidfd);
  exec.console = std::move(launched.console);
  return exec;
}

}  // namespace dray::engine
