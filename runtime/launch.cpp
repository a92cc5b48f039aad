// SPDX-License-Identifier: Apache-2.0
// Starting a container, the parent's side: make the plan, clone, do the slow things (cgroup, network) while the child
// mounts, say go, listen. child_plan.hpp documents the conversation; whatever fails on either side, the child is gone
// and reaped and the cgroup removed before an error is returned.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>

#include <cerrno>
#include <future>

#include <dray/runtime/launch.hpp>

#include "channel.hpp"
#include "failure.hpp"
#include "plan_builder.hpp"
#include "user_namespace.hpp"

namespace dray::runtime {
namespace {

struct PreparedCgroup {
  CgroupEntrance entrance;
  std::vector<FileDescriptor> mounts;
};

class Launch {
 public:
  explicit Launch(const LaunchRequest& request) : request_(request), spec_(*request.spec) {}
  Result<Launched> run();

 private:
  Result<Launched> start();
  Result<Child> clone_process(FdRef birthplace);
  Result<PreparedCgroup> prepare_cgroup(bool read_only);
  Result<void> prepare_surroundings(const Child& child, const std::shared_future<Result<PreparedCgroup>>& cgroup);
  Result<void> start_unit(const Child& child);
  std::optional<uid_t> cgroup_owner();
  Result<void> follow(const Child& child);
  Error first_cause(Error ours);

