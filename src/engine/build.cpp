// SPDX-License-Identifier: Apache-2.0
// The builder's two services. The executor runs a RUN step as a container without a life of its own: an overlay mount,
// a clone, pipes; state/builds/<id> holds its hosts file and tells prune what to take away after a kill. The image
// source looks into the store and, failing that, asks the registry helper.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mutex>

#include <dray/core/rooted_path.hpp>
#include <dray/network/network.hpp>
#include <dray/runtime/cgroup.hpp>
#include <dray/runtime/launch.hpp>

#include "build_registry.hpp"
#include "container_spec.hpp"
#include "host_ca.hpp"
#include "images_private.hpp"
#include "mount_stubs.hpp"
#include "platform_images.hpp"

namespace dray::engine {
namespace {

class BuildExecutor : public builder::Executor {
 public:
  BuildExecutor(Context& context, bool trust_host_ca) : context_(context), trust_host_ca_(trust_host_ca) {}
  Result<ExitStatus> run(const builder::RunRequest& request, const std::function<void(std::string_view, bool)>& output,
                         const CancelToken& cancel) override;

 private:
  struct Step;
  Result<runtime::Spec> make_step_spec(const builder::RunRequest& request, FdRef rootfs, const std::string& directory,
                                       const std::string& id);
  Result<runtime::Launched> start(Step& step, const builder::RunRequest& request);
  Context& context_;
  bool trust_host_ca_;
  std::mutex launch_;  ///< descriptors are O_CLOEXEC, but launch() prefers no other clone at its side
};

struct BuildExecutor::Step {
  std::string id, directory;
  FileDescriptor rootfs, out, err;
  runtime::Spec spec;
};

Result<std::string> hosts_for(const std::string& network, const std::string& hostname, const std::string& ip,
                              const std::string& gateway) {
  if (network == "host") return read_file("/etc/hosts", 4u << 20);
  return network::make_hosts_file(hostname, ip, {}, gateway);
}

runtime::Mount bind_mount(const std::string& source, const std::string& destination) {
  runtime::Mount mount;
  mount.type = "bind";
  mount.source = source;
  mount.destination = destination;
  mount.options = {"bind", "rprivate", "ro"};
  return mount;
}

Result<runtime::Spec> BuildExecutor::make_step_spec(const builder::RunRequest& request, FdRef rootfs,
                                                    const std::string& directory, const std::string& id) {
  runtime::Spec spec = runtime::make_default_spec();
  runtime::ResolvedUser user = TRY(runtime::resolve_user(rootfs.get(), request.user));
  runtime::Process& process = spec.process;
  process.user = user.user;
  process.args = request.args;
  process.env = merge_environment({std::string(kDefaultPath)}, request.env);
  if (!has_variable(process.env, "HOME")) process.env.push_back("HOME=" + user.home);
  process.cwd = clean_path("/" + request.working_dir);
  auto capabilities = runtime::default_capabilities();
  process.capabilities = make_capabilities(capabilities, user.user.uid);
  spec.seccomp = runtime::default_seccomp(capabilities);
  spec.cgroups_path = "dray/" + id;
  spec.hostname = "buildkitsandbox";  // the name scripts see under BuildKit
  if (request.network == "host") {
    spec.namespaces.network = {};
  } else {
    spec.sysctl["net.ipv4.ip_unprivileged_port_start"] = "0";
  }
  std::string resolv = TRY(network::make_resolv_conf({}, request.network == "host"));
  std::string hosts = TRY(hosts_for(request.network, spec.hostname, "", ""));
  TRY(write_file_atomically(directory + "/resolv.conf", resolv, 0644, Durability::none));
  TRY(write_file_atomically(directory + "/hosts", hosts, 0644, Durability::none));
  spec.mounts.push_back(bind_mount(directory + "/resolv.conf", "/etc/resolv.conf"));
  spec.mounts.push_back(bind_mount(directory + "/hosts", "/etc/hosts"));
  if (trust_host_ca_) {
    HostCa trust = TRY(make_host_ca(context_, rootfs, HostCaPlaces::variables));
    apply_host_ca(trust, spec);
  }
  if (process.cwd != "/") TRY_CTX(make_directories_in_root(rootfs, process.cwd), "creating the working directory");
  return spec;
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
      std::string hosts = TRY(hosts_for(request.network, step.spec.hostname, endpoint.ip_address, endpoint.gateway));
      FileDescriptor file = TRY(open_file(step.directory + "/hosts", O_WRONLY | O_TRUNC));
      return write_all(file, hosts);
    };
  }
  std::lock_guard guard(launch_);
  return runtime::launch(launch);
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
  ExitStatus result;
  if (WIFSIGNALED(status)) {
    result.signal = WTERMSIG(status);
  } else {
    result.code = WEXITSTATUS(status);
  }
  return result;
}

Result<ExitStatus> BuildExecutor::run(const builder::RunRequest& request,
                                      const std::function<void(std::string_view, bool)>& output,
                                      const CancelToken& cancel) {
  Step step;
  step.id = "build-" + random_hex(8);
  std::string builds = context_.configuration.state + "/builds";
  step.directory = builds + "/" + step.id;
  TRY(make_directories(step.directory, 0700));
  auto execute = [&]() -> Result<ExitStatus> {
    step.rootfs = TRY(store::open_mount(request.rootfs));
    step.spec = TRY(make_step_spec(request, step.rootfs, step.directory, step.id));
    MountStubs stubs(step.rootfs);
    auto made = stubs.make(step.spec.mounts);
    auto outcome = [&]() -> Result<ExitStatus> {
      TRY(std::move(made));
      runtime::Launched launched = TRY(start(step, request));
      return relay(launched, step.out, step.err, output, cancel);
    }();
    stubs.remove();
    return outcome;
  };
  auto outcome = execute();
  auto destroyed = runtime::destroy_cgroup("dray/" + step.id);
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

class StoreThenRegistry : public builder::ImageSource {
 public:
  explicit StoreThenRegistry(Context& context) : context_(context) {}

  Result<store::LoadedImage> resolve(const Reference& reference, const image::Platform& platform, bool always_pull,
                                     ProgressSink& progress, const CancelToken& cancel) override {
    if (!always_pull) {
      auto found = TRY(find_platform_image(context_, reference, platform));
      if (found) return *std::move(found);
    }
    // By its ID: another platform of the same name may be pulled at our side.
    const PullSummary pulled = TRY(pull_image(context_, reference.canonical(), platform, progress, cancel));
    const store::ImageRecord record = TRY(context_.store->resolve_image(pulled.image_id.to_string()));
    return context_.store->load_image(record);
  }

 private:
  Context& context_;
};

}  // namespace

Result<builder::BuildResult> build_image(Context& context, const builder::BuildRequest& request,
                                         const BuildOptions& options, ProgressSink& progress,
                                         const CancelToken& cancel) {
  store::Store::Lease lease = TRY(context.store->lease());
  BuildExecutor executor(context, options.trust_host_ca || context.configuration.trust_host_ca);
  StoreThenRegistry images(context);
  BuildRegistry registry(context);
  return builder::build(*context.store, executor, images, request, progress, cancel, &registry);
}

}  // namespace dray::engine
