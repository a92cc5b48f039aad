// SPDX-License-Identifier: Apache-2.0
// config.json and the small state files of a container. We wrote them, yet they are parsed defensively: a power failure
// may leave any of them empty. Unknown keys are ignored, so that an older Dray reads a newer one's files.
#include <nlohmann/json.hpp>

#include "container_record.hpp"

namespace dray::engine {
namespace {

using json = nlohmann::json;
using Strings = std::vector<std::string>;

json parse_object(std::string_view text) {
  json value = json::parse(text, nullptr, false);
  return value.is_object() ? value : json();
}

// get(): the default when the key is absent or of another type; nothing here throws.
void get(const json& object, const char* key, std::string& value) {
  if (auto it = object.find(key); it != object.end() && it->is_string()) value = it->get<std::string>();
}
void get(const json& object, const char* key, bool& value) {
  if (auto it = object.find(key); it != object.end() && it->is_boolean()) value = it->get<bool>();
}
template <typename T>
  requires(std::is_integral_v<T> && !std::is_same_v<T, bool>)
void get(const json& object, const char* key, T& value) {
  if (auto it = object.find(key); it != object.end() && it->is_number_integer()) value = it->get<T>();
}
void get(const json& object, const char* key, Strings& value) {
  auto it = object.find(key);
  if (it == object.end() || !it->is_array()) return;
  value.clear();
  for (const auto& item : *it) {
    if (item.is_string()) value.push_back(item.get<std::string>());
  }
}
void get(const json& object, const char* key, std::map<std::string, std::string>& value) {
  auto it = object.find(key);
  if (it == object.end() || !it->is_object()) return;
  for (const auto& [name, item] : it->items()) {
    if (item.is_string()) value[name] = item.get<std::string>();
  }
}
template <typename Function>
void each(const json& object, const char* key, Function&& function) {
  auto it = object.find(key);
  if (it == object.end() || !it->is_array()) return;
  for (const auto& item : *it) {
    if (item.is_object()) function(item);
  }
}

std::string text_of(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

json port_json(const network::PortMapping& port) {
  return {{"host_ip", port.host_ip},
          {"host_port", port.host_port},
          {"container_port", port.container_port},
          {"protocol", port.protocol}};
}
network::PortMapping port_of(const json& item) {
  network::PortMapping port;
  get(item, "host_ip", port.host_ip);
  get(item, "host_port", port.host_port);
  get(item, "container_port", port.container_port);
  get(item, "protocol", port.protocol);
  return port;
}

json mount_json(const VolumeMount& mount) {
  return {{"kind", static_cast<int>(mount.kind)},
          {"source", mount.source},
          {"destination", mount.destination},
          {"read_only", mount.read_only},
          {"options", mount.options},
          {"create_source", mount.create_source},
          {"no_copy", mount.no_copy}};
}
VolumeMount mount_of(const json& item) {
  VolumeMount mount;
  int kind = 0;
  get(item, "kind", kind);
  mount.kind = kind == 1 ? VolumeMount::Kind::volume : kind == 2 ? VolumeMount::Kind::tmpfs : VolumeMount::Kind::bind;
  get(item, "source", mount.source);
  get(item, "destination", mount.destination);
  get(item, "read_only", mount.read_only);
  get(item, "options", mount.options);
  get(item, "create_source", mount.create_source);
  get(item, "no_copy", mount.no_copy);
  return mount;
}

json options_json(const ContainerOptions& options) {
  json value = {{"image", options.image},
                {"command", options.command},
                {"env", options.env},
                {"labels", options.labels},
                {"network", options.network},
                {"working_dir", options.working_dir},
                {"user", options.user},
                {"hostname", options.hostname},
                {"add_hosts", options.add_hosts},
                {"dns_servers", options.dns.servers},
                {"dns_search", options.dns.search},
                {"dns_options", options.dns.options},
                {"terminal", options.terminal},
                {"open_stdin", options.open_stdin},
                {"auto_remove", options.auto_remove},
                {"use_init", options.use_init},
                {"privileged", options.privileged},
                {"read_only", options.read_only},
                {"cap_add", options.cap_add},
                {"cap_drop", options.cap_drop},
                {"security_opt", options.security_opt},
                {"group_add", options.group_add},
                {"devices", options.devices},
                {"memory", options.memory},
                {"nano_cpus", options.nano_cpus},
                {"pids_limit", options.pids_limit},
                {"stop_signal", options.stop_signal},
                {"stop_timeout", options.stop_timeout_seconds},
                {"trust_host_ca", options.trust_host_ca}};
  if (options.entrypoint) value["entrypoint"] = *options.entrypoint;
  json mounts = json::array(), ports = json::array(), ulimits = json::array();
  for (const auto& mount : options.mounts) mounts.push_back(mount_json(mount));
  for (const auto& port : options.ports) ports.push_back(port_json(port));
  if (options.restart.kind != RestartPolicy::Kind::no) {
    value["restart"] = options.restart.name();
    value["restart_max"] = options.restart.maximum_retries;
  }
  for (const auto& limit : options.ulimits)
    ulimits.push_back({{"type", limit.type}, {"soft", limit.soft}, {"hard", limit.hard}});
  value["mounts"] = std::move(mounts);
  value["ports"] = std::move(ports);
  value["ulimits"] = std::move(ulimits);
  return value;
}

ContainerOptions options_of(const json& value) {
  ContainerOptions options;
  get(value, "image", options.image);
  get(value, "command", options.command);
  get(value, "env", options.env);
  get(value, "labels", options.labels);
  get(value, "network", options.network);
  get(value, "working_dir", options.working_dir);
  get(value, "user", options.user);
  get(value, "hostname", options.hostname);
  get(value, "add_hosts", options.add_hosts);
  get(value, "dns_servers", options.dns.servers);
  get(value, "dns_search", options.dns.search);
  get(value, "dns_options", options.dns.options);
  get(value, "terminal", options.terminal);
  get(value, "open_stdin", options.open_stdin);
  get(value, "auto_remove", options.auto_remove);
  get(value, "use_init", options.use_init);
  get(value, "privileged", options.privileged);
  get(value, "read_only", options.read_only);
  get(value, "cap_add", options.cap_add);
  get(value, "cap_drop", options.cap_drop);
  get(value, "security_opt", options.security_opt);
  get(value, "group_add", options.group_add);
  get(value, "devices", options.devices);
  get(value, "memory", options.memory);
  get(value, "nano_cpus", options.nano_cpus);
  get(value, "pids_limit", options.pids_limit);
  get(value, "stop_signal", options.stop_signal);
  get(value, "stop_timeout", options.stop_timeout_seconds);
  get(value, "trust_host_ca", options.trust_host_ca);
  std::string restart;
  get(value, "restart", restart);
  if (auto policy = parse_restart_policy(restart)) options.restart = *policy;
  get(value, "restart_max", options.restart.maximum_retries);
  if (value.contains("entrypoint")) get(value, "entrypoint", options.entrypoint.emplace());
  each(value, "mounts", [&](const json& item) { options.mounts.push_back(mount_of(item)); });
  each(value, "ports", [&](const json& item) { options.ports.push_back(port_of(item)); });
  each(value, "ulimits", [&](const json& item) {
    runtime::Rlimit limit;
    get(item, "type", limit.type);
    get(item, "soft", limit.soft);
    get(item, "hard", limit.hard);
    options.ulimits.push_back(std::move(limit));
  });
  return options;
}

}  // namespace

std::vector<std::string> ContainerRecord::args() const {
  std::vector<std::string> all = entrypoint;
  all.insert(all.end(), cmd.begin(), cmd.end());
  return all;
}

std::string serialize(const ContainerRecord& record) {
  json value = {{"version", 1},
                {"id", record.id},
                {"name", record.name},
                {"created_at", record.created_at},
                {"boot", record.boot},
                {"image_id", record.image_id.to_string()},
                {"snapshot", record.snapshot},
                {"entrypoint", record.entrypoint},
                {"cmd", record.cmd},
                {"env", record.env},
                {"user", record.user},
                {"working_dir", record.working_dir},
                {"stop_signal", record.stop_signal},
                {"hostname", record.hostname},
                {"exposed_ports", record.exposed_ports},
                {"labels", record.labels},
                {"options", options_json(record.options)}};
  json layers = json::array(), mounts = json::array();
  for (const auto& layer : record.layers) layers.push_back(layer.digest.to_string());
  for (const auto& point : record.mounts) {
    json mount = mount_json(point.mount);
    mount["anonymous"] = point.anonymous;
    mounts.push_back(std::move(mount));
  }
  value["layers"] = std::move(layers);
  value["mount_points"] = std::move(mounts);
  return text_of(value);
}

Result<ContainerRecord> parse_record(std::string_view text) {
  json value = parse_object(text);
  if (value.is_null()) return fail(ErrorCode::corrupt, "the container's config.json is not a JSON object");
  ContainerRecord record;
  Strings layers;
  std::string image_id;
  get(value, "id", record.id);
  get(value, "name", record.name);
  get(value, "created_at", record.created_at);
  get(value, "boot", record.boot);
  get(value, "image_id", image_id);
  get(value, "snapshot", record.snapshot);
  get(value, "entrypoint", record.entrypoint);
  get(value, "cmd", record.cmd);
  get(value, "env", record.env);
  get(value, "user", record.user);
  get(value, "working_dir", record.working_dir);
  get(value, "stop_signal", record.stop_signal);
  get(value, "hostname", record.hostname);
  get(value, "exposed_ports", record.exposed_ports);
  get(value, "labels", record.labels);
  get(value, "layers", layers);
  record.image_id = TRY_CTX(Digest::parse(image_id), "the container's config.json");
  for (const auto& layer : layers) {
    Digest digest = TRY_CTX(Digest::parse(layer), "the container's config.json");
    record.layers.push_back(DiffId{std::move(digest)});
  }
  each(value, "mount_points", [&](const json& item) {
    MountPoint point;
    point.mount = mount_of(item);
    get(item, "anonymous", point.anonymous);
    record.mounts.push_back(std::move(point));
  });
  if (auto it = value.find("options"); it != value.end() && it->is_object()) record.options = options_of(*it);
  record.options.name = record.name;
  return record;
}

std::string serialize(const RunningState& state) {
  json value = {{"pid", state.pid}, {"start_ticks", state.start_ticks}, {"started_at", state.started_at}};
  if (state.restart_count > 0) value["restart_count"] = state.restart_count;
  return text_of(value);
}

Result<RunningState> parse_running(std::string_view text) {
  json value = parse_object(text);
  RunningState state;
  get(value, "pid", state.pid);
  get(value, "start_ticks", state.start_ticks);
  get(value, "started_at", state.started_at);
  get(value, "restart_count", state.restart_count);
  if (state.pid <= 1) return fail(ErrorCode::corrupt, "running.json holds no process number");
  return state;
}

std::string serialize(const ExitState& state) {
  json value = {{"exit_code", state.exit_code}, {"oom_killed", state.oom_killed}, {"finished_at", state.finished_at}};
  if (state.restart_count > 0) value["restart_count"] = state.restart_count;
  if (state.restart_delay_ms > 0) value["restart_delay_ms"] = state.restart_delay_ms;
  return text_of(value);
}

Result<ExitState> parse_exit(std::string_view text) {
  json value = parse_object(text);
  if (!value.contains("exit_code")) return fail(ErrorCode::corrupt, "exit.json holds no exit code");
  ExitState state;
  get(value, "exit_code", state.exit_code);
  get(value, "oom_killed", state.oom_killed);
  get(value, "finished_at", state.finished_at);
  get(value, "restart_count", state.restart_count);
  get(value, "restart_delay_ms", state.restart_delay_ms);
  return state;
}

std::string serialize(const LastStart& start) {
  return text_of({{"started_at", start.started_at}, {"error", start.error}, {"exit_code", start.exit_code}});
}

Result<LastStart> parse_last_start(std::string_view text) {
  json value = parse_object(text);
  if (value.is_null()) return fail(ErrorCode::corrupt, "last_start.json is not a JSON object");
  LastStart start;
  get(value, "started_at", start.started_at);
  get(value, "error", start.error);
  get(value, "exit_code", start.exit_code);
  return start;
}

std::string serialize(const network::Endpoint& endpoint) {
  json ports = json::array();
  for (const auto& port : endpoint.ports) ports.push_back(port_json(port));
  json value = {{"network", endpoint.network},
                {"ip_address", endpoint.ip_address},
                {"gateway", endpoint.gateway},
                {"mac_address", endpoint.mac_address},
                {"prefix_length", endpoint.prefix_length},
                {"host_interface", endpoint.host_interface},
                {"host_index", endpoint.host_index}};
  value["ports"] = std::move(ports);
  return text_of(value);
}

Result<network::Endpoint> parse_endpoint(std::string_view text) {
  json value = parse_object(text);
  if (value.is_null()) return fail(ErrorCode::corrupt, "endpoint.json is not a JSON object");
  network::Endpoint endpoint;
  get(value, "network", endpoint.network);
  get(value, "ip_address", endpoint.ip_address);
  get(value, "gateway", endpoint.gateway);
  get(value, "mac_address", endpoint.mac_address);
  get(value, "prefix_length", endpoint.prefix_length);
  get(value, "host_interface", endpoint.host_interface);
  get(value, "host_index", endpoint.host_index);
  each(value, "ports", [&](const json& item) { endpoint.ports.push_back(port_of(item)); });
  return endpoint;
}

std::optional<LogLine> parse_log_line(std::string_view line) {
  json value = parse_object(line);
  if (value.is_null() || !value.contains("log")) return std::nullopt;
  LogLine result;
  get(value, "log", result.text);
  get(value, "stream", result.stream);
  get(value, "time", result.time);
  return result;
}

}  // namespace dray::engine