  const LaunchRequest& request_;
  const Spec& spec_;
  PlanBuilder builder_;
  Channel channel_;
  bool cgroup_made_ = false;  // written by the thread of prepare_cgroup(), which ends before start() does
};

// The container's own cgroup of each hierarchy, as detached mounts.
Result<std::vector<FileDescriptor>> open_cgroups(const std::vector<CgroupMountPoint>& points, bool read_only) {
  std::vector<FileDescriptor> trees;
  const std::uint64_t attributes =
      MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | (read_only ? MOUNT_ATTR_RDONLY : 0);
  for (const auto& point : points) {
    FileDescriptor tree = TRY(clone_mount(point.host_path));
    TRY(change_mount(tree, attributes, 0, MS_PRIVATE, 0));
    trees.push_back(std::move(tree));
  }
  return trees;
}

// runtime-spec, "Cgroup ownership": who may write to the mount and sees nothing above may also make cgroups below.
std::optional<uid_t> Launch::cgroup_owner() {
  const PlanCgroups& mount = builder_.plan().cgroups;
  const bool writable = mount.destination != nullptr && mount.unified && !mount.read_only;
  if (!writable || !builder_.plan().new_cgroup_namespace) return std::nullopt;
  const uid_t inside = spec_.process.user.uid;
  if (!spec_.namespaces.user.is_new) return in_own_user_namespace() ? std::optional<uid_t>(inside) : std::nullopt;
  for (const IdMapping& map : spec_.uid_mappings)
    if (inside >= map.container_id && inside - map.container_id < map.size)
      return map.host_id + (inside - map.container_id);
  return std::nullopt;
}

Result<PreparedCgroup> Launch::prepare_cgroup(bool read_only) {
  PreparedCgroup prepared;
  if (spec_.cgroups_path.empty()) {
    // Without a cgroup of its own: the host's, or in a cgroup namespace what the child mounts.
    if (builder_.plan().cgroups.unified && !builder_.plan().new_cgroup_namespace)
      prepared.mounts = TRY(open_cgroups(builder_.cgroup_mount_points(), read_only));
    return prepared;
  }
  // In a unit of systemd's our process is already.
  const ExistingCgroup existing = request_.systemd_unit ? ExistingCgroup::join : request_.existing_cgroup;
  TRY_CTX(create_cgroup(spec_.cgroups_path, spec_.resources, existing), "unable to apply cgroup configuration");
  cgroup_made_ = true;
  if (const auto owner = cgroup_owner()) {
    // An ordinary user may give away to some only; what is not given is the user's.
    auto given = delegate_cgroup(spec_.cgroups_path, *owner);
    if (!given && !in_own_user_namespace()) return Failure(std::move(given).error());
  }
  prepared.entrance = TRY(open_cgroup_entrance(spec_.cgroups_path));
  prepared.mounts = TRY(open_cgroups(builder_.cgroup_mount_points(), read_only));
  return prepared;
}

// The parent's work while the child mounts.
Result<void> Launch::prepare_surroundings(const Child& child,
                                          const std::shared_future<Result<PreparedCgroup>>& cgroup) {
  if (spec_.process.oom_score_adj && builder_.plan().oom_score.text == nullptr)
    TRY(child.set_oom_score(*spec_.process.oom_score_adj));
  if (spec_.namespaces.user.is_own()) TRY(child.raise_hard_limits(builder_.plan().process));
  if (request_.enter_groups) TRY(request_.enter_groups(child.pid));
  if (request_.configure_network) {
    // One that is joined by its path: the child may not have got there yet.
    const std::string& joined = spec_.namespaces.network.path;
    FileDescriptor netns =
        TRY(open_file(joined.empty() ? "/proc/" + std::to_string(child.pid) + "/ns/net" : joined, O_RDONLY));
    TRY(request_.configure_network(netns));
  }
  const auto& prepared = cgroup.get();
  if (!prepared) return Failure(prepared.error());
  return channel_.send_go(prepared->entrance.tasks, prepared->mounts);
}

Result<void> Launch::start_unit(const Child& child) {
  auto warnings =
      TRY(start_systemd_unit(*request_.systemd_unit, request_.unit_description, child.pid, spec_.resources));
  cgroup_made_ = true;
  if (request_.warn) {
    for (const auto& warning : warnings) request_.warn(warning);
  }
  return {};
}

Result<Child> Launch::clone_process(FdRef birthplace) {
  const ChildPlan& plan = builder_.plan();
  Child child;
  if (builder_.needs_helper()) {
    Child helper = TRY(channel_.clone(plan, 0, birthplace, [](const ChildPlan& p) { run_launch_helper(p); }));
    auto process = channel_.receive_process();
    helper.reap();
    if (!process) return fail(ErrorCode::internal, "the helper that joins namespaces ended early");
    child = std::move(*process);
  } else {
    child =
        TRY(channel_.clone(plan, plan.new_namespaces, birthplace, [](const ChildPlan& p) { run_container_child(p); }));
  }
  if (plan.wait_for_maps) {
    TRY(write_id_maps(child.pid, spec_.uid_mappings, spec_.gid_mappings));
    TRY(channel_.send_go(Step::wait_for_maps));
  }
  return child;
}

// Listens until the command is executed or the process waits at its gate.
Result<void> Launch::follow(const Child& child) {
  for (;;) {
    auto report = TRY(channel_.read_report(child, builder_.plan(), {}));
    if (!report || (report->step == Step::ready && report->error_number == 0)) return {};
    const bool asks_to_map = report->step == Step::map_ids && report->error_number == 0 &&
                             is_in_range(*report, builder_, spec_.process, &spec_) &&
                             builder_.plan().mounts[report->index].map_ids;
    const PlanProcess& process = builder_.plan().process;
    if (asks_to_map) {
      FileDescriptor mount = channel_.wait_for_descriptor();
      const PreparedMount& prepared = builder_.mount(static_cast<std::size_t>(report->index));
      TRY_CTX(set_id_map(mount, prepared.id_map, prepared.recursive_id_map), "mounting at " + prepared.destination);
      TRY(channel_.send_go(Step::map_ids));
    } else if (report->step == Step::mounted && builder_.plan().hooks) {
      TRY(request_.run_hooks(child.pid));
      TRY(channel_.send_go(Step::mounted));
    } else if (report->step == Step::seccomp_listener && report->error_number == 0 && process.seccomp_listener) {
      TRY(channel_.hand_over_listener(child, process, report->index, request_.take_seccomp_listener));
    } else {
      return Failure(explain_failure(*report, builder_, spec_.process, &spec_));
    }
  }
}

// A failure on our side while the child had one of its own (it is dead, so nothing can be done to it): the child's is
// the cause.
Error Launch::first_cause(Error ours) {
  auto theirs = channel_.pending_failure();
  return theirs ? explain_failure(*theirs, builder_, spec_.process, &spec_) : std::move(ours);
}

Result<Launched> Launch::start() {
  channel_ = TRY(Channel::create(builder_.plan()));
  // On v1 a dozen hierarchies take as long as making the namespaces, so both go on at once. Of v2's one the child is
  // born in.
  const bool read_only = builder_.plan().cgroups.read_only;
  const bool ours = !spec_.cgroups_path.empty() && !request_.systemd_unit;
  FileDescriptor hybrid;  // before the rest is made: both would make the same directory
  if (ours) hybrid = TRY(make_hybrid_birthplace(spec_.cgroups_path, request_.existing_cgroup));
  cgroup_made_ = hybrid.valid();
  FdRef birthplace = hybrid;
  // Deferred as well where it may be a thread: std::async throws when the system has no more threads, unless it may do
  // without.
  const auto how = ours ? std::launch::async | std::launch::deferred : std::launch::deferred;
  std::shared_future<Result<PreparedCgroup>> cgroup =
      std::async(how, [this, read_only] { return prepare_cgroup(read_only); });
  if (ours && TRY(is_cgroup_unified())) {
    if (!cgroup.get()) return Failure(cgroup.get().error());
    birthplace = cgroup.get()->entrance.unified;
  }
  auto child = clone_process(birthplace);
  if (!child) {
    Error error = std::move(child).error();
    // To be born elsewhere takes the right to write to the cgroup that this one and ours have in common.
    if (birthplace.valid() && error.error_number() == EACCES)
      error = std::move(error).with_context("unable to apply cgroup configuration");
    return Failure(first_cause(std::move(error)));
  }
  auto prepared = request_.systemd_unit ? start_unit(*child) : Result<void>();
  if (prepared) prepared = prepare_surroundings(*child, cgroup);
  if (!prepared) {
    child->end();
    return Failure(first_cause(std::move(prepared).error()));
  }
  TRY(follow(*child));
  Launched launched;
  if (spec_.process.terminal) {
    launched.console = channel_.receive_console();
    if (!launched.console.valid())
      return fail(ErrorCode::internal, "the container's process ended before it had started");
  }
  launched.pidfd = std::move(child->pidfd);
  launched.pid = child->pid;
  child->release();
  return launched;
}

Result<Launched> Launch::run() {
  TRY(builder_.occupy_standard_descriptors());
  TRY(builder_.set_namespaces(spec_));
  builder_.set_launch(request_);
  TRY(builder_.set_process(spec_.process, spec_.seccomp, request_.stdio, request_.use_init));
  if (builder_.plan().process.seccomp_listener && !request_.take_seccomp_listener) return fail_without_listener();
  if (spec_.personality) builder_.plan().process.personality = *spec_.personality;
  if (spec_.memory_policy) TRY(builder_.set_memory_policy(*spec_.memory_policy));
  TRY(builder_.set_container(spec_, request_.rootfs));
  auto launched = start();
  if (launched || !cgroup_made_) return launched;
  Error error = std::move(launched).error();
  // Ours is reaped: whoever is in it came by another hand, at the same moment.
  const bool shared =
      request_.existing_cgroup != ExistingCgroup::replace && !is_cgroup_empty(spec_.cgroups_path).value_or(true);
  if (shared) return Failure(std::move(error));
  auto removed = destroy_cgroup(spec_.cgroups_path);
  if (removed && request_.systemd_unit) removed = stop_systemd_unit(*request_.systemd_unit);
  if (!removed) error = std::move(error).with_cleanup_failure(removed.error());
  return Failure(std::move(error));
}

}  // namespace

Result<void> open_gate(const Gate& gate, pid_t pid, FdRef pidfd, const std::string& command) {
  // What it is a copy of, be it this program or an older one; it has opened dray-init long ago.
  const auto before = identify_file("/proc/" + std::to_string(pid) + "/exe");
  const std::string init = TRY(executable_directory()) + "/dray-init";
  TRY(write_all(gate.start, "0"));
  auto report = TRY(Execution(pid, pidfd, before, identify_file(init)).read_report(gate.status));
  if (!report) return {};
  Process process;
  process.args = {command};
  return Failure(explain_failure(*report, PlanBuilder(), process, nullptr));
}

Result<Launched> launch(const LaunchRequest& request) { return Launch(request).run(); }

}  // namespace dray::runtime
