// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>

#include <dray/core/process.hpp>
#include <dray/runtime/spec_json.hpp>

#include "container.hpp"
#include "hooks.hpp"
#include "log.hpp"

namespace dray::oci {
namespace {

Result<std::string> absolute_path(const std::string& path) {
  char resolved[PATH_MAX];
  if (::realpath(path.c_str(), resolved) == nullptr) return fail_errno("resolving \"" + path + "\"");
  return std::string(resolved);
}

// Of the caller's working directory, which changes to the bundle.
Result<std::string> from_here(const std::string& path) {
  if (path.empty() || path.front() == '/') return path;
  char here[PATH_MAX];
  if (::getcwd(here, sizeof here) == nullptr) return fail_errno("reading the working directory");
  return std::string(here) + "/" + path;
}

Result<void> check_terminal(const runtime::Process& process, const CreateOptions& options) {
  const bool has_socket = !options.console_socket.empty();
  if (options.detach && process.terminal && !has_socket)
    return fail(ErrorCode::invalid_argument, "cannot allocate tty if runc will detach without setting console socket");
  if ((!process.terminal || !options.detach) && has_socket)
    return fail(ErrorCode::invalid_argument, "cannot use console socket if runc will not detach or allocate tty");
  return {};
}

Result<void> set_cgroup(const Settings& settings, runtime::Spec& spec, ContainerState& state) {
  if (settings.systemd_cgroup) {
    const std::string text = spec.cgroups_path.empty()
                                 ? (::geteuid() == 0 ? "system.slice" : "user.slice") + (":dray:" + state.id)
                                 : spec.cgroups_path;
    state.systemd_unit = TRY(runtime::parse_systemd_path(text));
    state.cgroups_path = TRY(runtime::systemd_cgroups_path(*state.systemd_unit));
  } else {
    state.cgroups_path = spec.cgroups_path.empty() ? state.id : spec.cgroups_path;
    state.cgroups_path.erase(0, state.cgroups_path.find_first_not_of('/'));
  }
  spec.cgroups_path = state.cgroups_path;
  return {};
}

// Sources of bind mounts are relative to the bundle, which is our working directory now; but open_tree() is called
// later.
Result<FileDescriptor> open_rootfs(const ContainerState& state) {
  FileDescriptor rootfs(static_cast<int>(::syscall(SYS_open_tree, AT_FDCWD, state.rootfs.c_str(),
                                                   1u /* CLONE */ | O_CLOEXEC | 0x8000u /* AT_RECURSIVE */)));
  if (!rootfs.valid()) return fail_errno("opening the root file system \"" + state.rootfs + "\"");
  struct stat status;
  if (::fstat(rootfs.get(), &status) != 0 || !S_ISDIR(status.st_mode))
    return fail(ErrorCode::invalid_argument, "root file system \"" + state.rootfs + "\" is not a directory");
  return rootfs;
}

class Creation {
 public:
  Creation(const Settings& settings, const CreateOptions& options) : settings_(settings), options_(options) {}
  Result<Created> run();
  Result<Bundle> prepare();

 private:
  Result<void> read_bundle();
  Result<runtime::Launched> launch(StateDirectory& directory);
  Result<void> run_hooks(pid_t pid);

