// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>

#include <dray/core/process.hpp>
#include <dray/network/network.hpp>
#include <dray/runtime/spec_json.hpp>
#include <dray/runtime/user_namespace.hpp>

#include "container.hpp"
#include "foreground.hpp"
#include "hooks.hpp"
#include "log.hpp"
#include "notify_socket.hpp"

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

Result<void> set_cgroup(const Settings& settings, runtime::Spec& spec, ContainerState& state) {
  if (settings.systemd_cgroup) {
    std::string text = spec.cgroups_path.empty() ? ":dray:" + state.id : spec.cgroups_path;
    if (settings.rootless && text.starts_with(':')) text = "user.slice" + text;
    state.systemd_unit = TRY(runtime::parse_systemd_path(text));
    state.systemd_unit->of_user = settings.rootless;
    if (settings.rootless) state.systemd_unit->manager_cgroup = TRY(runtime::user_manager_cgroup());
    constexpr std::string_view prefix = "org.systemd.property.";
    for (const auto& [key, value] : spec.annotations)
      if (key.starts_with(prefix)) state.systemd_unit->properties.emplace(key.substr(prefix.size()), value);
    state.cgroups_path = TRY(runtime::systemd_cgroups_path(*state.systemd_unit));
  } else {
    state.cgroups_path = TRY_CTX(
        runtime::resolve_cgroups_path(spec.cgroups_path.empty() ? state.id : spec.cgroups_path), "linux.cgroupsPath");
    // The root of all; "" would mean none, and no limits.
    if (state.cgroups_path.empty()) return fail(ErrorCode::invalid_argument, "linux.cgroupsPath: must not be \"/\"");
  }
  spec.cgroups_path = state.cgroups_path;
  return {};
}

bool is_refusal(const Error& error) {
  const int number = error.error_number();
  return number == EACCES || number == EPERM || number == EROFS;
}

// Nobody gave an ordinary user a cgroup to make others in: who wants no limits goes without one. runc's rules, and its
// words.
Result<void> try_cgroup(runtime::Spec& spec, ContainerState& state) {
  auto made = runtime::create_cgroup(state.cgroups_path, {}, runtime::ExistingCgroup::reuse);
  if (made) return {};
  if (!is_refusal(made.error())) return made;
  if (TRY(runtime::needs_controllers(spec.resources)))
    return Failure(std::move(made).error().with_context(
        "unable to apply cgroup configuration: rootless needs no limits + no cgrouppath when no permission is granted "
        "for cgroups"));
  spec.cgroups_path.clear();
  state.cgroups_path.clear();
  if (!spec.namespaces.pid.is_own())
    log_warning(
        "Creating a rootless container with no cgroup and no private pid namespace. Such configuration is strongly "
        "discouraged: its processes cannot all be found when it is killed");
  return {};
}

// As a detached mount, with all that is mounted below.
Result<FileDescriptor> open_rootfs(const ContainerState& state) {
  FileDescriptor rootfs(static_cast<int>(
      ::syscall(SYS_open_tree, AT_FDCWD, state.rootfs.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE)));
  if (!rootfs.valid()) return fail_errno("opening the root file system \"" + state.rootfs + "\"");
  struct stat status;
  if (::fstat(rootfs.get(), &status) != 0 || !S_ISDIR(status.st_mode))
    return fail(ErrorCode::invalid_argument, "root file system \"" + state.rootfs + "\" is not a directory");
  return rootfs;
}

class Creation {
 public:
  Creation(const Settings& settings, const CreateOptions& options) : settings_(settings), options_(options) {}
  ~Creation() {
    if (!done_ && state_.rdt_group) (void)runtime::destroy_rdt_group(*state_.rdt_group);
  }
  Creation(const Creation&) = delete;
  Creation& operator=(const Creation&) = delete;
  Result<Created> run();
  Result<Bundle> prepare();

 private:
  Result<void> read_bundle();
  Result<runtime::Launched> launch(StateDirectory& directory);
  Result<void> prepare_rootless();
  Result<void> run_hooks(pid_t pid);
  Result<void> configure_network(FdRef netns);
  Result<void> make_rdt_group();
  Result<void> note_failure(Result<void> outcome);

