// SPDX-License-Identifier: Apache-2.0
// systemd's units: names, properties, and the D-Bus protocol: bytes, a systemd of our own, a real bus as the judge.

#include "catch.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bit>
#include <cstring>
#include <thread>

#include <dray/core/fd.hpp>

#include "cgroup/systemd.hpp"

using namespace dray;
using namespace dray::runtime;
using namespace std::string_literals;
namespace sd = dray::runtime::systemd;

namespace {

std::string path_of(const char* slice, const char* name) {
  auto path = systemd_cgroups_path(SystemdUnit{slice, name, false, "", {}});
  return path ? *path : "error: " + path.error().message();
}

std::vector<dbus::Property> properties_of(const Resources& r, bool unified, int version = 252) {
  auto properties = sd::resource_properties(r, unified, version);
  REQUIRE_OK(properties);
  return properties->list;
}
using List = std::vector<dbus::Property>;

/// Listens, authenticates, and answers like systemd: to each call what `answer` makes of it.
class FakeSystemd {
 public:
  using Answer = std::function<std::vector<dbus::Message>(const dbus::Message&)>;
  FakeSystemd(const std::string& path, Answer answer) : path_(path), answer_(std::move(answer)) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
    listener_ = FileDescriptor(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
    REQUIRE(listen(listener_.get(), 1) == 0);
    thread_ = std::thread([this] { serve(); });
  }
  ~FakeSystemd() {
    shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
    unlink(path_.c_str());
  }
  std::string greeting;

 private:
  void serve() {
    FileDescriptor peer(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!peer.valid()) return;
    std::string received;
    bool begun = false;
    char buffer[4096];
    for (ssize_t size = 0; (size = read(peer.get(), buffer, sizeof(buffer))) > 0;) {
      received.append(buffer, static_cast<std::size_t>(size));
      const std::size_t begin = begun ? std::string::npos : received.find("BEGIN\r\n");
      if (begin != std::string::npos) {
        greeting = received.substr(0, begin);
        received.erase(0, begin + 7);
        begun = true;
        (void)write_all(peer, "OK 0123456789abcdef\r\n");
      }
      while (begun && received.size() >= 16) {
        auto length = dbus::message_size(received);
        if (!length || received.size() < *length) break;
        auto message = dbus::unmarshal(received.substr(0, *length));
        received.erase(0, *length);
        if (!message) return;
        for (const dbus::Message& each : answer_(*message)) (void)write_all(peer, dbus::marshal(each));
      }
    }
  }

  std::string path_;
  Answer answer_;
  FileDescriptor listener_;
  std::thread thread_;
};

dbus::Message reply_with(const dbus::Message& call, const std::string& path) {
  dbus::Writer body;
  if (!path.empty()) body.string(path);
  dbus::Message reply;
  reply.type = dbus::Message::reply;
  reply.serial = 1;
  reply.reply_serial = call.serial;
  reply.signature = path.empty() ? "" : "o";
  reply.body = body.bytes();
  return reply;
}
dbus::Message error_with(const dbus::Message& call, const char* name) {
  dbus::Writer body;
  body.string("no good");
  dbus::Message error;
  error.type = dbus::Message::error;
  error.serial = 1;
  error.reply_serial = call.serial;
  error.error_name = name;
  error.signature = "s";
  error.body = body.bytes();
  return error;
}
dbus::Message job_removed(const std::string& job, const std::string& result) {
  dbus::Writer body;
  body.uint32(7);
  body.string(job);
  body.string("x.scope");
  body.string(result);
  dbus::Message signal;
  signal.type = dbus::Message::signal;
  signal.serial = 1;
  signal.path = "/org/freedesktop/systemd1";
  signal.interface = "org.freedesktop.systemd1.Manager";
  signal.member = "JobRemoved";
  signal.signature = "uoss";
  signal.body = body.bytes();
  return signal;
}

const SystemdUnit kUnit{"system.slice", "runc-x.scope", false, "", {}};
const List kAllKinds = {
    {"Description", "a text"s},
    {"Delegate", true},
    {"PIDs", std::vector<std::uint32_t>{1, 2}},
    {"AllowedCPUs", std::vector<std::uint8_t>{5}},
    {"Wants", std::vector<std::string>{"a.slice", ""}},
    {"MemoryMax", std::uint64_t(1) << 40},
    {"DeviceAllow", std::vector<std::pair<std::string, std::string>>{}},
    {"DeviceAllow", std::vector<std::pair<std::string, std::string>>{{"/dev/char/1:3", "rw"}, {"x", ""}}}};

}  // namespace

