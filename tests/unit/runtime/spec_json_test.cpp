// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include <dray/core/fd.hpp>
#include <dray/runtime/spec_json.hpp>

#include "catch.hpp"

using namespace dray;
using namespace dray::runtime;

namespace {

/// A valid config.json with one object replaced or added: `properties` is the text of those of "linux".
std::string config(const std::string& process, const std::string& rest, const std::string& properties) {
  std::string text = R"({"ociVersion":"1.0.2","process":{"args":["sh"],"cwd":"/")";
  if (!process.empty()) text += "," + process;
  text += R"(},"root":{"path":"rootfs"})";
  if (!rest.empty()) text += "," + rest;
  return text + R"(,"linux":{)" + properties + "}}";
}

std::string error_of(const std::string& text) {
  auto spec = parse_spec(text);
  auto valid = spec ? validate_spec(*spec) : Result<void>(Failure(spec.error()));
  if (valid) return "";
  if (valid.error().code() != ErrorCode::invalid_argument) return "not invalid_argument: " + valid.error().to_string();
  return valid.error().message();
}

}  // namespace

TEST_CASE("a full config.json is read, valid, and survives being written", "[runtime]") {
  auto full = read_file("tests/fuzz/spec_json/full.json", 1u << 20);
  REQUIRE_OK(full);
  auto spec = parse_spec(*full);
  REQUIRE_OK(spec);
  REQUIRE_OK(validate_spec(*spec));
  const Process& process = spec->process;
  CHECK(process.terminal);
  CHECK((process.console_rows == 24 && process.console_columns == 80));
  CHECK((process.user.uid == 1000 && process.user.gid == 4294967295u && process.user.umask == 18u));
  CHECK(process.user.additional_gids == std::vector<std::uint32_t>{5, 6});
  CHECK(process.args.at(2) == "a\nb\"\\\xc3\xa9");
  CHECK(process.capabilities.permitted == std::vector<std::string>{"CAP_KILL"});
  REQUIRE(process.warnings.size() == 1);
  CHECK(process.warnings[0] == "ignoring unknown or unavailable capabilities: [CAP_OF_TOMORROW]");
  CHECK(process.rlimits.at(0).hard == UINT64_MAX);
  CHECK(process.oom_score_adj == -7);
  CHECK(process.scheduler->deadline == 2);
  CHECK(process.io_priority->priority == 4);
  CHECK(process.cpu_affinity.final == "0-1");
  CHECK(spec->mounts.at(1).type == "bind");
  CHECK(spec->mounts.at(1).uid_mappings.at(0).host_id == 1);
  CHECK(spec->hooks.prestart.at(0).timeout == 3);
  CHECK(spec->annotations.size() == 3);  // keys of maps are exact
  CHECK(spec->namespaces.pid.is_new);
  CHECK(!spec->namespaces.cgroup.is_new);
  CHECK(spec->namespaces.cgroup.path == "/proc/1/ns/cgroup");
  CHECK(spec->resources.pids_limit == 0);
  CHECK(spec->resources.disable_oom_killer == false);
  CHECK(!spec->resources.devices.at(1).minor);
  CHECK(spec->resources.rdma.at("mlx5_1").hca_handles == 3u);
  CHECK(!spec->resources.rdma.at("mlx5_1").hca_objects);
  CHECK(spec->net_devices == std::map<std::string, std::string>{{"eth0", "inner"}, {"eth1", ""}});
  CHECK(spec->seccomp->flags.empty());
  CHECK(spec->seccomp->syscalls.at(0).args.at(0).value == UINT64_MAX);
  CHECK(spec->memory_policy->nodes == "0,2-3");
  CHECK(spec->personality == 8u);
  CHECK(spec->time_offsets.at("monotonic").seconds == -3);
  CHECK(spec->warnings.size() == 3);  // relative destination, kernel memory, personality flags

  // Five defaults, since /dev/null is listed; st_mode's type bits are dropped.
  REQUIRE(spec->devices.size() == 8);
  CHECK(spec->devices[5].path == "/dev/fuse");
  CHECK(spec->devices[5].mode == 0666);

  const std::string text = format_spec(*spec);
  auto again = parse_spec(text);
  REQUIRE_OK(again);
  CHECK(format_spec(*again) == text);
  CHECK(again->resources.devices.size() == spec->resources.devices.size());
  CHECK(again->devices.size() == spec->devices.size());
  CHECK(again->time_offsets.at("monotonic").nanoseconds == 4);
  CHECK(text.find("\"unified\"") == std::string::npos);
  for (const char* word : {"consoleSize", "additionalGids", "ambient", "execCPUAffinity", "SCHED_FLAG_RECLAIM",
                           "gidMappings", "poststop", "kernelTCP", "realtimePeriod", "leafWeight",
                           "throttleWriteIOPSDevice", "pageSize", "classID", "mlx5_1", "cgroupsPath", "netDevices",
                           "listenerMetadata", "valueTwo", "rslave", "mountLabel", "memoryPolicy", "LINUX32",
                           "nanosecs", "/dev/pipe", "\"flags\": []"}) {
    INFO(word);
    CHECK(text.find(word) != std::string::npos);
  }
}

