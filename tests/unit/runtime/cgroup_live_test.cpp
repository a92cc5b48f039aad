// SPDX-License-Identifier: Apache-2.0
// Changing, pausing, watching and counting cgroups of this host. What needs v1's files is left out on v2.

#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <sys/syscall.h>

#include <cstdlib>

#include "live_cgroup.hpp"

namespace {

char process_state(pid_t pid) {
  auto text = read_file("/proc/" + std::to_string(pid) + "/stat");
  if (!text) return '?';
  return (*text)[text->rfind(')') + 2];
}

bool is_gone(const std::string& path) {
  for (const auto& hierarchy : host_hierarchies()) {
    auto leaf = cgroup::open_leaf(hierarchy, path);
    if (leaf) return false;
  }
  return true;
}

struct Reaped {
  explicit Reaped(pid_t child) : pid(child) {}
  ~Reaped() {
    kill(pid, SIGKILL);
    if (!waited) waitpid(pid, nullptr, 0);
  }
  int wait() {
    int status = 0;
    waitpid(pid, &status, 0);
    waited = true;
    return status;
  }
  pid_t pid;
  bool waited = false;
};

}  // namespace

TEST_CASE("an update changes what it names and nothing else") {
  NEEDS_CGROUPS();
  auto all = host_hierarchies();
  if (find(all, "memory") == nullptr || find(all, "cpu") == nullptr) return;
  const std::string path = kParent + "/update";
  const bool swap = cgroup_value("memory", "", "memory.memsw.limit_in_bytes").starts_with("no") == false;
  Resources r;
  r.memory_limit = 32 << 20;
  r.memory_reservation = 24 << 20;
  r.cpu_shares = 100;
  r.cpu_quota = 500000;
  r.cpu_period = 1000000;
  r.pids_limit = 20;
  REQUIRE_OK(create_cgroup(path, r));
  auto memory = [&](const char* file) { return cgroup_value("memory", path, file); };
  auto cpu = [&](const char* file) { return cgroup_value("cpu", path, file); };
  auto update = [&](auto set) {
    Resources change;
    set(change);
    return update_cgroup(path, change);
  };
  REQUIRE_OK(update([](Resources& u) { u.cpu_period = 900000; }));
  REQUIRE(cpu("cpu.cfs_period_us") == "900000");
  REQUIRE(cpu("cpu.cfs_quota_us") == "500000");
  REQUIRE_OK(update([](Resources& u) { u.cpu_quota = -1; }));
  REQUIRE(cpu("cpu.cfs_quota_us") == "-1");
  REQUIRE(cpu("cpu.cfs_period_us") == "900000");
  REQUIRE(cpu("cpu.shares") == "100");
  REQUIRE(memory("memory.limit_in_bytes") == std::to_string(32 << 20));
  if (swap) {
    REQUIRE_OK(update([](Resources& u) { u.memory_limit = 30 << 20, u.memory_swap = 50 << 20; }));
    REQUIRE_OK(update([](Resources& u) { u.memory_limit = 60 << 20, u.memory_swap = 80 << 20; }));
    REQUIRE(memory("memory.memsw.limit_in_bytes") == std::to_string(80 << 20));
    REQUIRE_OK(update([](Resources& u) { u.memory_limit = 30 << 20, u.memory_swap = 50 << 20; }));
    REQUIRE(memory("memory.limit_in_bytes") == std::to_string(30 << 20));
    REQUIRE_OK(update([](Resources& u) { u.memory_swap = 90 << 20; }));
    REQUIRE(memory("memory.memsw.limit_in_bytes") == std::to_string(90 << 20));
    REQUIRE(!update([](Resources& u) { u.memory_swap = 1 << 20; }));
  }
  REQUIRE_OK(update([](Resources& u) { u.memory_limit = -1; }));
  REQUIRE(memory("memory.limit_in_bytes") == "9223372036854771712");
  REQUIRE(memory("memory.soft_limit_in_bytes") == std::to_string(24 << 20));
  if (swap) REQUIRE(memory("memory.memsw.limit_in_bytes") == "9223372036854771712");
  REQUIRE_OK(update([](Resources& u) { u.pids_limit = 0; }));
  REQUIRE(cgroup_value("pids", path, "pids.max") == "1");
  REQUIRE_OK(update([](Resources& u) { u.pids_limit = -1; }));
  REQUIRE(cgroup_value("pids", path, "pids.max") == "max");
  REQUIRE(!update([](Resources& u) { u.cpu_idle = 2; }));
  REQUIRE_OK(update([](Resources& u) { u.cpu_idle = 1; }));
  REQUIRE_OK(update([](Resources& u) { u.cpu_idle = 0, u.cpu_shares = 300; }));
  REQUIRE(cpu("cpu.shares") == "300");
  auto refused = update([](Resources& u) { u.unified["memory.high"] = "1"; });
  REQUIRE(!refused);
  REQUIRE(refused.error().message().find("invalid configuration") != std::string::npos);
  REQUIRE(!update([](Resources& u) { u.hugepage_limits = {{"2MB", 0}}; }).has_value() ==
          (find(all, "hugetlb") == nullptr));
  REQUIRE_OK(destroy_cgroup(path));
  REQUIRE(!update_cgroup(path, r));
}

