// SPDX-License-Identifier: Apache-2.0
// Units of systemd for containers: a transient scope, its properties, its end, over systemd's D-Bus interface
// (org.freedesktop.systemd1(5)).

#include "systemd.hpp"

#include <time.h>
#include <unistd.h>

#include <cstdlib>

#include "hierarchy.hpp"

namespace dray::runtime {
namespace systemd {
namespace {

constexpr const char* kManager = "org.freedesktop.systemd1.Manager";
constexpr time_t kJobTimeout = 30;

dbus::Message manager_call(const char* member, const char* signature, dbus::Writer& body) {
  dbus::Message message;
  message.destination = "org.freedesktop.systemd1";
  message.path = "/org/freedesktop/systemd1";
  message.interface = kManager;
  message.member = member;
  message.signature = signature;
  message.body = body.bytes();
  return message;
}

time_t now() {
  timespec time = {};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec;
}

/// The result of the job that `reply` names: "done", "failed", "timeout" …
Result<std::string> wait_for_job(dbus::Connection& connection, const dbus::Message& reply) {
  const std::string job = TRY(dbus::Reader(reply.body).string());
  const time_t deadline = now() + kJobTimeout;
  while (now() < deadline) {
    const dbus::Message signal = TRY(connection.next_signal());
    if (signal.interface != kManager || signal.member != "JobRemoved" || signal.signature != "uoss") continue;
    dbus::Reader reader(signal.body);
    TRY(reader.uint32());
    const std::string removed = TRY(reader.string());
    TRY(reader.string());  // the unit
    if (removed == job) return reader.string();
  }
  return fail(ErrorCode::unavailable, "systemd does not end the job within 30 s");
}

void reset_failed(dbus::Connection& connection, const SystemdUnit& unit) {
  dbus::Writer body;
  body.string(unit.name);
  (void)connection.call(manager_call("ResetFailedUnit", "s", body));  // an error says that there is no such unit
}

bool has_name(const Error& error, const char* name) {
  return error.message().starts_with(std::string("org.freedesktop.systemd1.") + name);
}

Result<dbus::Connection> subscribed(dbus::Connection bus) {
  // The bus passes on what one asks for only, and systemd tells of jobs only who subscribed.
  dbus::Writer rule;
  rule.string("type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'");
  dbus::Message match;
  match.destination = match.interface = "org.freedesktop.DBus";
  match.path = "/org/freedesktop/DBus";
  match.member = "AddMatch";
  match.signature = "s";
  match.body = rule.bytes();
  TRY(bus.call(std::move(match)));
  dbus::Writer nothing;
  TRY(bus.call(manager_call("Subscribe", "", nothing)));
  return bus;
}

/// The user's own manager, by its socket or the session's bus.
Result<dbus::Connection> connect_user() {
  const char* directory = std::getenv("XDG_RUNTIME_DIR");
  const char* address = std::getenv("DBUS_SESSION_BUS_ADDRESS");
  if (directory == nullptr && address == nullptr)
    return Failure(Error(ErrorCode::unsupported, "the systemd of this user is not to be found: no XDG_RUNTIME_DIR")
                       .with_hint("log in, or \"loginctl enable-linger\" and set XDG_RUNTIME_DIR"));
  const std::string place = directory == nullptr ? "" : directory;
  if (!place.empty())
    if (auto own = dbus::Connection::open(place + "/systemd/private", false)) return own;
  std::string socket = place + "/bus";
  constexpr std::string_view prefix = "unix:path=";
  if (address != nullptr && std::string_view(address).starts_with(prefix)) {
    socket = std::string(address).substr(prefix.size());
    socket.resize(std::min(socket.find_first_of(",;"), socket.size()));
  }
  return subscribed(TRY(dbus::Connection::open(socket, true)));
}

/// The system bus, or systemd's own socket where there is none (early at boot, in small systems).
Result<dbus::Connection> connect(const SystemdUnit& unit) {
  if (unit.of_user) return connect_user();
  if (access("/run/systemd/system", F_OK) != 0)
    return fail(ErrorCode::unsupported, "systemd is not running on this host");
  auto own = dbus::Connection::open("/run/systemd/private", false);
  if (own) return own;
  return subscribed(TRY(dbus::Connection::open("/run/dbus/system_bus_socket", true)));
}

}  // namespace

Result<int> read_version(dbus::Connection& connection) { return parse_version(TRY(read_text(connection, "Version"))); }

Result<std::string> read_text(dbus::Connection& connection, const char* property) {
  dbus::Writer body;
  body.string(kManager);
  body.string(property);
  dbus::Message call = manager_call("Get", "ss", body);
  call.interface = "org.freedesktop.DBus.Properties";
  const dbus::Message reply = TRY(connection.call(std::move(call)));
  dbus::Reader reader(reply.body);
  if (TRY(reader.signature()) != "s")
    return fail(ErrorCode::corrupt, std::string("systemd's ") + property + " is no text");
  return reader.string();
}

Result<void> start_unit(dbus::Connection& connection, const SystemdUnit& unit,
                        const std::vector<dbus::Property>& properties) {
  dbus::Writer body;
  body.string(unit.name);
  body.string("replace");
  body.properties(properties);
  body.end_array(body.begin_array(8));  // auxiliary units: a(sa(sv))
  const dbus::Message call = manager_call("StartTransientUnit", "ssa(sv)a(sa(sv))", body);
  auto started = connection.call(call);
  if (!started && has_name(started.error(), "UnitExists")) {
    if (unit.is_slice()) return {};
    reset_failed(connection, unit);  // a leftover that failed is in the way until then
    started = connection.call(call);
  }
  if (!started) return Failure(std::move(started).error().with_context("starting systemd unit \"" + unit.name + "\""));
  const std::string result = TRY(wait_for_job(connection, *started));
  if (result == "done") return {};
  reset_failed(connection, unit);
  return fail(ErrorCode::unavailable, "error creating systemd unit `" + unit.name + "`: got `" + result + "`");
}

Result<void> set_properties(dbus::Connection& connection, const SystemdUnit& unit,
                            const std::vector<dbus::Property>& properties) {
  if (properties.empty()) return {};
  dbus::Writer body;
  body.string(unit.name);
  body.boolean(true);  // until the unit ends
  body.properties(properties);
  TRY_CTX(connection.call(manager_call("SetUnitProperties", "sba(sv)", body)),
          "setting properties of systemd unit \"" + unit.name + "\"");
  return {};
}

Result<void> stop_unit(dbus::Connection& connection, const SystemdUnit& unit) {
  dbus::Writer body;
  body.string(unit.name);
  body.string("replace");
  auto stopping = connection.call(manager_call("StopUnit", "ss", body));
  if (!stopping && !has_name(stopping.error(), "NoSuchUnit"))
    return Failure(std::move(stopping).error().with_context("stopping systemd unit \"" + unit.name + "\""));
  // Whatever the job's result is: the cgroup is looked after by the caller.
  if (stopping) TRY(wait_for_job(connection, *stopping));
  reset_failed(connection, unit);
  return {};
}

namespace {

std::vector<dbus::Property> unit_properties(const SystemdUnit& unit, const std::string& description, pid_t pid,
                                            bool unified) {
  std::vector<dbus::Property> out = {{"Description", description}};
  if (unit.is_slice()) {
    out.push_back({"Wants", std::vector<std::string>{unit.slice}});
  } else {
    out.push_back({"Slice", unit.slice});
    out.push_back({"Delegate", true});
  }
  if (pid > 0) out.push_back({"PIDs", std::vector<std::uint32_t>{static_cast<std::uint32_t>(pid)}});
  for (const char* accounting :
       {"MemoryAccounting", "CPUAccounting", unified ? "IOAccounting" : "BlockIOAccounting", "TasksAccounting"})
    out.push_back({accounting, true});
  out.push_back({"DefaultDependencies", false});
  return out;
}

std::int64_t first_number(const std::optional<std::string>& text) {
  // "max" and "-1" alike: no limit.
  return text && !text->empty() && (*text)[0] >= '0' && (*text)[0] <= '9' ? std::strtoll(text->c_str(), nullptr, 10)
                                                                          : -1;
}

/// One property holds what the cgroup has two values for: the one that is not set is read.
Resources completed(Resources r, const cgroup::Place& place) {
  const cgroup::Hierarchy* cpu = place.is_unified() ? &place.all->front() : place.find("cpu");
  const bool quota = r.cpu_quota.value_or(0) != 0, period = r.cpu_period.value_or(0) != 0;
  auto leaf = cpu == nullptr ? Result<FileDescriptor>(fail(ErrorCode::not_found, "")) : open_leaf(*cpu, place.path);
  if (leaf && quota != period) {
    const cgroup::Present present = cgroup::read_present(*leaf);
    std::optional<std::string> now_quota, now_period;
    if (place.is_unified()) {
      now_quota = present("cpu.max");
      if (now_quota && now_quota->find(' ') != std::string::npos)
        now_period = now_quota->substr(now_quota->find(' ') + 1);
    } else {
      now_quota = present("cpu.cfs_quota_us");
      now_period = present("cpu.cfs_period_us");
    }
    if (!quota) r.cpu_quota = first_number(now_quota);
    if (const std::int64_t value = first_number(now_period); !period && value > 0)
      r.cpu_period = static_cast<std::uint64_t>(value);
  }
  if (leaf && place.is_unified() && r.memory_swap.value_or(0) > 0 && r.memory_limit.value_or(0) == 0)
    if (const std::int64_t limit = first_number(cgroup::read_present(*leaf)("memory.max")); limit > 0)
      r.memory_limit = limit;
  return r;
}

}  // namespace
}  // namespace systemd

Result<std::vector<std::string>> start_systemd_unit(const SystemdUnit& unit, const std::string& description, pid_t pid,
                                                    const Resources& resources) {
  const cgroup::Place place = TRY(cgroup::find_place(TRY(systemd_cgroups_path(unit))));
  dbus::Connection connection = TRY(systemd::connect(unit));
  const int version = TRY(systemd::read_version(connection));
  systemd::Properties limits = TRY(systemd::resource_properties(resources, place.is_unified(), version));
  std::vector<dbus::Property> properties = systemd::unit_properties(unit, description, pid, place.is_unified());
  properties.insert(properties.end(), limits.list.begin(), limits.list.end());
  for (const auto& [name, text] : unit.properties) properties.push_back(TRY(systemd::annotated_property(name, text)));
  TRY(systemd::start_unit(connection, unit, properties));
  return std::move(limits.warnings);
}

Result<std::vector<std::string>> update_systemd_unit(const SystemdUnit& unit, const Resources& resources) {
  const cgroup::Place place = TRY(cgroup::find_place(TRY(systemd_cgroups_path(unit))));
  if (place.is_unified()) {
    // What the cgroup would refuse must not become a property first: systemd's way is to kill.
    const FileDescriptor leaf = TRY(cgroup::open_leaf(place.all->front(), place.path));
    TRY(cgroup::plan_v2(resources, cgroup::read_present(leaf)));
  }
  dbus::Connection connection = TRY(systemd::connect(unit));
  const int version = TRY(systemd::read_version(connection));
  const Resources whole = systemd::completed(resources, place);
  systemd::Properties limits = TRY(systemd::resource_properties(whole, place.is_unified(), version));
  TRY(systemd::set_properties(connection, unit, limits.list));
  return std::move(limits.warnings);
}

Result<void> attach_to_systemd_unit(const SystemdUnit& unit, pid_t pid) {
  dbus::Connection connection = TRY(systemd::connect(unit));
  dbus::Writer body;
  body.string(unit.name);
  body.string("");  // no cgroup below
  const std::size_t pids = body.begin_array(4);
  body.uint32(static_cast<std::uint32_t>(pid));
  body.end_array(pids);
  TRY_CTX(connection.call(systemd::manager_call("AttachProcessesToUnit", "ssau", body)),
          "moving a process to systemd unit \"" + unit.name + "\"");
  return {};
}

Result<std::string> user_manager_cgroup() {
  dbus::Connection connection = TRY(systemd::connect_user());
  return TRY(systemd::read_text(connection, "ControlGroup"));
}

Result<void> stop_systemd_unit(const SystemdUnit& unit) {
  dbus::Connection connection = TRY(systemd::connect(unit));
  return systemd::stop_unit(connection, unit);
}

}  // namespace dray::runtime