TEST_CASE("the least config.json: what it doesn't name is shared or default", "[runtime]") {
  auto spec = parse_spec(R"({"ociVersion":"1.0.0","process":{"args":["a"],"cwd":"/"},"root":{"path":"r"}})");
  REQUIRE_OK(spec);
  REQUIRE_OK(validate_spec(*spec));
  const Namespaces& spaces = spec->namespaces;
  for (const Namespace* space : {&spaces.mount, &spaces.pid, &spaces.uts, &spaces.ipc, &spaces.network, &spaces.cgroup,
                                 &spaces.user, &spaces.time})
    CHECK(!space->is_own());
  std::vector<std::string> devices;
  for (const Device& device : spec->devices) devices.push_back(device.path);
  CHECK(devices == std::vector<std::string>{"/dev/null", "/dev/random", "/dev/full", "/dev/tty",
                                            "/dev/zero", "/dev/urandom"});
  const auto& rules = spec->resources.devices;  // runc's
  REQUIRE(rules.size() == 11);
  CHECK((rules[0].type == 'c' && !rules[0].major && rules[0].access == "m"));
  CHECK((rules[10].major == 10 && rules[10].minor == 200));
  CHECK(!spec->seccomp);
}

TEST_CASE("null, case and repetition are Go's", "[runtime]") {
  auto nulls = parse_spec(R"({"ociVersion":"1.0.0","process":{"args":["a",null],"cwd":"/","user":null,"env":null,
    "capabilities":null,"rlimits":null,"oomScoreAdj":null,"terminal":null},"root":{"path":"r","readonly":null},
    "mounts":null,"hooks":null,"annotations":null,"hostname":null,"linux":{"namespaces":null,"timeOffsets":null,
    "resources":{"devices":null,"memory":null,"cpu":{"shares":null},"pids":{"limit":null},"rdma":null,"unified":null},
    "seccomp":null,"devices":null,"sysctl":null,"netDevices":null,"personality":null,"memoryPolicy":null}})");
  REQUIRE_OK(nulls);
  REQUIRE_OK(validate_spec(*nulls));
  CHECK(nulls->process.args == std::vector<std::string>{"a", ""});
  CHECK(!nulls->resources.cpu_shares);

  auto folded = parse_spec(config("", "", R"("Resources":{"cpu":{"cpus":"0-3","shares":5},"CPU":{"Cpus":"1"}})"));
  REQUIRE_OK(folded);
  CHECK(folded->resources.cpuset_cpus == "1");
  CHECK(folded->resources.cpu_shares == 5u);
  auto dropped = parse_spec(config("", "", R"("resources":{"cpu":{"shares":5},"CPU":null,"PIDs":{"LIMIT":7}})"));
  REQUIRE_OK(dropped);
  CHECK(!dropped->resources.cpu_shares);
  CHECK(dropped->resources.pids_limit == 7);

  auto update = parse_resources(R"({"CPU":{"Cpus":"1"},"devices":[{"allow":true,"access":"r"}]})");
  REQUIRE_OK(update);
  CHECK(update->cpuset_cpus == "1");
  CHECK(update->devices.size() == 1);  // no defaults in an update
}