TEST_CASE("v2: limits of every controller, and updates of some") {
  NEEDS_CGROUPS();
  if (!host_hierarchies().front().unified || !has_controller("memory") || !has_controller("cpu")) return;
  const std::string path = kParent + "/v2";
  Resources r;
  r.memory_limit = 32 << 20;
  r.memory_swap = 48 << 20;
  r.memory_reservation = 24 << 20;
  r.cpu_shares = 1024;
  r.cpu_quota = 500000;
  r.cpu_period = 1000000;
  r.pids_limit = 20;
  r.cpuset_cpus = "0";
  r.unified["memory.high"] = "31457280";
  r.devices = make_default_spec().resources.devices;
  if (has_controller("hugetlb")) r.hugepage_limits = {{"2MB", 0}};
  REQUIRE_OK(create_cgroup(path, r));
  auto value = [&](const char* file) { return cgroup_value("", path, file); };
  auto update = [&](auto set) {
    Resources change;
    set(change);
    return update_cgroup(path, change);
  };
  CHECK(value("memory.max") == std::to_string(32 << 20));
  CHECK(value("memory.swap.max") == std::to_string(16 << 20));
  CHECK(value("memory.low") == std::to_string(24 << 20));
  CHECK(value("memory.high") == "31457280");
  CHECK(value("cpu.weight") == "100");
  CHECK(value("cpu.max") == "500000 1000000");
  CHECK(value("pids.max") == "20");
  CHECK(value("cpuset.cpus") == "0");
  if (!r.hugepage_limits.empty()) CHECK(value("hugetlb.2MB.max") == "0");
  CHECK(update([](Resources& u) { u.cpu_period = 900000; }));
  CHECK(value("cpu.max") == "500000 900000");
  CHECK(update([](Resources& u) { u.cpu_quota = 600000, u.cpu_burst = 1000; }));
  CHECK(value("cpu.max") == "600000 900000");
  CHECK(value("cpu.max.burst") == "1000");
  CHECK(update([](Resources& u) { u.cpu_quota = -1, u.cpu_burst = 0; }));
  CHECK(value("cpu.max") == "max 900000");
  CHECK(update([](Resources& u) { u.memory_swap = 40 << 20; }));
  CHECK(value("memory.swap.max") == std::to_string(8 << 20));
  CHECK(update([](Resources& u) { u.memory_limit = -1; }));
  CHECK(value("memory.max") == "max");
  CHECK(value("memory.swap.max") == "max");
  CHECK(update([](Resources& u) { u.pids_limit = 0; }));
  CHECK(value("pids.max") == "1");
  CHECK(update([](Resources& u) { u.cpu_idle = 1; }));
  CHECK(value("cpu.idle") == "1");
  CHECK(!update([](Resources& u) { u.cpu_idle = 3; }));
  CHECK(update([](Resources& u) { u.cpu_idle = 0, u.cpu_shares = 2; }));
  CHECK(value("cpu.weight") == "1");
  CHECK(value("cpuset.cpus") == "0");
  auto unknown = update([](Resources& u) { u.unified["hugetlb.1MB.max"] = "0"; });
  CHECK(!unknown);
  if (!unknown) CHECK(unknown.error().message().find("hugetlb.1MB.max") != std::string::npos);
  auto absent = update([](Resources& u) { u.unified["nope.max"] = "0"; });
  CHECK(!absent);
  if (!absent) CHECK(absent.error().message().find("controller \"nope\" not available") != std::string::npos);
  // Devices: the program is replaced, not added.
  const pid_t child = fork();
  if (child == 0) {
    if (!enter_cgroup(path)) _exit(1);
    if (open("/dev/null", O_RDWR | O_CLOEXEC) < 0 || open("/dev/zero", O_RDWR | O_CLOEXEC) < 0) _exit(2);
    Resources devices;
    devices.devices = {{false, 'a', {}, {}, "rwm"}, {true, 'c', 1, 3, "rw"}};
    if (!update_cgroup(path, devices)) _exit(3);
    if (open("/dev/null", O_RDWR | O_CLOEXEC) < 0 || open("/dev/zero", O_RDWR | O_CLOEXEC) >= 0) _exit(4);
    devices.devices = {{true, 'a', {}, {}, "rwm"}};
    if (!update_cgroup(path, devices)) _exit(5);
    if (open("/dev/zero", O_RDWR | O_CLOEXEC) < 0) _exit(6);
    _exit(0);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WEXITSTATUS(status) == 0);
  REQUIRE_OK(delegate_cgroup(path, 1000));
  REQUIRE_OK(update([](Resources& u) { u.pids_limit = -1; }));
  Reaped sleeper(spawn_sleeper(path));
  auto stats = read_cgroup_stats(path);
  REQUIRE_OK(stats);
  CHECK(stats->memory.memory.usage > 0);
  CHECK(stats->memory.memory.limit == kNoLimit);
  CHECK(stats->cpu.total > 0);
  CHECK(stats->pids.current == 2);
  Resources low;
  low.memory_limit = 4096;
  low.memory_check_before_update = true;
  auto rejected = update_cgroup(path, low);
  CHECK(!rejected);
  if (!rejected) CHECK(rejected.error().message().starts_with("rejecting memory limit 4096"));
  REQUIRE_OK(destroy_cgroup(path));
}