  const Settings& settings_;
  const CreateOptions& options_;
  Handover handover_;
  std::string config_;
  bool names_cgroup_ = false;  // in the spec, not by us
  bool made_cgroup_ = false;   // before launch() does
  runtime::Spec spec_;
  ContainerState state_;
  bool done_ = false;
  std::optional<std::string> outside_failure_;  // of what is done for the container from outside
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
  TRY(check_terminal(spec_.process.terminal, options_.detach, options_.console_socket));
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
  state_.boot = read_boot_id();
  state_.new_keyring = options_.new_keyring;
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

// What is moved and then lies in a namespace that ends with the failed container, the kernel gives back or removes.
Result<void> Creation::configure_network(FdRef netns) {
  const std::string context = "error creating network interfaces";
  if (spec_.namespaces.network.is_new) TRY_CTX(network::bring_up_loopback(netns), context);
  for (const auto& [name, new_name] : spec_.net_devices)
    TRY_CTX(network::move_device(name, new_name, netns), context + ": move netDevice " + name);
  return {};
}

Result<void> Creation::note_failure(Result<void> outcome) {
  if (!outcome) outside_failure_ = outcome.error().message();
  return outcome;
}

Result<void> Creation::make_rdt_group() {
  if (!spec_.intel_rdt) return {};
  const std::string resctrl = TRY(runtime::find_resctrl());
  state_.rdt_group = TRY_CTX(runtime::create_rdt_group(resctrl, *spec_.intel_rdt, state_.id),
                             "unable to apply Intel RDT configuration");
  TRY_CTX(runtime::set_rdt_schemata(*state_.rdt_group, runtime::rdt_schemata(*spec_.intel_rdt)),
          "error setting Intel RDT config for ready process");
  return {};
}

Result<void> Creation::prepare_rootless() {
  // Programs for devices are loaded by the host's root only. What a user can't open as a user stays closed without.
  if (runtime::is_rootless()) spec_.resources.devices.clear();
  if (!names_cgroup_ && !state_.systemd_unit) {
    TRY(try_cgroup(spec_, state_));
    made_cgroup_ = !state_.cgroups_path.empty();
  }
  return runtime::may_mount() ? Result<void>() : runtime::enter_user_namespace(spec_);
}

Result<runtime::Launched> Creation::launch(StateDirectory& directory) {
  auto gate = TRY(directory.make_gate());
  FileDescriptor rootfs = TRY(open_rootfs(state_));
  runtime::LaunchRequest request;
  request.preserved_descriptors = TRY(count_preserved(options_.preserved_descriptors, spec_.process));
  complete_environment(spec_.process, rootfs);
  if (!options_.detach) Foreground::adopt_window_size(spec_.process);
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
  if (auto enter = make_group_entrance(state_))
    request.enter_groups = [this, enter](pid_t pid) { return note_failure(enter(pid)); };
  if (spec_.namespaces.network.is_new || !spec_.net_devices.empty())
    request.configure_network = [this](FdRef netns) { return note_failure(configure_network(netns)); };
  const runtime::Hooks& hooks = spec_.hooks;
  if (!hooks.prestart.empty() || !hooks.create_runtime.empty() || !hooks.create_container.empty())
    request.run_hooks = [this](pid_t pid) { return note_failure(run_hooks(pid)); };
  auto launched = runtime::launch(request);
  if (launched) return launched;
  Error error = std::move(launched).error();
  // runc's words: what happened on the way to the command and not with the command itself.
  const bool of_command = error.code() == ErrorCode::command_not_found || error.code() == ErrorCode::not_executable;
  if (!of_command && error.message() != outside_failure_)
    error = std::move(error).with_context("error during container init");
  return Failure(std::move(error).with_context("unable to start container process"));
}

Result<Bundle> Creation::prepare() {
  state_.id = options_.id;
  TRY(check_id(state_.id));
  TRY(read_bundle());
  names_cgroup_ = !spec_.cgroups_path.empty();
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
  TRY(NotifySocket::prepare(directory, spec_));
  TRY(make_rdt_group());
  // With the cgroup's path, by which `delete --force` finds what a killed `create` has left.
  TRY(directory.write(state_));
  log_debug("nsexec container setup");
  auto tried = [&]() -> Result<runtime::Launched> {
    if (settings_.rootless) TRY(prepare_rootless());
    return launch(directory);
  }();
  if (!tried && made_cgroup_) (void)runtime::destroy_cgroup(state_.cgroups_path);
  runtime::Launched launched = TRY(std::move(tried));
  // In the container's user namespace its processes could look into this one.
  if (settings_.rootless && runtime::is_rootless()) ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
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
  done_ = true;
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