TEST_CASE("systemd's names become paths") {
  REQUIRE(path_of("system.slice", "x.scope") == "system.slice/x.scope");
  REQUIRE(path_of("a-b-c.slice", "x.scope") == "a.slice/a-b.slice/a-b-c.slice/x.scope");
  REQUIRE(path_of("-.slice", "x.scope") == "x.scope");
  for (const char* bad : {"", ".slice", "a", "a/b.slice", "a--b.slice", "-a.slice", "a-.slice", "--.slice"}) {
    INFO(bad);
    REQUIRE(path_of(bad, "x").starts_with("error: invalid slice name"));
  }
  auto unit = parse_systemd_path("machine.slice:libpod:abc");
  REQUIRE_OK(unit);
  REQUIRE(unit->slice == "machine.slice");
  REQUIRE(unit->name == "libpod-abc.scope");
  REQUIRE(parse_systemd_path(":runc:x")->slice == "system.slice");
  REQUIRE(parse_systemd_path("::pod-x.slice")->is_slice());
  for (const char* bad : {"", "a", "a.slice:b", "a.slice:b:c:d", "a.slice:b:", "a.slice:b:c/d", "x:b:c"}) {
    INFO(bad);
    REQUIRE(!parse_systemd_path(bad));
  }
}

TEST_CASE("resources as unit properties") {
  Resources r;
  r.memory_limit = 100;
  r.memory_swap = 150;
  r.memory_reservation = -1;
  r.cpu_shares = 1024;
  r.cpu_quota = 50001;
  r.cpu_period = 100000;
  r.pids_limit = 0;
  r.cpuset_cpus = "0-1,9";
  const std::vector<std::uint8_t> mask{3, 2};
  REQUIRE(properties_of(r, true) == List{{"MemoryMax", std::uint64_t(100)},
                                         {"MemoryLow", UINT64_MAX},
                                         {"MemorySwapMax", std::uint64_t(50)},
                                         {"CPUWeight", std::uint64_t(100)},
                                         {"CPUQuotaPeriodUSec", std::uint64_t(100000)},
                                         {"CPUQuotaPerSecUSec", std::uint64_t(510000)},
                                         {"TasksMax", std::uint64_t(1)},
                                         {"AllowedCPUs", mask}});
  r.block_io.weight = 300;
  REQUIRE(properties_of(r, false, 230) == List{{"MemoryLimit", std::uint64_t(100)},
                                               {"CPUShares", std::uint64_t(1024)},
                                               {"BlockIOWeight", std::uint64_t(300)},
                                               {"CPUQuotaPerSecUSec", std::uint64_t(510000)},
                                               {"TasksMax", std::uint64_t(1)}});
  r = {};
  r.cpu_idle = 1;
  r.cpu_shares = 5;
  auto both = sd::resource_properties(r, true, 252);
  REQUIRE_OK(both);
  REQUIRE(both->list == List{{"CPUWeight", std::uint64_t(0)}});
  REQUIRE(both->warnings.size() == 1);
  REQUIRE(both->warnings[0].find("unable to apply both") != std::string::npos);
  r = {};
  r.cpu_quota = -1;
  REQUIRE(properties_of(r, true) == List{{"CPUQuotaPerSecUSec", UINT64_MAX}});
  r = {};
  r.unified = {{"cpu.max", "20000 50000"}, {"memory.high", " 5\n"}, {"pids.max", "max"}, {"io.latency", "x"}};
  REQUIRE(properties_of(r, true) == List{{"CPUQuotaPeriodUSec", std::uint64_t(50000)},
                                         {"CPUQuotaPerSecUSec", std::uint64_t(400000)},
                                         {"MemoryHigh", std::uint64_t(5)},
                                         {"TasksMax", UINT64_MAX}});
  REQUIRE(sd::resource_properties(r, false, 252).error().message().find("invalid configuration") != std::string::npos);
  r.unified = {{"cpu.max", "x"}};
  REQUIRE(!sd::resource_properties(r, true, 252));
  for (const char* bad : {"", "x", "0,y", "3-1", "99999"}) REQUIRE(!sd::cpu_mask(bad));
  REQUIRE(sd::parse_version("v245.4-1.fc32") == 245);
  REQUIRE(sd::parse_version("\"252") == 252);
  REQUIRE(sd::parse_version("x") == -1);
}