TEST_CASE("seccomp: absent flags, empty profiles", "[runtime]") {
  auto absent = parse_spec(config("", "", R"("seccomp":{"defaultAction":"SCMP_ACT_ALLOW"})"));
  REQUIRE_OK(absent);
  CHECK(absent->seccomp->flags == std::vector<std::string>{"SECCOMP_FILTER_FLAG_SPEC_ALLOW"});
  auto none = parse_spec(config("", "", R"("seccomp":{})"));
  REQUIRE_OK(none);
  CHECK(!none->seccomp);
}

TEST_CASE("bad config.json: the error names the field", "[runtime]") {
  struct Case {
    std::string text, expected;
  };
  auto process = [](const char* text) { return config(text, "", ""); };
  auto rest = [](const char* text) { return config("", text, ""); };
  auto linux_part = [](const char* text) { return config("", "", text); };
  auto resources = [](const std::string& text) { return config("", "", R"("resources":{)" + text + "}"); };
  auto seccomp = [](const std::string& text) {
    return config("", "", R"("seccomp":{"defaultAction":"SCMP_ACT_ALLOW",)" + text + "}");
  };
  const std::string deep = R"({"x":)" + std::string(100'000, '[');
  std::string many = R"({"x":[0)";
  for (int i = 0; i < 600'000; ++i) many += ",0";
  const Case cases[] = {
      {"", "config.json: not valid JSON"},
      {"null", "config.json: not a JSON object"},
      {"[]", "config.json: not a JSON object"},
      {"{", "config.json: not valid JSON"},
      {"{} {}", "config.json: not valid JSON"},
      {R"({"a":NaN})", "config.json: not valid JSON"},
      {"{\"hostname\":\"\xff\"}", "config.json: not valid JSON"},
      {std::string(17u << 20, ' '), "config.json: larger than 16 MiB"},
      {deep, "config.json: nested deeper than 64"},
      {many + "]}", "config.json: more than 500000 values"},
      {R"({"root":{"path":"r"}})", "ociVersion: is missing"},
      {R"({"ociVersion":1})", "ociVersion: expected a string"},
      {R"({"ociVersion":"1.0.0"})", "root: must be specified"},
      {R"({"ociVersion":"1.0.0","root":[]})", "root: expected an object"},
      {R"({"ociVersion":"1.0.0","root":{}})", "root.path: must not be empty"},
      {R"({"ociVersion":"1.0.0","root":{"path":"r"}})", "process: process property must not be empty"},
      {R"({"ociVersion":"2.0.0","process":{"args":["a"],"cwd":"/"},"root":{"path":"r"}})", "ociVersion: \"2.0.0\""},
      {R"({"ociVersion":"1.0","process":{"args":["a"],"cwd":"/"},"root":{"path":"r"}})", "ociVersion: \"1.0\""},
      {R"({"ociVersion":"1.0.0","process":{"args":["a"]},"root":{"path":"r"}})",
       "process.cwd: Cwd property must not be"},
      {R"({"ociVersion":"1.0.0","process":{"args":["a"],"cwd":"x"},"root":{"path":"r"}})", "process.cwd: Cwd must be"},
      {R"({"ociVersion":"1.0.0","process":{"cwd":"/"},"root":{"path":"r"}})", "process.args: args must not be empty"},
      {process(R"("terminal":"yes")"), "process.terminal: expected true or false"},
      {process(R"("env":"A=b")"), "process.env: expected an array of strings"},
      {process(R"("env":["A",7])"), "process.env[1]: expected a string"},
      {process(R"("env":["A\u0000"])"), "process.env[0]: a NUL byte"},
      {process(R"("user":{"uid":-1})"), "process.user.uid: expected a whole number from 0 to 4294967295"},
      {process(R"("user":{"uid":4294967296})"), "process.user.uid: expected"},
      {process(R"("user":{"uid":1.0})"), "process.user.uid: expected"},
      {process(R"("user":{"uid":"0"})"), "process.user.uid: expected"},
      {process(R"("user":{"additionalGids":[1,-2]})"), "process.user.additionalGids[1]: expected"},
      {process(R"("user":{"umask":512})"), "process.user.umask: expected 0 to 511"},
      {process(R"("consoleSize":{"height":70000,"width":1})"), "process.consoleSize.height: expected"},
      {process(R"("rlimits":[{"type":"RLIMIT_CPU","soft":1,"hard":1},{"type":"RLIMIT_AS","soft":1,"hard":-1}])"),
       "process.rlimits[1].hard: expected a non-negative number"},
      {process(R"("rlimits":[{"type":"RLIMIT_CPU","soft":1,"hard":1e30}])"), "process.rlimits[0].hard: expected"},
      {process(R"("rlimits":[{"type":"RLIMIT_X","soft":1,"hard":1}])"), "process.rlimits[0].type: unknown"},
      {process(R"("rlimits":[{"type":"RLIMIT_AS","soft":2,"hard":1}])"), "process.rlimits[0].soft: is above"},
      {process(R"("rlimits":[{"type":"RLIMIT_AS","soft":1,"hard":1},{"type":"RLIMIT_AS","soft":1,"hard":1}])"),
       "process.rlimits[1].type: duplicated"},
      {process(R"("rlimits":[7])"), "process.rlimits[0]: expected an object"},
      {process(R"("oomScoreAdj":1001)"), "process.oomScoreAdj: expected -1000 to 1000"},
      {process(R"("scheduler":{})"), "process.scheduler.policy: scheduler policy is required"},
      {process(R"("scheduler":{"policy":"FAST"})"), "process.scheduler.policy: unknown policy"},
      {process(R"("scheduler":{"policy":"SCHED_OTHER","nice":20})"), "process.scheduler.nice: expected"},
      {process(R"("scheduler":{"policy":"SCHED_OTHER","priority":1})"), "process.scheduler.priority: can only"},
      {process(R"("scheduler":{"policy":"SCHED_FIFO","runtime":1})"), "process.scheduler: runtime"},
      {process(R"("scheduler":{"policy":"SCHED_FIFO","flags":["X"]})"), "process.scheduler.flags: unknown flag"},
      {process(R"("ioPriority":{"class":"IOPRIO_CLASS_BE","priority":8})"), "process.ioPriority.priority: expected"},
      {process(R"("ioPriority":{"class":"BE"})"), "process.ioPriority.class: invalid"},
      {process(R"("execCPUAffinity":{"initial":"0-9999999999"})"), "process.execCPUAffinity.initial: expected"},
      {process(R"("execCPUAffinity":{"final":","})"), "process.execCPUAffinity.final: expected"},
      {rest(R"("hostname":"h")"), "hostname: unable to set hostname without"},
      {rest(R"("domainname":"h")"), "domainname: unable to set domainname without"},
      {rest(R"("mounts":[{}])"), "mounts[0].destination: must not be empty"},
      {rest(R"("mounts":{})"), "mounts: expected an array of objects"},
      {rest(R"("mounts":[{"destination":"/a","source":"/b\u0000"}])"), "mounts[0].source: a NUL byte"},
      {rest(R"("mounts":[{"destination":"/a","options":["bind"]}])"), "mounts[0].source: must not be empty"},
      {rest(R"("mounts":[{"destination":"/a","source":"/b","options":["bind","size"]}])"),
       "mounts[0].options: bind mounts cannot"},
      {rest(R"("mounts":[{"destination":"/a","type":"tmpfs","options":["idmap"]}])"),
       "mounts[0]: id-mapped mounts are"},
      {rest(R"("mounts":[{"destination":"/a","source":"/b","options":["bind","idmap"]}])"),
       "mounts[0]: id-mapped mounts must"},
      {rest(R"("hooks":{"poststop":[{"path":"x"}]})"), "hooks.poststop[0].path: expected an absolute path"},
      {rest(R"("hooks":{"poststop":[{"path":"/x","timeout":0}]})"), "hooks.poststop[0].timeout: expected"},
      {rest(R"("annotations":{"a":1})"), "annotations[\"a\"]: expected a string"},
      {rest(R"("annotations":{"":"1"})"), "annotations: a key must not be empty"},
      {linux_part(R"("namespaces":[{"type":"pid"},{"type":"pid"}])"), "linux.namespaces[1].type: duplicated"},
      {linux_part(R"("namespaces":[{"type":"disk"}])"), "linux.namespaces[0].type: namespace \"disk\" does not exist"},
      {linux_part(R"("namespaces":[null])"), "linux.namespaces[0].type: namespace"},
      {linux_part(R"("namespaces":[{"type":"pid","path":"x"}])"), "linux.namespaces[0].path: expected an absolute"},
      {linux_part(R"("uidMappings":[{"containerID":0,"hostID":0,"size":1}])"),
       "linux.uidMappings: user namespace mappings"},
      {linux_part(R"("namespaces":[{"type":"user"}])"), "linux.uidMappings: user namespaces enabled, but no"},
      {linux_part(R"("namespaces":[{"type":"user"}],"uidMappings":[{"containerID":0,"hostID":0,"size":0}])"),
       "linux.uidMappings[0].size: must not be 0"},
      {linux_part(R"("namespaces":[{"type":"user"}],"uidMappings":[{"containerID":0,"hostID":4294967295,"size":2}])"),
       "linux.uidMappings[0]: reaches above"},
      {linux_part(R"("namespaces":[{"type":"user"}],"uidMappings":[{"containerID":0,"hostID":0,"size":1}])"),
       "linux.gidMappings: user namespaces need a mapping for ID 0"},
      {linux_part(R"("timeOffsets":{"boottime":{"secs":1}})"),
       "linux.timeOffsets: time namespace offsets specified, but"},
      {linux_part(R"("timeOffsets":{"realtime":{}})"), "linux.timeOffsets: unknown clock"},
      {linux_part(R"("timeOffsets":{"boottime":{"nanosecs":1000000000}})"), "linux.timeOffsets[\"boottime\"].nanosecs"},
      {linux_part(R"("maskedPaths":["/x"])"), "linux.maskedPaths: unable to restrict"},
      {linux_part(R"("namespaces":[{"type":"mount"}],"readonlyPaths":[""])"),
       "linux.readonlyPaths[0]: must not be empty"},
      {linux_part(R"("sysctl":{"kernel.shmmax":"1"})"), "linux.sysctl: sysctl \"kernel.shmmax\" is not allowed"},
      {linux_part(R"("sysctl":{"net/ipv4/ip_forward":"1"})"),
       "linux.sysctl: sysctl \"net.ipv4.ip_forward\" not allowed in host"},
      {linux_part(R"("sysctl":{"user.x":"1"})"), "linux.sysctl: setting ucounts"},
      {linux_part(R"("sysctl":{"kernel.core_pattern":"|x"})"),
       "linux.sysctl: sysctl \"kernel.core_pattern\" is not in"},
      {linux_part(R"("namespaces":[{"type":"network"}],"sysctl":{"net./../../kernel/core_pattern":"x"})"),
       "linux.sysctl: \"net./../../kernel/core_pattern\" is not the name"},
      {linux_part(R"("namespaces":[{"type":"uts"}],"sysctl":{"kernel.hostname":"x"})"),
       "linux.sysctl: sysctl \"kernel.hostname\""},
      {linux_part(R"("cgroupsPath":"/a/../b")"), "linux.cgroupsPath: must not hold"},
      {linux_part(R"("rootfsPropagation":"loud")"), "linux.rootfsPropagation: \"loud\""},
      {linux_part(R"("personality":{"domain":"BSD"})"), "linux.personality.domain: invalid personality domain"},
      {linux_part(R"("devices":[{"path":"/dev/x","type":"d","major":1,"minor":1}])"),
       "linux.devices[0].type: expected"},
      {linux_part(R"("devices":[{"path":"dev/x","type":"c","major":1,"minor":1}])"), "linux.devices[0].path: expected"},
      {linux_part(R"("devices":[{"path":"/dev/x","type":"c","major":1}])"), "linux.devices[0].minor: is missing"},
      {linux_part(R"("devices":[{"path":"/dev/x","type":"c","major":-1,"minor":1}])"),
       "linux.devices[0].major: expected"},
      {linux_part(R"("devices":[{"path":"/dev/x","type":"p","fileMode":65535}])"), ""},
      {linux_part(R"("intelRdt":{"closID":".."})"), "linux.intelRdt.closID: invalid intelRdt.ClosID"},
      {linux_part(R"("intelRdt":{"closID":"a/b"})"), "linux.intelRdt.closID: invalid intelRdt.ClosID"},
      {linux_part(R"("intelRdt":{"memBwSchema":"L3:0=f"})"), "linux.intelRdt.memBwSchema: expected"},
      {linux_part(R"("memoryPolicy":{})"), "linux.memoryPolicy.mode: invalid memory policy mode"},
      {linux_part(R"("memoryPolicy":{"mode":"INTERLEAVE","nodes":"0"})"),
       "linux.memoryPolicy.mode: invalid memory policy mode"},
      {linux_part(R"("memoryPolicy":{"mode":"MPOL_PREFERRED","nodes":"0","flags":["x"]})"),
       "linux.memoryPolicy.flags: invalid memory policy flag"},
      {linux_part(R"("memoryPolicy":{"mode":"MPOL_BIND","nodes":"0-9876543210"})"),
       "linux.memoryPolicy.nodes: invalid memory policy node"},
      {linux_part(R"("memoryPolicy":{"mode":"MPOL_DEFAULT","nodes":"0-7"})"),
       "linux.memoryPolicy.nodes: memory policy mode requires 0 nodes but got 8"},
      {linux_part(R"("memoryPolicy":{"mode":"MPOL_BIND"})"),
       "linux.memoryPolicy.nodes: memory policy mode requires at least"},
      {linux_part(R"("netDevices":{"eth0":{}})"), "linux.netDevices: unable to move network devices without"},
      {linux_part(R"("netDevices":{"eth0":"x"})"), "linux.netDevices[\"eth0\"]: expected an object"},
      {resources(R"("devices":[{"allow":true}])"), "linux.resources.devices[0].access: expected"},
      {resources(R"("devices":[{"allow":true,"access":"x"}])"), "linux.resources.devices[0].access: expected"},
      {resources(R"("devices":[{"allow":true,"access":"r","type":"p"}])"), "linux.resources.devices[0].type: expected"},
      {resources(R"("memory":{"limit":9223372036854775808})"), "linux.resources.memory.limit: expected"},
      {resources(R"("memory":{"limit":"1G"})"), "linux.resources.memory.limit: expected"},
      {resources(R"("cpu":{"shares":-1})"), "linux.resources.cpu.shares: expected a non-negative number"},
      {resources(R"("cpu":[])"), "linux.resources.cpu: expected an object"},
      {resources(R"("blockIO":{"weight":65536})"), "linux.resources.blockIO.weight: expected"},
      {resources(R"("blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":-1}]})"),
       "linux.resources.blockIO.throttleReadBpsDevice[0].minor: expected"},
      {resources(R"("hugepageLimits":[{"pageSize":"../2MB","limit":1}])"),
       "linux.resources.hugepageLimits[0].pageSize"},
      {resources(R"("unified":{"../x":"1"})"), "linux.resources.unified: \"../x\" must be a file name (no slashes)"},
      {resources(R"("network":{"priorities":[{"name":"a b","priority":1}]})"),
       "linux.resources.network.priorities[0].name"},
      {seccomp(R"("defaultAction":"SCMP_ACT_NOTIFY")"),
       "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be used as"},
      {seccomp(R"("defaultAction":"ALLOW")"), "linux.seccomp.defaultAction: unknown action"},
      {seccomp(R"("flags":["X"])"), "linux.seccomp: unknown seccomp flag"},
      {seccomp(R"("architectures":["Z80"])"), "linux.seccomp: unknown seccomp architecture"},
      {seccomp(R"("listenerMetadata":"x")"), "linux.seccomp.listenerMetadata: must not be set"},
      {seccomp(R"("syscalls":[{"names":["write"],"action":"SCMP_ACT_NOTIFY"}])"),
       "linux.seccomp.syscalls[0].names: SCMP_ACT_NOTIFY cannot be used for the write syscall"},
      {seccomp(R"("syscalls":[{"names":["read"],"action":"SCMP_ACT_NOTIFY"}])"),
       "linux.seccomp.listenerPath: is needed"},
      {seccomp(R"("syscalls":[{"names":["read"],"action":"X"}])"), "linux.seccomp.syscalls[0].action: unknown action"},
      {seccomp(R"("syscalls":[{"names":[],"action":"SCMP_ACT_ERRNO"}])"), "linux.seccomp.syscalls[0].names: must not"},
      {seccomp(R"("syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":6}]}])"),
       "linux.seccomp.syscalls[0].args[0].index: expected 0 to 5"},
      {seccomp(R"("syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"op":"X"}]}])"),
       "linux.seccomp.syscalls[0].args: unknown operator"},
  };
  static_assert(std::size(cases) >= 100);
  for (const Case& one : cases) {
    INFO(one.text.substr(0, 300));
    const std::string error = error_of(one.text);
    INFO(error);
    CHECK(error.substr(0, one.expected.size()) == one.expected);
  }
}

