// SPDX-License-Identifier: Apache-2.0
// Bringing back. CRIU makes namespaces, mounts and processes; ours are the cgroup, the hooks, the state and whatever
// else `create` does around a container's first process.
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <set>

#include <dray/core/process.hpp>

#include "criu.hpp"
#include "criu_job.hpp"
#include "hooks.hpp"
#include "log.hpp"

namespace dray::oci {
namespace {

using criu::Job;
using criu::RequestType;
using criu::Response;
using criu::RestoreRoot;
using criu::Session;
namespace field = criu::field;

class Restoration {
 public:
  Restoration(StateDirectory& directory, Bundle& bundle, const CriuOptions& options)
      : directory_(directory), spec_(bundle.spec), state_(bundle.state), options_(options) {}

  /// state.json says which process it is from the moment that it runs.
  Result<runtime::Launched> run();

 private:
  Result<runtime::Launched> restore();
  Result<void> make_cgroup(pid_t criu);
  Result<Job> make_restore_job(const RestoreRoot& root, pid_t criu);
  Result<void> add_namespaces(Job& job);
  Result<void> add_descriptors(Job& job);
  Result<void> listen(const Response& notification, FileDescriptor descriptor);
  Result<void> run_hooks(pid_t pid);

  StateDirectory& directory_;
  const runtime::Spec& spec_;
  ContainerState& state_;
  const CriuOptions& options_;
  std::vector<FileDescriptor> inherited_;
  FileDescriptor console_, pidfd_;
  bool cgroup_made_ = false;
};

Result<void> enter_cgroup(const std::string& cgroups_path, pid_t pid) {
  std::set<std::string> seen;
  for (const auto& directory : TRY(runtime::cgroup_directories(cgroups_path))) {
    if (!seen.insert(directory.path).second) continue;
    auto file = open_file(directory.path + "/cgroup.procs", O_WRONLY);
    if (!file && file.error().error_number() == ENOENT) continue;
    FileDescriptor processes = TRY(std::move(file));
    TRY_CTX(write_all(processes, std::to_string(pid)), "entering the cgroup \"" + directory.path + "\"");
  }
  return {};
}

// Where the images' cgroups are to be found now: where CRIU itself is. Lines like "4:cpu,cpuacct:/path", "0::/path".
Result<void> add_cgroup_roots(Job& job, pid_t criu) {
  const std::string text = TRY(read_file("/proc/" + std::to_string(criu) + "/cgroup"));
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::size_t first = text.find(':', at), second = text.find(':', first + 1);
    if (second >= end) return fail(ErrorCode::corrupt, "unexpected line in /proc/PID/cgroup");
    const std::string path = text.substr(second + 1, end - second - 1);
    for (std::size_t name = first + 1; name <= second;) {
      const std::size_t name_end = std::min(text.find(',', name), second);
      job.add_pair(field::cg_root, text.substr(name, name_end - name), path);
      name = name_end + 1;
    }
    at = end + 1;
  }
  return {};
}

// What CRIU makes is born in the cgroup in which it is itself.
Result<void> Restoration::make_cgroup(pid_t criu) {
  if (state_.systemd_unit) {
    const auto warnings =
        TRY(runtime::start_systemd_unit(*state_.systemd_unit, "container " + state_.id, criu, spec_.resources));
    cgroup_made_ = true;
    for (const auto& warning : warnings) log_warning(warning);
  }
  TRY(runtime::create_cgroup(state_.cgroups_path, spec_.resources,
                             state_.systemd_unit ? runtime::ExistingCgroup::join : runtime::ExistingCgroup::reuse));
  cgroup_made_ = true;
  return enter_cgroup(state_.cgroups_path, criu);
}

Result<void> Restoration::add_namespaces(Job& job) {
  const runtime::Namespaces& all = spec_.namespaces;
  if (!all.cgroup.path.empty())
    return fail(ErrorCode::unsupported, "criu cannot restore into an existing cgroup namespace");
  const std::pair<const char*, const runtime::Namespace*> joined[] = {
      {"mnt", &all.mount}, {"uts", &all.uts}, {"ipc", &all.ipc}, {"user", &all.user}, {"time", &all.time}};
  for (const auto& [name, wanted] : joined) {
    if (!wanted->path.empty()) job.add_pair(field::join_ns, name, wanted->path);
  }
  for (const auto& [name, wanted] : criu::external_namespaces(spec_)) {
    FileDescriptor file = TRY_CTX(open_file(wanted->path, O_RDONLY), "the container's namespace");
    if (::fcntl(file.get(), F_SETFD, 0) != 0) return fail_errno("preparing a namespace for criu");
    criu::Message pair;
    pair.text(1, criu::external_namespace_key(name));
    pair.number(2, static_cast<unsigned>(file.get()));
    job.options.message(field::inherit_fd, pair);
    inherited_.push_back(std::move(file));
  }
  return {};
}

// Ours take the places of those that the container had.
Result<void> Restoration::add_descriptors(Job& job) {
  std::set<std::string> seen;
  const auto descriptors = TRY(criu::read_descriptors(options_.image_path));
  for (unsigned number = 0; number < std::min<std::size_t>(descriptors.size(), 3); ++number) {
    const std::string& name = descriptors[number];
    if (!criu::is_pipe(name) && !criu::is_external_file(name)) continue;
    if (!seen.insert(name).second) continue;
    criu::Message pair;
    pair.text(1, name);
    pair.number(2, number);
    job.options.message(field::inherit_fd, pair);
  }
  return {};
}

Result<Job> Restoration::make_restore_job(const RestoreRoot& root, pid_t criu) {
  Job job = TRY(criu::make_job(options_, spec_, "restore.log"));
  job.options.text(field::root, root.path());
  job.options.flag(field::rst_sibling, true);  // the first process becomes our child
  job.options.flag(field::evasive_devices, true);
  if (!options_.lsm_profile.empty()) job.options.text(field::lsm_profile, options_.lsm_profile);
  if (!options_.lsm_mount_context.empty()) job.options.text(field::lsm_mount_context, options_.lsm_mount_context);
  TRY(add_cgroup_roots(job, criu));
  for (const auto& mount : TRY(criu::external_mounts(spec_, state_.bundle, state_.cgroups_path)))
    job.add_pair(field::ext_mnt, mount.destination, mount.source);
  if (!spec_.masked_paths.empty()) job.add_pair(field::ext_mnt, "/dev/null", "/dev/null");
  TRY(add_descriptors(job));
  return job;
}

Result<void> Restoration::run_hooks(pid_t pid) {
  ContainerState now = state_;
  now.pid = pid;
  HookPlace place{"prestart", describe_for_hook(now, "creating"), 0, ""};
  TRY(oci::run_hooks(spec_.hooks.prestart, place));
  place.kind = "createRuntime";
  return oci::run_hooks(spec_.hooks.create_runtime, place);
}

Result<void> Restoration::listen(const Response& notification, FileDescriptor descriptor) {
  if (notification.script == "setup-namespaces") return run_hooks(notification.pid);
  if (notification.script == "orphan-pts-master") console_ = std::move(descriptor);
  if (notification.script != "post-restore") return {};
  pidfd_ = FileDescriptor(static_cast<int>(::syscall(SYS_pidfd_open, notification.pid, 0)));
  if (!pidfd_.valid()) return fail_errno("opening the restored process");
  state_.pid = notification.pid;
  state_.start_ticks = read_process_stat(notification.pid).value_or(ProcessStat{}).start_ticks;
  state_.created = format_time_now();
  return directory_.write(state_);
}

Result<runtime::Launched> Restoration::restore() {
  RestoreRoot root = TRY(RestoreRoot::make(directory_.path() + "/criu-root", state_.rootfs, spec_, state_.bundle));
  Job external;  // CRIU inherits its descriptors, so they are opened first
  TRY(add_namespaces(external));
  Session session = TRY(Session::start(FdRef(0), FdRef(1), FdRef(2)));
  TRY(make_cgroup(session.pid()));
  Job job = TRY(make_restore_job(root, session.pid()));
  job.options.append(external.options);
  auto restored =
      session.ask(RequestType::restore, job.options, [this](const Response& notification, FileDescriptor descriptor) {
        return listen(notification, std::move(descriptor));
      });
  if (!restored) {
    criu::quote_log(job.log);
    return Failure(std::move(restored).error().with_hint("log file: " + job.log));
  }
  if (!pidfd_.valid()) return fail(ErrorCode::command_failed, "criu told of no restored process");
  if (spec_.process.terminal && !console_.valid())
    return fail(ErrorCode::command_failed, "criu gave no terminal: the container had none when it was saved");
  runtime::Launched launched;
  launched.pid = state_.pid;
  launched.pidfd = std::move(pidfd_);
  if (spec_.process.terminal) launched.console = std::move(console_);
  return launched;
}

Result<runtime::Launched> Restoration::run() {
  auto launched = restore();
  if (launched || !cgroup_made_) return launched;
  // Processes that CRIU had restored already are in the cgroup as well.
  Error error = std::move(launched).error();
  auto removed = runtime::destroy_cgroup(state_.cgroups_path);
  if (removed && state_.systemd_unit) removed = runtime::stop_systemd_unit(*state_.systemd_unit);
  if (!removed) error = std::move(error).with_cleanup_failure(removed.error());
  return Failure(std::move(error));
}

}  // namespace

Result<Created> restore_container(const Settings& settings, const CreateOptions& create, const CriuOptions& options) {
  Bundle bundle = TRY(read_bundle(settings, create));
  StateDirectory directory = TRY(StateDirectory::create(settings.root, bundle.state.id));
  TRY(check_cgroup(bundle.state));
  TRY(directory.write_spec(bundle.config));
  TRY(directory.write(bundle.state));
  runtime::Launched launched = TRY(Restoration(directory, bundle, options).run());
  if (auto handed = hand_over(bundle.handover, launched); !handed) {
    (void)destroy_container(directory, bundle.state);
    return Failure(std::move(handed).error());
  }
  directory.keep();
  return Created{std::move(directory), std::move(bundle.state), std::move(bundle.spec), std::move(launched)};
}

}  // namespace dray::oci