TEST_CASE("device rules as unit properties") {
  using Pairs = std::vector<std::pair<std::string, std::string>>;
  auto list = sd::device_properties({{false, 'a', {}, {}, "rwm"},
                                     {true, 'c', 1, 3, "rw"},
                                     {true, 'c', 136, {}, "rwm"},
                                     {true, 'b', {}, {}, "m"},
                                     {true, 'b', {}, 7, "m"}});
  REQUIRE_OK(list);
  REQUIRE(*list == List{{"DeviceAllow", Pairs{}},
                        {"DevicePolicy", "strict"s},
                        {"DeviceAllow", Pairs{{"/dev/char/1:3", "rw"}, {"char-136", "rwm"}, {"block-*", "m"}}}});
  REQUIRE((*sd::device_properties({{true, 'a', {}, {}, "rwm"}}))[1] == dbus::Property{"DevicePolicy", "auto"s});
  REQUIRE(sd::device_properties({})->empty());
}

TEST_CASE("a unit is started, changed and stopped") {
  const std::string socket_path = "/tmp/dray-systemd-" + std::to_string(getpid());
  std::vector<std::string> members;
  std::string started, result = "done";
  bool exists = false;
  FakeSystemd fake(socket_path, [&](const dbus::Message& call) -> std::vector<dbus::Message> {
    members.push_back(call.member);
    if (call.member == "StartTransientUnit") {
      if (exists) {
        exists = false;
        return {error_with(call, "org.freedesktop.systemd1.UnitExists")};
      }
      started = call.body;
      // The signal of another job, and ours before the reply.
      return {job_removed("/job/1", "failed"), job_removed("/job/2", result), reply_with(call, "/job/2")};
    }
    if (call.member == "StopUnit") return {error_with(call, "org.freedesktop.systemd1.NoSuchUnit")};
    if (call.member == "SetUnitProperties") return {error_with(call, "org.freedesktop.DBus.Error.PropertyReadOnly")};
    if (call.member == "Get") {
      dbus::Message reply = reply_with(call, "");
      dbus::Writer body;
      body.variant("v252.1"s);
      reply.signature = "v";
      reply.body = body.bytes();
      return {reply};
    }
    return {reply_with(call, "")};
  });
  auto connection = dbus::Connection::open(socket_path, false);
  REQUIRE_OK(connection);
  REQUIRE(fake.greeting.starts_with("\0AUTH EXTERNAL 3"s));
  REQUIRE(sd::read_version(*connection).value() == 252);
  REQUIRE_OK(sd::start_unit(*connection, kUnit, kAllKinds));
  dbus::Reader reader(started);
  REQUIRE(reader.string().value() == "runc-x.scope");
  REQUIRE(reader.string().value() == "replace");
  exists = true;
  REQUIRE_OK(sd::start_unit(*connection, kUnit, {}));
  REQUIRE(members == std::vector<std::string>{"Get", "StartTransientUnit", "StartTransientUnit", "ResetFailedUnit",
                                              "StartTransientUnit"});
  result = "timeout";
  auto failed = sd::start_unit(*connection, kUnit, {});
  REQUIRE(!failed);
  REQUIRE(failed.error().message().find("got `timeout`") != std::string::npos);
  REQUIRE_OK(sd::stop_unit(*connection, kUnit));
  REQUIRE_OK(sd::set_properties(*connection, kUnit, {}));
  auto refused = sd::set_properties(*connection, kUnit, {{"A", true}});
  REQUIRE(!refused);
  REQUIRE(refused.error().message().find("PropertyReadOnly: no good") != std::string::npos);
}