TEST_CASE("the template is what runc writes", "[runtime]") {
  const std::string text = format_spec(make_bundle_template(false));
  CHECK(text.starts_with("{\n\t\"ociVersion\": \"1.3.0\",\n\t\"process\": {\n\t\t\"terminal\": true,\n"));
  auto has = [&](const char* part) {
    INFO(part);
    CHECK(text.find(part) != std::string::npos);
  };
  has("\t\t\"rlimits\": [\n\t\t\t{\n\t\t\t\t\"type\": \"RLIMIT_NOFILE\",\n"
      "\t\t\t\t\"hard\": 1024,\n\t\t\t\t\"soft\": 1024\n");
  has("\t\"root\": {\n\t\t\"path\": \"rootfs\",\n\t\t\"readonly\": true\n\t},\n\t\"hostname\": \"runc\",\n");
  has("\"linux\": {\n\t\t\"resources\": {\n\t\t\t\"devices\": [\n\t\t\t\t{\n\t\t\t\t\t\"allow\": false,\n"
      "\t\t\t\t\t\"access\": \"rwm\"\n\t\t\t\t}\n\t\t\t]\n\t\t},\n"
      "\t\t\"namespaces\": [\n\t\t\t{\n\t\t\t\t\"type\": \"pid\"\n");
  CHECK(text.find("inheritable") == std::string::npos);
  CHECK(text.find("ambient") == std::string::npos);
  CHECK(text.find("\t\t\"devices\": [\n\t\t\t{\n\t\t\t\t\"path\"") == std::string::npos);
  for (bool rootless : {false, true}) {
    const std::string written = format_spec(make_bundle_template(rootless));
    auto spec = parse_spec(written);
    REQUIRE_OK(spec);
    REQUIRE_OK(validate_spec(*spec));
    CHECK(spec->namespaces.network.is_own() != rootless);
    CHECK(spec->namespaces.user.is_own() == rootless);
    CHECK(spec->uid_mappings.size() == (rootless ? 1 : 0));
    CHECK(spec->resources.devices.size() == (rootless ? 11 : 12));
    CHECK((written.find("\"type\": \"none\",\n\t\t\t\"source\": \"/sys\"") != std::string::npos) == rootless);
    CHECK((written.find("gid=5") == std::string::npos) == rootless);
  }
}

