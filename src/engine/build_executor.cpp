// SPDX-License-Identifier: Apache-2.0
// Runs a RUN step as a container without a life of its own: an overlay mount, a clone, pipes. state/builds/<id> holds
// its hosts file and tells prune what to take away after a kill.
#include "build_executor.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include <dray/core/rooted_path.hpp>
#include <dray/engine/containers.hpp>
#include <dray/network/network.hpp>
#include <dray/runtime/cgroup.hpp>

#include "cdi.hpp"
#include "container_devices.hpp"
#include "container_spec.hpp"
#include "host_ca.hpp"
#include "mount_stubs.hpp"

namespace dray::engine {

struct BuildExecutor::Step {
  std::string id, directory, cgroup;
  FileDescriptor rootfs, out, err;
  runtime::Spec spec;
};

namespace {

constexpr const char* kHostname = "buildkitsandbox";  // the name scripts see under BuildKit

/// Those of the step take the place of the default ones at the same path.
void add_step_mounts(runtime::Spec& spec, const builder::RunRequest& request, FdRef rootfs) {
  for (const builder::StepMount& wish : request.mounts) {
    runtime::Mount mount;
    mount.destination = wish.target;
    if (wish.tree.valid()) {
      mount.type = "bind";
      mount.tree = wish.tree.get();
    } else {
      mount.type = mount.source = "tmpfs";
      mount.options = {"nosuid", "nodev"};
      if (wish.tmpfs_size > 0) mount.options.push_back("size=" + std::to_string(wish.tmpfs_size));
      // One that covers a directory has its mode; else it is everybody's, as a new tmpfs is.
      if (!stat_in_root(rootfs, wish.target, FollowLast::yes)) mount.options.push_back("mode=1777");
    }
    std::erase_if(spec.mounts, [&](const runtime::Mount& old) { return old.destination == wish.target; });
    spec.mounts.push_back(std::move(mount));
  }
}

Result<void> set_limits(runtime::Spec& spec, const builder::RunRequest& request) {
  for (const std::string& text : request.ulimits) spec.process.rlimits.push_back(TRY(parse_ulimit(text)));
  if (request.shm_size == 0) return {};
  for (runtime::Mount& mount : spec.mounts) {
    if (mount.destination != "/dev/shm" || mount.type != "tmpfs") continue;
    std::erase_if(mount.options, [](const std::string& option) { return option.starts_with("size="); });
    mount.options.push_back("size=" + std::to_string(request.shm_size));
  }
  return {};
}

/// "/a/b/" and "a/b" are one; "a/../b" none.
Result<std::string> cgroup_of(const std::string& parent, const std::string& id) {
  if (parent.empty()) return "dray/" + id;
  if (parent.ends_with(".slice"))
    return fail(ErrorCode::unsupported,
                "--cgroup-parent \"" + parent + "\": systemd's slices are not supported for build steps; give a path");
  const std::string path = clean_path("/" + parent);
  if (path == "/" || (parent + "/").find("../") != std::string::npos)
    return fail(ErrorCode::invalid_argument, "invalid --cgroup-parent \"" + parent + "\"");
  return path.substr(1) + "/" + id;
}

// Delivers output until the process has ended and its pipes are drained. PID 1's end kills all of its namespace, so
// nobody keeps the pipes open.
Result<ExitStatus> relay(runtime::Launched& launched, FdRef out, FdRef err,
                         const std::function<void(std::string_view, bool)>& output, const CancelToken& cancel) {
  std::vector<std::byte> buffer(64 * 1024);
  bool killed = false;
  struct pollfd items[3] = {{out.get(), POLLIN, 0}, {err.get(), POLLIN, 0}, {launched.pidfd.get(), POLLIN, 0}};
  while (items[0].fd >= 0 || items[1].fd >= 0 || items[2].fd >= 0) {
    if (cancel.cancelled() && !killed) {
      ::kill(launched.pid, SIGKILL);
      killed = true;
    }
    int ready = ::poll(items, 3, 100);
    if (ready < 0 && errno != EINTR) {
      ::kill(launched.pid, SIGKILL);
      break;
    }
    for (int i = 0; ready > 0 && i < 2; ++i) {
      if (items[i].fd < 0 || items[i].revents == 0) continue;
      auto count = read_some(FdRef(items[i].fd), buffer);
      if (count && *count > 0) {
        output(std::string_view(reinterpret_cast<const char*>(buffer.data()), *count), i == 1);
      } else {
        items[i].fd = -1;
      }
    }
    if (ready > 0 && items[2].fd >= 0 && items[2].revents != 0) items[2].fd = -1;
  }
  int status = 0;
  while (::waitpid(launched.pid, &status, 0) < 0) {
    if (errno != EINTR) return fail_errno("waiting for a build step");
  }
  if (killed) return fail(ErrorCode::cancelled, "interrupted");
  return exit_status(status);
}

}  // namespace

Result<void> BuildExecutor::write_network_files(const Step& step, const builder::RunRequest& request,
                                                const std::string& address, const std::string& gateway) {
  std::vector<std::string> extra;
  for (const auto& [name, ip] : request.extra_hosts) extra.push_back(name + "=" + ip);
  std::string hosts;
  if (request.network == "host") {
    hosts = TRY(read_file("/etc/hosts", 4u << 20));
    if (!extra.empty()) hosts += TRY(network::make_hosts_file("", "", extra, ""));
  } else {
    hosts = TRY(network::make_hosts_file(kHostname, address, extra, gateway));
  }
  // In place: the bind mount shows this inode.
  const FileDescriptor file = TRY(open_file(step.directory + "/hosts", O_WRONLY | O_CREAT | O_TRUNC, 0644));
  return write_all(file, hosts);
}

Result<void> BuildExecutor::make_spec(Step& step, const builder::RunRequest& request) {
  runtime::Spec& spec = step.spec;
  spec = runtime::make_default_spec();
  runtime::ResolvedUser user = TRY(runtime::resolve_user(step.rootfs.get(), request.user));
  runtime::Process& process = spec.process;
  process.user = user.user;
  process.args = request.args;
  process.env = merge_environment({std::string(kDefaultPath)}, request.env);
  if (!has_variable(process.env, "HOME")) process.env.push_back("HOME=" + user.home);
  process.cwd = clean_path("/" + request.working_dir);
  const auto capabilities = request.insecure ? runtime::all_capabilities() : runtime::default_capabilities();
  process.capabilities = make_capabilities(capabilities, user.user.uid);
  if (request.insecure) {
    make_privileged(spec);
    TRY(add_all_devices(spec));
  } else {
    spec.seccomp = runtime::default_seccomp(capabilities);
  }
  spec.cgroups_path = step.cgroup;
  spec.hostname = kHostname;
  if (request.network == "host") {
    spec.namespaces.network = {};
  } else {
    spec.sysctl["net.ipv4.ip_unprivileged_port_start"] = "0";
  }
  std::string resolv = TRY(network::make_resolv_conf({}, request.network == "host"));
  TRY(write_file_atomically(step.directory + "/resolv.conf", resolv, 0644, Durability::none));
  TRY(write_network_files(step, request, "", ""));
  spec.mounts.push_back(read_only_bind(step.directory + "/resolv.conf", "/etc/resolv.conf"));
  spec.mounts.push_back(read_only_bind(step.directory + "/hosts", "/etc/hosts"));
  if (trust_host_ca_) {
    HostCa trust = TRY(make_host_ca(context_, step.rootfs, HostCaPlaces::variables));
    apply_host_ca(trust, spec);
  }
  TRY(add_cdi_devices(spec, request.devices, request.required_devices));
  TRY(set_limits(spec, request));
  add_step_mounts(spec, request, step.rootfs);
  if (process.cwd != "/") TRY_CTX(make_directories_in_root(step.rootfs, process.cwd), "creating the working directory");
  return {};
}

Result<runtime::Launched> BuildExecutor::start(Step& step, const builder::RunRequest& request) {
  runtime::LaunchRequest launch;
  launch.spec = &step.spec;
  launch.rootfs = step.rootfs;
  FileDescriptor in = TRY(open_file("/dev/null", O_RDONLY));
  Pipe out = TRY(make_pipe());
  Pipe err = TRY(make_pipe());
  step.out = std::move(out.read_end);
  step.err = std::move(err.read_end);
  launch.stdio = {in, out.write_end, err.write_end};
  if (request.network == "none") {
    launch.configure_network = [](FdRef netns) { return network::bring_up_loopback(netns); };
  } else if (request.network != "host") {
    launch.configure_network = [&](FdRef netns) -> Result<void> {
      auto attachment = TRY(network::attach_to_bridge(netns, {}, context_.configuration.state));
      const network::Endpoint& endpoint = attachment.endpoint;
      return write_network_files(step, request, endpoint.ip_address, endpoint.gateway);
    };
  }
  std::lock_guard guard(launch_);
  return runtime::launch(launch);
}

Result<ExitStatus> BuildExecutor::execute(Step& step, const builder::RunRequest& request,
                                          const std::function<void(std::string_view, bool)>& output,
                                          const CancelToken& cancel) {
  step.rootfs = TRY(store::open_mount(request.rootfs));
  TRY(make_spec(step, request));
  MountStubs stubs(step.rootfs);
  auto made = stubs.make(step.spec.mounts);
  auto outcome = [&]() -> Result<ExitStatus> {
    TRY(std::move(made));
    runtime::Launched launched = TRY(start(step, request));
    return relay(launched, step.out, step.err, output, cancel);
  }();
  stubs.remove();
  return outcome;
}

Result<ExitStatus> BuildExecutor::run(const builder::RunRequest& request,
                                      const std::function<void(std::string_view, bool)>& output,
                                      const CancelToken& cancel) {
  if (request.network != "default" && request.network != "none" && request.network != "host")
    return fail(ErrorCode::invalid_argument,
                "unknown network mode \"" + request.network + "\": use default, none or host");
  Step step;
  step.id = "build-" + random_hex(8);
  step.cgroup = TRY(cgroup_of(request.cgroup_parent, step.id));
  std::string builds = context_.configuration.state + "/builds";
  step.directory = builds + "/" + step.id;
  TRY(make_directories(step.directory, 0700));
  if (!request.cgroup_parent.empty())
    TRY(write_file_atomically(step.directory + "/" + kCgroupFile, step.cgroup, 0600, Durability::none));
  auto outcome = execute(step, request, output, cancel);
  auto destroyed = runtime::destroy_cgroup(step.cgroup);
  auto parent = open_file(builds, O_PATH | O_DIRECTORY);
  if (parent) (void)remove_tree(*parent, step.id);
  if (!outcome) {
    Error error = std::move(outcome).error();
    if (!destroyed) error = std::move(error).with_cleanup_failure(destroyed.error());
    return Failure(std::move(error));
  }
  TRY(std::move(destroyed));
  return outcome;
}

}  // namespace dray::engine