TEST_CASE("a shorter period below a parent's quota: the kernel's order is found") {
  NEEDS_CGROUPS();
  if (find(host_hierarchies(), "cpu") == nullptr) return;
  const std::string pod = kParent + "/pod", path = pod + "/container";
  Resources r;
  r.cpu_quota = 50000;
  r.cpu_period = 100000;
  REQUIRE_OK(create_cgroup(pod, r));
  REQUIRE_OK(create_cgroup(path, r));
  r.cpu_quota = 5000;
  r.cpu_period = 10000;
  REQUIRE_OK(update_cgroup(path, r));
  REQUIRE(cgroup_value("cpu", path, "cpu.cfs_period_us") == "10000");
  r.cpu_quota = 9000;  // more than the parent has
  REQUIRE(!update_cgroup(path, r));
  REQUIRE_OK(destroy_cgroup(pod));
}

TEST_CASE("device rules of a running cgroup change") {
  NEEDS_CGROUPS();
  if (find(host_hierarchies(), "devices") == nullptr) return;
  const std::string path = kParent + "/devices";
  Resources r;
  r.devices = make_default_spec().resources.devices;
  REQUIRE_OK(create_cgroup(path, r));
  REQUIRE_OK(create_cgroup(path + "/below", {}));  // with children the kernel refuses to start afresh ("a")
  r.devices = {{false, 'a', {}, {}, "rwm"}, {true, 'c', 1, 3, "rw"}};
  REQUIRE_OK(update_cgroup(path, r));
  REQUIRE(cgroup_value("devices", path, "devices.list") == "c 1:3 rw");
  REQUIRE_OK(update_cgroup(path, {}));
  REQUIRE(cgroup_value("devices", path, "devices.list") == "c 1:3 rw");
  REQUIRE_OK(destroy_cgroup(path));
}

TEST_CASE("freeze, update while frozen, thaw, signal") {
  NEEDS_CGROUPS();
  const std::string path = kParent + "/freezer";
  REQUIRE(!is_cgroup_frozen(path).value());
  REQUIRE(is_cgroup_empty(path).value());
  REQUIRE_OK(create_cgroup(path, {}));
  REQUIRE(is_cgroup_empty(path).value());
  Reaped child(spawn_sleeper(path));
  REQUIRE(!is_cgroup_empty(path).value());
  REQUIRE_OK(freeze_cgroup(path));
  REQUIRE(is_cgroup_frozen(path).value());
  if (has_controller("pids")) {
    Resources r;
    r.pids_limit = 12;
    REQUIRE_OK(update_cgroup(path, r));
    REQUIRE(cgroup_value("pids", path, "pids.max") == "12");
  }
  REQUIRE_OK(signal_cgroup(path, 0));
  REQUIRE_OK(signal_cgroup(path, SIGUSR1));  // the pause stays; on v1 the signal waits for its end, v2 lets them die
  REQUIRE(is_cgroup_frozen(path).value());
  if (find(host_hierarchies(), "freezer") != nullptr) REQUIRE(process_state(child.pid) != 'Z');
  REQUIRE_OK(thaw_cgroup(path));
  REQUIRE(!is_cgroup_frozen(path).value());
  REQUIRE(WTERMSIG(child.wait()) == SIGUSR1);
  REQUIRE_OK(destroy_cgroup(path));
  REQUIRE(is_gone(path));
}