TEST_CASE("names and values that need escapes survive being written", "[runtime]") {
  auto spec = parse_spec(config(R"("env":["A=\u0001\u007f\ud83d\ude00<"])", R"("annotations":{"a\"\\":"\n"})",
                                R"("sysctl":{"":"x"})"));
  REQUIRE_OK(spec);
  auto again = parse_spec(format_spec(*spec));
  REQUIRE_OK(again);
  CHECK(again->process.env.at(0) == "A=\x01\x7f\xf0\x9f\x98\x80<");
  CHECK(again->annotations == spec->annotations);
  CHECK(again->sysctl.contains(""));
  // The engine's values are bytes from elsewhere.
  spec->process.env = {"A=\xff\xc0\xaf\xed\xa0\x80"};
  again = parse_spec(format_spec(*spec));
  REQUIRE_OK(again);
  CHECK(again->process.env.at(0) == "A=\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
}

TEST_CASE("a process alone, for exec", "[runtime]") {
  auto process = parse_process(R"({"args":["id"],"cwd":"/","user":{"uid":1}})");
  REQUIRE_OK(process);
  CHECK(process->user.uid == 1);
  auto empty = parse_process("{}");
  REQUIRE(!empty);
  CHECK(empty.error().message() == "process.cwd: Cwd property must not be empty");
  auto wrong = parse_process(R"({"args":7})");
  REQUIRE(!wrong);
  CHECK(wrong.error().message() == "process.args: expected an array of strings");
}

