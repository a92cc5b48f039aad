// SPDX-License-Identifier: Apache-2.0
#include "container_flags.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <cmath>

#include <dray/engine/images.hpp>

#include "../command.hpp"
#include "../platform_flag.hpp"
#include "../progress.hpp"
#include "../table.hpp"
#include "../terminal.hpp"

namespace dray::cli {
namespace {

Failure invalid(const std::string& text) { return fail(ErrorCode::invalid_argument, text); }

Result<std::int64_t> parse_cpus(const std::string& text) {
  char* end = nullptr;
  double value = std::strtod(text.c_str(), &end);
  if (end == text.c_str() || *end != '\0' || !(value > 0) || value > 1e6)
    return invalid("invalid value for --cpus: \"" + text + "\": expected a number such as 1.5");
  return static_cast<std::int64_t>(std::llround(value * 1e9));
}

/// --tmpfs /run:size=64m,mode=755
engine::VolumeMount parse_tmpfs(const std::string& text) {
  engine::VolumeMount mount;
  mount.kind = engine::VolumeMount::Kind::tmpfs;
  std::size_t colon = text.find(':');
  mount.destination = text.substr(0, colon);
  while (colon != std::string::npos && colon + 1 < text.size()) {
    std::size_t start = colon + 1;
    std::size_t end = text.find(',', start);
    std::string option = text.substr(start, end == std::string::npos ? end : end - start);
    if (option == "ro") mount.read_only = true;
    mount.options.push_back(option);
    colon = end;
  }
  return mount;
}

}  // namespace

Result<std::vector<std::string>> read_list_file(const std::string& path) {
  std::string content = TRY(read_file(path, 1 << 20));
  std::vector<std::string> lines;
  for (std::size_t start = 0; start < content.size();) {
    std::size_t end = std::min(content.find('\n', start), content.size());
    std::string line = content.substr(start, end - start);
    start = end + 1;
    if (line.ends_with('\r')) line.pop_back();
    std::size_t first = line.find_first_not_of(" \t");
    if (first == std::string::npos || line[first] == '#') continue;
    line.erase(0, first);
    std::string name = line.substr(0, line.find('='));
    if (name.empty() || name.find_first_of(" \t") != std::string::npos)
      return invalid("poorly formatted environment in \"" + path + "\": variable '" + name +
                     "' contains whitespace or is empty");
    lines.push_back(line);
  }
  return lines;
}

void ContainerFlags::declare(Flags& flags) {
  flags.list("--add-host", add_hosts, "Add a custom host-to-IP mapping (host:ip)");
  flags.list("--cap-add", cap_add, "Add Linux capabilities");
  flags.list("--cap-drop", cap_drop, "Drop Linux capabilities");
  flags.option("--cidfile", cidfile, "Write the container ID to the file");
  flags.option("--cpus", cpus, "Number of CPUs", "decimal");
  flags.list("--device", devices, "Add a host device to the container");
  flags.list("--dns", dns, "Set custom DNS servers");
  flags.list("--dns-option", dns_options, "Set DNS options");
  flags.list("--dns-search", dns_search, "Set custom DNS search domains");
  flags.option("--entrypoint", entrypoint, "Overwrite the default ENTRYPOINT of the image");
  flags.list("-e,--env", env, "Set environment variables");
  flags.list("--env-file", env_files, "Read in a file of environment variables");
  flags.list("--group-add", group_add, "Add additional groups to join");
  flags.option("-h,--hostname", hostname, "Container host name");
  flags.flag("--init", init, "Run an init inside the container that forwards signals and reaps processes");
  flags.flag("-i,--interactive", interactive, "Keep STDIN open even if not attached");
  flags.list("-l,--label", labels, "Set meta data on a container");
  flags.list("--label-file", label_files, "Read in a line delimited file of labels");
  flags.option("-m,--memory", memory, "Memory limit", "bytes");
  flags.list("--mount", mounts, "Attach a filesystem mount to the container", "mount");
  flags.option("--name", name, "Assign a name to the container");
  flags.option("--network,--net", network, "Connect the container to a network: bridge, none or host", "network");
  flags.option("--pids-limit", pids_limit, "Tune container pids limit (-1 for unlimited)");
  flags.option(
      "--platform", platform,
      "Set platform if the image is there, or in its registry, for several (default: DOCKER_DEFAULT_PLATFORM)");
  flags.flag("--privileged", privileged, "Give extended privileges to this container");
  flags.list("-p,--publish", ports, "Publish a container's port(s) to the host");
  flags.option("--pull", pull, "Pull image before running (always, missing, never)");
  flags.flag("-q,--quiet", quiet, "Suppress the pull output");
  flags.flag("--read-only", read_only, "Mount the container's root filesystem as read only");
  flags.option(
      "--restart", restart,
      "Restart policy to apply when a container exits: no, on-failure[:max-retries], always or unless-stopped");
  flags.flag("--rm", remove, "Automatically remove the container when it exits");
  flags.list("--security-opt", security_opt, "Security Options");
  flags.option("--stop-signal", stop_signal, "Signal to stop the container");
  flags.option("--stop-timeout", stop_timeout, "Timeout (in seconds) to stop a container");
  flags.list("--tmpfs", tmpfs, "Mount a tmpfs directory");
  flags.flag("--trust-host-ca", trust_host_ca,
             "Let the process trust the host's certificate authorities (leaves no trace in the image)");
  flags.flag("-t,--tty", terminal, "Allocate a pseudo-TTY");
  flags.list("--ulimit", ulimits, "Ulimit options", "ulimit");
  flags.option("-u,--user", user, "Username or UID (format: <name|uid>[:<group|gid>])");
  flags.list("-v,--volume", volumes, "Bind mount a volume");
  flags.option("-w,--workdir", working_dir, "Working directory inside the container");
  flags.trailing(words, 1);
}

Result<engine::ContainerOptions> ContainerFlags::to_options() const {
  engine::ContainerOptions options;
  options.image = words[0];
  options.command.assign(words.begin() + 1, words.end());
  options.name = name;
  if (entrypoint) {
    options.entrypoint.emplace();
    if (!entrypoint->empty()) options.entrypoint->push_back(*entrypoint);
  }
  for (const auto& path : env_files) {
    auto lines = TRY(read_list_file(path));
    options.env.insert(options.env.end(), lines.begin(), lines.end());
  }
  options.env.insert(options.env.end(), env.begin(), env.end());
  for (const auto& entry : options.env)
    if (entry.empty() || entry.front() == '=') return invalid("invalid environment variable: \"" + entry + "\"");
  std::vector<std::string> all_labels;
  for (const auto& path : label_files) {
    auto lines = TRY(read_list_file(path));
    all_labels.insert(all_labels.end(), lines.begin(), lines.end());
  }
  all_labels.insert(all_labels.end(), labels.begin(), labels.end());
  for (const auto& label : all_labels) {
    std::size_t equals = label.find('=');
    options.labels[label.substr(0, equals)] = equals == std::string::npos ? "" : label.substr(equals + 1);
  }
  for (const auto& text : volumes) options.mounts.push_back(TRY(engine::parse_volume(text)));
  for (const auto& text : mounts) options.mounts.push_back(TRY(engine::parse_mount(text)));
  for (const auto& text : tmpfs) options.mounts.push_back(parse_tmpfs(text));
  for (const auto& text : ports) {
    auto mappings = TRY(network::parse_port_mapping(text));
    options.ports.insert(options.ports.end(), mappings.begin(), mappings.end());
  }
  options.network = network == "default" ? "bridge" : network;
  if (options.network != "bridge" && options.network != "none" && options.network != "host")
    return fail(ErrorCode::not_found, "network " + network + " not found (there are: bridge, host, none)");
  options.working_dir = working_dir;
  if (!working_dir.empty() && working_dir.front() != '/')
    return invalid("the working directory '" + working_dir + "' is invalid, it needs to be an absolute path");
  options.user = user;
  options.hostname = hostname;
  options.add_hosts = add_hosts;
  options.dns.servers = dns;
  options.dns.search = dns_search;
  options.dns.options = dns_options;
  options.terminal = terminal;
  options.open_stdin = interactive;
  options.auto_remove = remove;
  options.use_init = init;
  options.privileged = privileged;
  options.read_only = read_only;
  options.cap_add = cap_add;
  options.cap_drop = cap_drop;
  options.security_opt = security_opt;
  options.group_add = group_add;
  options.devices = devices;
  for (const auto& text : ulimits) options.ulimits.push_back(TRY(engine::parse_ulimit(text)));
  if (!memory.empty()) {
    options.memory = TRY(parse_size(memory));
    if (options.memory != 0 && options.memory < (6 << 20)) return invalid("minimum memory limit allowed is 6MB");
  }
  if (!cpus.empty()) options.nano_cpus = TRY(parse_cpus(cpus));
  options.pids_limit = pids_limit.value_or(0);
  options.stop_signal = stop_signal;
  options.stop_timeout_seconds = stop_timeout.value_or(10);
  options.trust_host_ca = trust_host_ca;
  options.restart = TRY(engine::parse_restart_policy(restart));
  if (remove && options.restart.kind != engine::RestartPolicy::Kind::no)
    return invalid("conflicting options: cannot specify both --restart and --rm");
  return options;
}

Result<std::string> create_with_pull(engine::Context& context, const ContainerFlags& flags) {
  engine::ContainerOptions options = TRY(flags.to_options());
  options.platform = TRY(parse_platform_or_default(flags.platform));
  if (flags.pull != "missing" && flags.pull != "always" && flags.pull != "never")
    return invalid("invalid pull option: '" + flags.pull + "': must be one of \"always\", \"missing\" or \"never\"");
  FileDescriptor cidfile;
  if (!flags.cidfile.empty()) {
    auto opened = open_file(flags.cidfile, O_WRONLY | O_CREAT | O_EXCL, 0644);
    if (!opened)
      return Failure(std::move(opened).error().with_context(
          "container ID file found or not writable, remove it or choose another"));
    cidfile = std::move(*opened);
  }
  auto pull = [&]() -> Result<void> {
    std::unique_ptr<ProgressSink> progress =
        flags.quiet ? make_no_progress() : make_transfer_progress(2, is_terminal(2));
    const image::Platform platform = options.platform.value_or(image::Platform::host());
    CancelToken& cancel = install_cancel_handlers();
    auto summary = TRY(engine::pull_image(context, options.image, platform, *progress, cancel));
    if (!flags.quiet)
      print_error("Digest: " + summary.digest.to_string() + "\nStatus: Downloaded newer image for " +
                  TRY(Reference::parse(summary.reference)).familiar() + "\n");
    return {};
  };
  auto create = [&]() -> Result<std::string> {
    if (flags.pull == "always") TRY(pull());
    auto created = engine::create_container(context, options);
    bool missing = !created && created.error().code() == ErrorCode::not_found &&
                   created.error().message().find("o such image") != std::string::npos;
    if (!missing || flags.pull != "missing") return created;
    if (!flags.quiet)
      print_error("Unable to find image '" + TRY(Reference::parse(options.image)).familiar() + "' locally\n");
    TRY(pull());
    return engine::create_container(context, options);
  };
  auto created = create();
  if (cidfile.valid()) {
    if (created) {
      TRY(write_all(cidfile, *created));
    } else {
      ::unlink(flags.cidfile.c_str());
    }
  }
  return created;
}

}  // namespace dray::cli