  const Settings& settings_;
  const CreateOptions& options_;
  Handover handover_;
  std::string config_;
  runtime::Spec spec_;
  ContainerState state_;
};

// The kernel raises to ambient only what is permitted and inheritable.
void warn_of_capabilities(const runtime::Capabilities& sets) {
  auto has = [](const std::vector<std::string>& set, const std::string& name) {
    return std::find(set.begin(), set.end(), name) != set.end();
  };
  for (const auto& name : sets.ambient) {
    if (!has(sets.inheritable, name) || !has(sets.permitted, name))
      log_warning("can't raise ambient capability " + name + ": operation not permitted");
  }
}

Result<void> Creation::read_bundle() {
  handover_ = {TRY(from_here(options_.console_socket)), TRY(from_here(options_.pidfd_socket)),
               TRY(from_here(options_.pid_file))};
  state_.bundle = TRY(absolute_path(options_.bundle));
  if (::chdir(state_.bundle.c_str()) != 0) return fail_errno("entering the bundle \"" + state_.bundle + "\"");
  auto config = read_file("config.json");
  if (!config) {
    if (config.error().error_number() == ENOENT)
      return fail(ErrorCode::not_found, "JSON specification file config.json not found");
    return Failure(std::move(config).error());
  }
  config_ = std::move(*config);
  spec_ = TRY(runtime::parse_spec(config_));
  for (const auto& warning : spec_.warnings) log_warning(warning);
  for (const auto& warning : spec_.process.warnings) log_warning(warning);
  TRY(check_terminal(spec_.process, options_));
  TRY(runtime::validate_spec(spec_));
  state_.rootfs = TRY(absolute_path(spec_.rootfs_path));
  // A destination that names the root of the host is meant in the container (runc's tests have it).
  for (auto& mount : spec_.mounts) {
    if (mount.destination.starts_with(state_.rootfs + "/")) mount.destination.erase(0, state_.rootfs.size());
  }
  state_.oci_version = spec_.oci_version;
  state_.annotations = spec_.annotations;
  state_.owner = ::geteuid();
  state_.own_pid_namespace = spec_.namespaces.pid.is_own();
  state_.created = format_time_now();
  return {};
}

Result<void> Creation::run_hooks(pid_t pid) {
  const runtime::Hooks& hooks = spec_.hooks;
  ContainerState now = state_;
  now.pid = pid;
  HookPlace place{"prestart", describe_for_hook(now, "creating"), 0, ""};
  TRY(oci::run_hooks(hooks.prestart, place));
  place.kind = "createRuntime";
  TRY(oci::run_hooks(hooks.create_runtime, place));
  place.kind = "createContainer";
  place.container = pid;
  place.directory = state_.rootfs;
  return oci::run_hooks(hooks.create_container, place);
}

Result<runtime::Launched> Creation::launch(StateDirectory& directory) {
  auto gate = TRY(directory.make_gate());
  FileDescriptor rootfs = TRY(open_rootfs(state_));
  runtime::LaunchRequest request;
  request.preserved_descriptors = count_preserved(options_.preserved_descriptors, spec_.process);
  complete_environment(spec_.process, rootfs);
  request.spec = &spec_;
  request.rootfs = rootfs;
  request.rootfs_path = state_.rootfs;
  request.stdio = {FdRef(0), FdRef(1), FdRef(2)};
  request.gate = runtime::Gate{gate.start, gate.status};
  request.use_pivot_root = options_.pivot_root;
  request.plain_newlines = !options_.detach;
  request.new_keyring = options_.new_keyring;
  request.keyring_name = "_ses." + state_.id;
  request.existing_cgroup = runtime::ExistingCgroup::reuse;
  request.systemd_unit = state_.systemd_unit;
  request.unit_description = "container " + state_.id;
  request.warn = [](const std::string& warning) { log_warning(warning); };
  request.take_seccomp_listener = make_seccomp_sender(spec_.seccomp, state_, "creating");
  const runtime::Hooks& hooks = spec_.hooks;
  if (!hooks.prestart.empty() || !hooks.create_runtime.empty() || !hooks.create_container.empty())
    request.run_hooks = [this](pid_t pid) { return run_hooks(pid); };
  auto launched = runtime::launch(request);
  if (launched) return launched;
  Error error = std::move(launched).error();
  // runc's words: what happened on the way to the command and not with the command itself.
  const bool of_command = error.code() == ErrorCode::command_not_found || error.code() == ErrorCode::not_executable;
  const bool of_hook = error.message().starts_with("error running ");
  if (!of_command && !of_hook) error = std::move(error).with_context("error during container init");
  return Failure(std::move(error).with_context("unable to start container process"));
}

Result<Bundle> Creation::prepare() {
  state_.id = options_.id;
  TRY(check_id(state_.id));
  TRY(read_bundle());
  TRY(set_cgroup(settings_, spec_, state_));
  return Bundle{config_, spec_, state_, handover_};
}

Result<Created> Creation::run() {
  TRY(prepare());
  warn_of_capabilities(spec_.process.capabilities);
  // First the id: of a container that is there, the cgroup is not empty either.
  StateDirectory directory = TRY(StateDirectory::create(settings_.root, state_.id));
  TRY(check_cgroup(state_));
  TRY(directory.write_spec(config_));
  // With the cgroup's path, by which `delete --force` finds what a killed `create` has left.
  TRY(directory.write(state_));
  log_debug("nsexec container setup");
  runtime::Launched launched = TRY(launch(directory));
  log_debug("child process in init()");
  log_seccomp_flags(spec_.seccomp);
  log_debug("init: closing the pipe to signal completion");
  state_.pid = launched.pid;
  state_.start_ticks = read_process_stat(launched.pid).value_or(ProcessStat{}).start_ticks;
  auto finished = [&]() -> Result<void> {
    TRY(directory.write(state_));
    return hand_over(handover_, launched);
  }();
  if (!finished) {
    (void)destroy_container(directory, state_);
    return Failure(std::move(finished).error());
  }
  directory.keep();
  return Created{std::move(directory), std::move(state_), std::move(spec_), std::move(launched)};
}

}  // namespace

Result<void> check_cgroup(const ContainerState& state) {
  if (state.cgroups_path.empty()) return {};
  if (TRY(runtime::is_cgroup_frozen(state.cgroups_path)))
    return fail(ErrorCode::in_use, "container's cgroup unexpectedly frozen");
  if (!TRY(runtime::is_cgroup_empty(state.cgroups_path)))
    return fail(ErrorCode::in_use, "container's cgroup is not empty");
  return {};
}

Result<Bundle> read_bundle(const Settings& settings, const CreateOptions& options) {
  return Creation(settings, options).prepare();
}

Result<Created> create_container(const Settings& settings, const CreateOptions& options) {
  return Creation(settings, options).run();
}

}  // namespace dray::oci