TEST_CASE("a parent's freeze is not the cgroup's own; SIGKILL ends what is frozen, below too") {
  NEEDS_CGROUPS();
  const std::string pod = kParent + "/frozen-pod", path = pod + "/container";
  REQUIRE_OK(create_cgroup(path, {}));
  Reaped child(spawn_sleeper(path));
  REQUIRE_OK(freeze_cgroup(pod));
  REQUIRE(is_cgroup_frozen(pod).value());
  REQUIRE(!is_cgroup_frozen(path).value());
  REQUIRE_OK(signal_cgroup(pod, SIGKILL));
  REQUIRE(WTERMSIG(child.wait()) == SIGKILL);
  REQUIRE_OK(destroy_cgroup(pod));
}

TEST_CASE("an existing cgroup is replaced, reused or joined") {
  NEEDS_CGROUPS();
  if (!has_controller("pids")) return;
  const std::string path = kParent + "/existing";
  Resources r;
  r.pids_limit = 77;
  REQUIRE_OK(create_cgroup(path, r));
  REQUIRE_OK(create_cgroup(path, {}, ExistingCgroup::reuse));
  REQUIRE(cgroup_value("pids", path, "pids.max") == "77");
  REQUIRE_OK(create_cgroup(path, {}));
  REQUIRE(cgroup_value("pids", path, "pids.max") == "max");
  Reaped child(spawn_sleeper(path));
  auto busy = create_cgroup(path, r, ExistingCgroup::reuse);
  REQUIRE(!busy);
  REQUIRE(busy.error().message().find("container's cgroup is not empty") != std::string::npos);
  REQUIRE_OK(create_cgroup(path, r, ExistingCgroup::join));
  REQUIRE(cgroup_value("pids", path, "pids.max") == "77");
  // A failure leaves what was there before.
  r.cpuset_cpus = "9999";
  REQUIRE(!create_cgroup(path, r, ExistingCgroup::join));
  REQUIRE(kill(child.pid, 0) == 0);
  REQUIRE(!is_cgroup_empty(path).value());
  REQUIRE_OK(destroy_cgroup(path));
}

TEST_CASE("a child is born in the hybrid hierarchy, and exec follows") {
  NEEDS_CGROUPS();
  const std::string path = kParent + "/hybrid";
  auto birthplace = make_hybrid_birthplace(path);
  REQUIRE_OK(birthplace);
  if (!birthplace->valid()) return;
  REQUIRE(!open_cgroup_entrance(path));
  clone_args arguments = {};
  arguments.flags = CLONE_INTO_CGROUP;
  arguments.exit_signal = SIGCHLD;
  arguments.cgroup = static_cast<__u64>(birthplace->get());
  auto pid = static_cast<pid_t>(syscall(SYS_clone3, &arguments, sizeof(arguments)));
  if (pid == 0) {
    for (;;) pause();
  }
  REQUIRE(pid > 0);
  Reaped child(pid);
  REQUIRE_OK(create_cgroup(path, {}));
  auto text = read_file("/proc/" + std::to_string(pid) + "/cgroup");
  REQUIRE_OK(text);
  REQUIRE(text->ends_with("\n0::/" + path + "\n"));
  auto entrance = open_cgroup_entrance(path);
  REQUIRE_OK(entrance);
  REQUIRE(entrance->unified.valid());
  REQUIRE_OK(destroy_cgroup(path));
  REQUIRE(WTERMSIG(child.wait()) == SIGKILL);
  REQUIRE(is_gone(path));
}

TEST_CASE("exec into sub-cgroups") {
  NEEDS_CGROUPS();
  const std::string path = kParent + "/sub";
  REQUIRE_OK(create_cgroup(path, {}));
  auto all = host_hierarchies();
  auto entrance = [&](const SubCgroups& wanted) { return open_cgroup_entrance(path, wanted); };
  REQUIRE_OK(entrance({{"", "/"}}));
  auto missing = entrance({{"", "nonexistent"}});
  REQUIRE(!missing);
  REQUIRE(missing.error().error_number() == ENOENT);
  REQUIRE(entrance({{"", ".."}}).error().message() == "bad sub cgroup path: ..");
  REQUIRE(entrance({{"whaaat", "/"}}).error().message().find("unknown controller ") != std::string::npos);
  if (const auto* cpu = find(all, "cpu"); cpu != nullptr) {
    REQUIRE(mkdir((cpu->mount_point + "/" + path + "/foo").c_str(), 0755) == 0);
    REQUIRE_OK(entrance({{"cpu", "foo"}}));
    REQUIRE(!entrance({{"", "foo"}}));
    REQUIRE(!entrance({{"pids", "foo"}}));
  }
  REQUIRE_OK(destroy_cgroup(path));
}

