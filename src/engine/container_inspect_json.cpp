// SPDX-License-Identifier: Apache-2.0
// `container inspect` in the shape of Docker's Engine API.
#include <nlohmann/json.hpp>

#include "container_state.hpp"
#include "volumes.hpp"

namespace dray::engine {
namespace {

using json = nlohmann::ordered_json;

constexpr const char* kNever = "0001-01-01T00:00:00Z";

json list_or_null(const std::vector<std::string>& values) { return values.empty() ? json(nullptr) : json(values); }

std::string port_key(const network::PortMapping& port) {
  return std::to_string(port.container_port) + "/" + port.protocol;
}

json bindings(const std::vector<network::PortMapping>& ports, bool resolved) {
  json value = json::object();
  for (const auto& port : ports) {
    std::string host_ip = port.host_ip.empty() && resolved ? "0.0.0.0" : port.host_ip;
    std::string host_port = port.host_port == 0 ? "" : std::to_string(port.host_port);
    value[port_key(port)].push_back({{"HostIp", host_ip}, {"HostPort", host_port}});
  }
  return value;
}

json state_json(const ContainerInfo& info) {
  const bool restarting = info.status == Status::restarting;  // Docker says that it runs, too
  const char* status = info.status == Status::running  ? "running"
                       : restarting                    ? "restarting"
                       : info.status == Status::exited ? "exited"
                       : info.status == Status::dead   ? "dead"
                                                       : "created";
  return {{"Status", status},
          {"Running", info.status == Status::running || restarting},
          {"Paused", false},
          {"Restarting", restarting},
          {"OOMKilled", info.oom_killed},
          {"Dead", info.status == Status::dead},
          {"Pid", info.pid},
          {"ExitCode", info.exit_code},
          {"Error", info.error},
          {"StartedAt", info.started_at.empty() ? kNever : info.started_at},
          {"FinishedAt", info.finished_at.empty() ? kNever : info.finished_at}};
}

json host_config_json(const ContainerRecord& record) {
  const ContainerOptions& options = record.options;
  json binds = json::array(), tmpfs = json::object(), devices = json::array(), ulimits = json::array();
  for (const auto& mount : options.mounts) {
    if (mount.kind == VolumeMount::Kind::tmpfs) {
      std::string words;
      for (const auto& option : mount.options) words += (words.empty() ? "" : ",") + option;
      tmpfs[mount.destination] = words;
    } else if (!mount.source.empty()) {
      binds.push_back(mount.source + ":" + mount.destination + (mount.read_only ? ":ro" : ""));
    }
  }
  for (const auto& device : options.devices) devices.push_back({{"PathOnHost", device.substr(0, device.find(':'))}});
  for (const auto& limit : options.ulimits)
    ulimits.push_back({{"Name", limit.type}, {"Soft", limit.soft}, {"Hard", limit.hard}});
  json value = {
      {"Binds", binds.empty() ? json(nullptr) : binds},
      {"ContainerIDFile", ""},
      {"LogConfig", {{"Type", "json-file"}, {"Config", json::object()}}},
      {"NetworkMode", options.network},
      {"PortBindings", bindings(options.ports, false)},
      {"RestartPolicy", {{"Name", options.restart.name()}, {"MaximumRetryCount", options.restart.maximum_retries}}},
      {"AutoRemove", options.auto_remove},
      {"VolumesFrom", nullptr},
      {"CapAdd", list_or_null(options.cap_add)},
      {"CapDrop", list_or_null(options.cap_drop)},
      {"CgroupnsMode", "private"},
      {"Dns", options.dns.servers},
      {"DnsOptions", options.dns.options},
      {"DnsSearch", options.dns.search},
      {"ExtraHosts", list_or_null(options.add_hosts)},
      {"GroupAdd", list_or_null(options.group_add)},
      {"IpcMode", "private"},
      {"Privileged", options.privileged},
      {"PublishAllPorts", false},
      {"ReadonlyRootfs", options.read_only},
      {"SecurityOpt", list_or_null(options.security_opt)},
      {"ShmSize", 67108864},
      {"Runtime", "dray"},
      {"Memory", options.memory},
      {"NanoCpus", options.nano_cpus},
      {"CgroupParent", "dray"},
      {"Devices", devices},
      {"MemorySwap", options.memory * 2},
      {"PidsLimit", options.pids_limit > 0 ? json(options.pids_limit) : json(nullptr)},
      {"Ulimits", ulimits}};
  if (options.use_init) value["Init"] = true;
  if (!tmpfs.empty()) value["Tmpfs"] = tmpfs;
  return value;
}

json config_json(const ContainerRecord& record) {
  const ContainerOptions& options = record.options;
  json value = {{"Hostname", record.hostname},       {"Domainname", ""},     {"User", record.user},
                {"AttachStdin", options.open_stdin}, {"AttachStdout", true}, {"AttachStderr", true}};
  json exposed = json::object();
  for (const auto& port : record.exposed_ports) exposed[port] = json::object();
  for (const auto& port : options.ports) exposed[port_key(port)] = json::object();
  if (!exposed.empty()) value["ExposedPorts"] = exposed;
  value["Tty"] = options.terminal;
  value["OpenStdin"] = options.open_stdin;
  value["StdinOnce"] = options.open_stdin;
  value["Env"] = record.env;
  value["Cmd"] = list_or_null(record.cmd);
  value["Image"] = options.image;
  json volumes = json::object();
  for (const auto& point : record.mounts) {
    if (point.anonymous) volumes[point.mount.destination] = json::object();
  }
  value["Volumes"] = volumes.empty() ? json(nullptr) : volumes;
  value["WorkingDir"] = record.working_dir;
  value["Entrypoint"] = list_or_null(record.entrypoint);
  value["OnBuild"] = nullptr;
  value["Labels"] = record.labels;
  if (!record.stop_signal.empty()) value["StopSignal"] = record.stop_signal;
  value["StopTimeout"] = options.stop_timeout_seconds;
  return value;
}

json network_json(const ContainerRecord& record, const ContainerInfo& info) {
  network::Endpoint endpoint = info.endpoint.value_or(network::Endpoint{});
  json ports = info.endpoint ? bindings(endpoint.ports, true) : json::object();
  if (info.status == Status::running) {
    for (const auto& port : record.exposed_ports) {
      if (!ports.contains(port)) ports[port] = nullptr;
    }
  }
  json network = {{"IPAMConfig", nullptr},
                  {"Links", nullptr},
                  {"Aliases", nullptr},
                  {"MacAddress", endpoint.mac_address},
                  {"NetworkID", ""},
                  {"EndpointID", ""},
                  {"Gateway", endpoint.gateway},
                  {"IPAddress", endpoint.ip_address},
                  {"IPPrefixLen", info.endpoint ? endpoint.prefix_length : 0},
                  {"IPv6Gateway", ""},
                  {"GlobalIPv6Address", ""},
                  {"GlobalIPv6PrefixLen", 0}};
  json value = {{"Bridge", ""},
                {"SandboxID", ""},
                {"SandboxKey", info.pid > 0 ? "/proc/" + std::to_string(info.pid) + "/ns/net" : std::string()},
                {"Ports", ports},
                {"Gateway", endpoint.gateway},
                {"IPAddress", endpoint.ip_address},
                {"IPPrefixLen", info.endpoint ? endpoint.prefix_length : 0},
                {"MacAddress", endpoint.mac_address}};
  value["Networks"] = {{record.options.network, network}};
  return value;
}

json mounts_json(const Context& context, const ContainerRecord& record) {
  json mounts = json::array();
  for (const auto& point : record.mounts) {
    const VolumeMount& mount = point.mount;
    json value;
    std::string mode, propagation;
    for (const auto& option : mount.options) mode += (mode.empty() ? "" : ",") + option;
    switch (mount.kind) {
      case VolumeMount::Kind::volume:
        value = {{"Type", "volume"}, {"Name", mount.source}, {"Source", volume_data(context, mount.source)}};
        break;
      case VolumeMount::Kind::bind:
        value = {{"Type", "bind"}, {"Source", mount.source}};
        propagation = "rprivate";
        for (const auto& option : mount.options) {
          if (option != "bind") propagation = option;
        }
        break;
      case VolumeMount::Kind::tmpfs:
        value = {{"Type", "tmpfs"}, {"Source", ""}};
        break;
    }
    value["Destination"] = mount.destination;
    if (mount.kind == VolumeMount::Kind::volume) value["Driver"] = "local";
    value["Mode"] = mode;
    value["RW"] = !mount.read_only;
    value["Propagation"] = propagation;
    mounts.push_back(std::move(value));
  }
  return mounts;
}

}  // namespace

Result<std::string> inspect_container(Context& context, const std::string& name) {
  ContainerRecord record = TRY(find_record(context, name));
  ContainerInfo info = TRY(find_container(context, record.id));
  std::string directory = container_directory(context, record.id);
  auto args = record.args();
  json value = {{"Id", record.id}, {"Created", record.created_at}, {"Path", args.empty() ? "" : args.front()}};
  value["Args"] = args.empty() ? json::array() : json(std::vector<std::string>(args.begin() + 1, args.end()));
  value["State"] = state_json(info);
  value["Image"] = record.image_id.to_string();
  value["ResolvConfPath"] = directory + "/resolv.conf";
  value["HostnamePath"] = directory + "/hostname";
  value["HostsPath"] = directory + "/hosts";
  value["LogPath"] = log_path(context, record.id);
  value["Name"] = "/" + record.name;
  value["RestartCount"] = info.restart_count;
  const std::string_view driver = store::name_of(context.store->snapshots().driver());
  value["Driver"] = driver;
  value["Platform"] = "linux";
  value["MountLabel"] = "";
  value["ProcessLabel"] = "";
  value["AppArmorProfile"] = "";
  value["ExecIDs"] = nullptr;
  value["HostConfig"] = host_config_json(record);
  value["GraphDriver"] = {{"Data", nullptr}, {"Name", driver}};
  value["Mounts"] = mounts_json(context, record);
  value["Config"] = config_json(record);
  value["NetworkSettings"] = network_json(record, info);
  return value.dump(4, ' ', false, json::error_handler_t::replace);
}

}  // namespace dray::engine