TEST_CASE("features is JSON with runc's keys", "[runtime]") {
  const std::string text = describe_features();
  std::size_t at = 0;
  for (const char* key : {"{\n    \"ociVersionMin\": \"1.0.0\"", "\"ociVersionMax\": \"1.3.0\"", "\"hooks\"",
                          "\"mountOptions\"", "\"linux\"", "\"namespaces\"", "\"capabilities\"", "\"cgroup\"",
                          "\"seccomp\"", "\"actions\"", "\"operators\"", "\"archs\"", "\"knownFlags\"",
                          "\"supportedFlags\"", "\"memoryPolicy\"", "\"mountExtensions\"", "\"netDevices\"",
                          "\"annotations\""}) {
    INFO(key);
    std::size_t found = text.find(key, at);
    REQUIRE(found != std::string::npos);
    at = found;
  }
  CHECK(text.find("SECCOMP_FILTER_FLAG_LOG", text.find("supportedFlags")) != std::string::npos);
}

TEST_CASE("lists of CPUs and memory nodes") {
  using Numbers = std::vector<unsigned>;
  CHECK(parse_number_list("0-3,7") == Numbers{0, 1, 2, 3, 7});
  CHECK(parse_number_list(" 5 ,,1-1,") == Numbers{1, 5});
  CHECK(parse_number_list("") == Numbers{});
  CHECK(parse_number_list("1023") == Numbers{1023});
  for (const char* wrong : {"1024", "3-1", "a", "1-", "-1", "1-2-3", "0x1", "99999999999"}) {
    INFO(wrong);
    CHECK_FALSE(parse_number_list(wrong));
  }
}