TEST_CASE("a real bus finds no fault in the messages") {
  if (access("/usr/bin/dbus-daemon", X_OK) != 0) {
    WARN("skipped: no dbus-daemon");
    return;
  }
  const std::string base = "/tmp/dray-bus-" + std::to_string(getpid());
  const std::string config =
      "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\""
      " \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n<busconfig><listen>unix:path=" +
      base +
      "</listen><policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/>"
      "<allow send_destination=\"*\"/><allow receive_sender=\"*\"/></policy></busconfig>";
  REQUIRE_OK(write_file_atomically(base + ".conf", config, 0600, Durability::none));
  const pid_t daemon = fork();
  if (daemon == 0) {
    dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDERR_FILENO);  // it complains about limits that it cannot raise
    execl("/usr/bin/dbus-daemon", "dbus-daemon", "--nofork", "--nosyslog", ("--config-file=" + base + ".conf").c_str(),
          nullptr);
    _exit(127);
  }
  // Bound, and a moment later listening.
  for (int i = 0; i < 500 && access(base.c_str(), F_OK) != 0; ++i) usleep(10'000);
  usleep(50'000);
  auto connection = dbus::Connection::open(base, true);
  CHECK(connection.has_value());
  if (connection) {
    // It checks each body by its signature and cuts off who sends a bad one; a method that it has not is an error.
    auto started = sd::start_unit(*connection, kUnit, kAllKinds);
    CHECK(!started);
    if (!started) CHECK(started.error().message().find("ServiceUnknown") != std::string::npos);
    auto changed = sd::set_properties(*connection, kUnit, kAllKinds);
    CHECK(!changed);
    if (!changed) CHECK(changed.error().message().find("ServiceUnknown") != std::string::npos);
    auto version = sd::read_version(*connection);
    CHECK(!version);
    if (!version) CHECK(version.error().message().find("ServiceUnknown") != std::string::npos);
  }
  kill(daemon, SIGKILL);
  waitpid(daemon, nullptr, 0);
  unlink(base.c_str());
  unlink((base + ".conf").c_str());
}

TEST_CASE("properties from annotations") {
  auto as_text = [](const char* text) -> std::string {
    auto value = sd::parse_gvariant(text);
    if (!value) return "error: " + value.error().message();
    std::string out = value->signature;
    for (const dbus::Scalar& item : value->items)
      out += " " + (item.text.empty() ? std::to_string(static_cast<std::int64_t>(item.bits)) : item.text);
    return out;
  };
  CHECK(as_text("true") == "b 1");
  CHECK(as_text(" 42 ") == "i 42");
  CHECK(as_text("-0x10") == "i -16");
  CHECK(as_text("uint64 18446744073709551615") == "t -1");
  CHECK(as_text("@u 7") == "u 7");
  CHECK(as_text("'inactive-or-failed'") == "s inactive-or-failed");
  CHECK(as_text(R"("a\"b\u00e4\n")") == "s a\"b\u00e4\n");
  CHECK(as_text("['a', 'b']") == "as a b");
  CHECK(as_text("[uint64 1, 2]") == "at 1 2");
  CHECK(as_text("@as []") == "as");
  CHECK(as_text("@ay [1, 255]") == "ay 1 255");
  CHECK(as_text("objectpath '/x'") == "o /x");
  for (const char* bad :
       {"", "maybe", "1 2", "'open", "[1, ", "[]", "@(ss) ('a','b')", "{'a': 1}", "uint32 -1", "byte 256", "2147483648",
        "uint64 99999999999999999999", "1x", "[1, 'a']", "@as 'a'", "'\\u12'", "@", "uint32"}) {
    INFO(bad);
    CHECK(!sd::parse_gvariant(bad));
  }

  auto property = [](const char* name, const char* text) { return sd::annotated_property(name, text); };
  CHECK(*property("TimeoutStopSec", "123") == dbus::Property{"TimeoutStopUSec", std::uint64_t{123'000'000}});
  CHECK(*property("TimeoutStopSec", "1.5") == dbus::Property{"TimeoutStopUSec", std::uint64_t{1'500'000}});
  CHECK(property("TimeoutStopUSec", "uint64 5")->name == "TimeoutStopUSec");
  CHECK(property("CollectMode", "'inactive-or-failed'")->name == "CollectMode");
  CHECK(!property("TimeoutStopSec", "'x'"));
  CHECK(!property("TimeoutStopSec", "-1"));
  CHECK(!property("Ab", "1"));
  CHECK(!property("Abc1", "1"));
  CHECK(!property("", "1"));

  // As the variants that systemd gets.
  auto variant = [](const dbus::Value& value) {
    dbus::Writer writer;
    writer.variant(value);
    return writer.bytes();
  };
  CHECK(variant(*sd::parse_gvariant("uint64 5")) == variant(std::uint64_t{5}));
  CHECK(variant(*sd::parse_gvariant("true")) == variant(true));
  CHECK(variant(*sd::parse_gvariant("'x'")) == variant("x"s));
  CHECK(variant(*sd::parse_gvariant("['x', 'yz']")) == variant(std::vector<std::string>{"x", "yz"}));
  CHECK(variant(*sd::parse_gvariant("@ay [1, 2]")) == variant(std::vector<std::uint8_t>{1, 2}));
  CHECK(variant(*sd::parse_gvariant("@an [1, -2]")) == "\2an\0\4\0\0\0\1\0\376\377"s);
}

TEST_CASE("units of a user's systemd are below its cgroup") {
  SystemdUnit unit{"app-x.slice", "dray-box.scope", true, "/user.slice/user@1000.service", {}};
  CHECK(*systemd_cgroups_path(unit) == "user.slice/user@1000.service/app.slice/app-x.slice/dray-box.scope");
  unit.slice = "-.slice";
  CHECK(*systemd_cgroups_path(unit) == "user.slice/user@1000.service/dray-box.scope");
}

TEST_CASE("a scope of the host's systemd") {
  if (geteuid() != 0 || access("/run/systemd/system", F_OK) != 0) {
    WARN("skipped: no systemd here");
    return;
  }
  const SystemdUnit unit{"dray-test.slice", "dray-" + std::to_string(getpid()) + ".scope", false, "", {}};
  auto path = systemd_cgroups_path(unit);
  REQUIRE_OK(path);
  const pid_t child = fork();
  if (child == 0) {
    ::signal(SIGTERM, SIG_DFL);  // systemd's way to end it, for which the test program has a handler
    for (;;) pause();
  }
  Resources r;
  r.memory_limit = 64 << 20;
  r.pids_limit = 50;
  r.cpu_quota = 50000;
  r.cpu_period = 100000;
  r.cpu_shares = 512;
  r.devices = make_default_spec().resources.devices;
  auto started = start_systemd_unit(unit, "a test of dray", child, r);
  INFO((started ? "" : started.error().message()));
  CHECK(started.has_value());
  auto of = read_file("/proc/" + std::to_string(child) + "/cgroup");
  CHECK(of.has_value());
  if (of) CHECK(of->find(":/" + *path + "\n") != std::string::npos);
  auto joined = create_cgroup(*path, r, ExistingCgroup::join);
  INFO((joined ? "" : joined.error().message()));
  CHECK(joined.has_value());
  // A property changes the cgroup's file at once.
  Resources change;
  change.pids_limit = 77;
  change.cpu_period = 50000;  // the quota stays
  auto updated = update_systemd_unit(unit, change);
  INFO((updated ? "" : updated.error().message()));
  CHECK(updated.has_value());
  auto directories = cgroup_directories(*path);
  REQUIRE_OK(directories);
  for (const CgroupDirectory& directory : *directories) {
    auto pids = read_file(directory.path + "/pids.max");
    if (pids) CHECK(*pids == "77\n");
    auto cpu = read_file(directory.path + "/cpu.max");
    if (cpu) CHECK(*cpu == "50000 50000\n");
  }
  CHECK(stop_systemd_unit(unit).has_value());
  CHECK(stop_systemd_unit(unit).has_value());
  CHECK(destroy_cgroup(*path).has_value());
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  (void)stop_systemd_unit({"-.slice", unit.slice, false, "", {}});
}