TEST_CASE("out-of-memory events") {
  NEEDS_CGROUPS();
  if (!has_controller("memory")) return;
  const std::string path = kParent + "/oom-events";
  Resources r;
  r.memory_limit = 16 << 20;
  REQUIRE(!OomEvents::open(path));
  REQUIRE_OK(create_cgroup(path, r));
  auto events = OomEvents::open(path);
  REQUIRE_OK(events);
  auto news = [&](int timeout) {
    struct pollfd waiting{events->fd().get(), POLLIN, 0};
    poll(&waiting, 1, timeout);
    auto taken = events->take();
    REQUIRE_OK(taken);
    return *taken;
  };
  REQUIRE(!news(0).oom);
  pid_t pid = fork();
  if (pid == 0) {
    if (!enter_cgroup(path)) _exit(1);
    std::size_t size = 128u << 20;
    auto memory = static_cast<volatile char*>(std::malloc(size));
    for (std::size_t at = 0; memory != nullptr && at < size; at += 4096) memory[at] = 1;
    _exit(2);
  }
  Reaped child(pid);
  bool seen = false;
  for (int i = 0; i < 100 && !seen; ++i) seen = news(100).oom;  // v2 also wakes us when the process enters
  REQUIRE(seen);
  child.wait();
  (void)news(100);
  REQUIRE(!news(0).oom);
  REQUIRE_OK(destroy_cgroup(path));
  auto last = news(10'000);
  REQUIRE(last.gone);
  REQUIRE(!last.oom);
}

TEST_CASE("statistics of a live cgroup, its directories") {
  NEEDS_CGROUPS();
  const std::string path = kParent + "/stats";
  REQUIRE(read_cgroup_stats(path).error().code() == ErrorCode::not_found);
  Resources r;
  auto all = host_hierarchies();
  if (has_controller("memory")) r.memory_limit = 64 << 20;
  if (has_controller("pids")) r.pids_limit = 10;
  REQUIRE_OK(create_cgroup(path, r));
  Reaped child(spawn_sleeper(path));
  auto stats = read_cgroup_stats(path);
  REQUIRE_OK(stats);
  if (has_controller("memory")) {
    CHECK(stats->memory.memory.limit == 64u << 20);
    CHECK(!stats->memory.raw.empty());
    CHECK(stats->memory.memory.usage > 0);
  }
  if (has_controller("pids")) {
    CHECK(stats->pids.current == 2);
    CHECK(stats->pids.limit == 10);
  }
  if (find(all, "cpuacct") != nullptr) {
    CHECK(stats->cpu.total > 0);
    CHECK(!stats->cpu.percpu.empty());
    CHECK(stats->cpu.percpu.size() == stats->cpu.percpu_user.size());
  }
  if (find(all, "cpuset") != nullptr) CHECK(!stats->cpuset.cpus.empty());
  auto directories = cgroup_directories(path);
  REQUIRE_OK(directories);
  REQUIRE(std::ranges::is_sorted(*directories, {}, &CgroupDirectory::controller));
  for (const CgroupDirectory& directory : *directories) {
    INFO(directory.controller);
    CHECK(access(directory.path.c_str(), F_OK) == 0);
  }
  REQUIRE_OK(destroy_cgroup(path));
}

TEST_CASE("a limit that the kernel has no file for names its field, and nothing is left") {
  NEEDS_CGROUPS();
  auto all = host_hierarchies();
  const auto* blkio = find(all, "blkio");
  if (blkio == nullptr || access((blkio->mount_point + "/blkio.leaf_weight").c_str(), F_OK) == 0) return;
  const std::string path = kParent + "/no-file";
  Resources r;
  r.block_io.leaf_weight = 100;
  auto created = create_cgroup(path, r);
  REQUIRE(!created);
  REQUIRE(created.error().code() == ErrorCode::unsupported);
  REQUIRE(created.error().message().find("blockIO.leafWeight") != std::string::npos);
  REQUIRE(is_gone(path));
}
