// SPDX-License-Identifier: Apache-2.0
// Cgroups: pure parts everywhere; live ones as root, in cgroups of their own that are gone afterwards.

#include "catch.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include <dray/core/process.hpp>
#include <dray/runtime/cgroup.hpp>

#include "live_cgroup.hpp"

using namespace dray;
using namespace dray::runtime;
using cgroup::Hierarchy;

TEST_CASE("hierarchies are found in mountinfo") {
  auto hybrid = cgroup::parse_hierarchies(
      "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
      "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:3 master:1 - cgroup cgroup rw,cpu,cpuacct\n"
      "33 31 0:30 / /sys/fs/cgroup/with\\040space rw - cgroup none rw,xattr,name=systemd\n"
      "34 31 0:29 / /elsewhere rw - cgroup cgroup rw,cpu,cpuacct\n"
      "35 31 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
      "garbage\n36 31 - cgroup\n");
  REQUIRE(hybrid.size() == 3);
  REQUIRE(hybrid[2].unified);
  REQUIRE(hybrid[2].mount_point == "/sys/fs/cgroup/unified");
  REQUIRE(hybrid[0].name == "cpu,cpuacct");
  REQUIRE(hybrid[0].mount_point == "/sys/fs/cgroup/cpu,cpuacct");
  REQUIRE(hybrid[0].has("cpuacct"));
  REQUIRE(hybrid[1].name == "systemd");
  REQUIRE(hybrid[1].mount_point == "/sys/fs/cgroup/with space");
  auto pure = cgroup::parse_hierarchies("35 31 0:31 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n");
  REQUIRE(pure.size() == 1);
  REQUIRE(pure[0].unified);
  REQUIRE(pure[0].name.empty());
  REQUIRE(cgroup::parse_hierarchies("").empty());
}

TEST_CASE("cgroup paths that leave their parent are refused") {
  for (const char* bad : {"", "/", "..", "a/..", "a/../b", "a//b", "./a", "a\nb"}) {
    INFO(bad);
    REQUIRE(!cgroup::clean_path(bad));
    REQUIRE(!create_cgroup(bad, {}));
    REQUIRE(!destroy_cgroup(bad));
    REQUIRE(!open_cgroup_entrance(bad));
  }
  REQUIRE(cgroup::clean_path("/dray/x").value() == "dray/x");
}

TEST_CASE("a relative cgroup path is below the caller's own cgroup") {
  const auto v2 = cgroup::parse_hierarchies("35 31 0:31 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  auto on_v2 = [&](const char* own, const char* wanted) { return cgroup::resolve_path(v2, own, wanted).value(); };
  REQUIRE(on_v2("0::/\n", "x") == "x");
  REQUIRE(on_v2("0::/a/b.scope\n", "x") == "a/x");
  REQUIRE(on_v2("0::/a.service\n", "x/y") == "x/y");
  REQUIRE(on_v2("0::/a/b.scope\n", "/x/y") == "x/y");
  REQUIRE(on_v2("0::/../other\n", "x") == "x");
  REQUIRE(!cgroup::resolve_path(v2, "0::/a/b\n", "../x"));
  REQUIRE(!cgroup::resolve_path(v2, "0::/a/b\n", ""));

  const auto v1 = cgroup::parse_hierarchies(
      "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
      "33 31 0:30 /docker/1 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
      "34 31 0:31 / /sys/fs/cgroup/systemd rw - cgroup none rw,name=systemd\n"
      "35 31 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
  auto on_v1 = [&](const char* own, const char* wanted) { return cgroup::resolve_path(v1, own, wanted).value(); };
  REQUIRE(on_v1("4:cpu,cpuacct:/\n3:memory:/docker/1\n2:name=systemd:/\n0::/\n", "x") == "x");
  REQUIRE(on_v1("4:cpu,cpuacct:/a\n3:memory:/docker/1/a\n2:name=systemd:/a\n0::/a\n", "x") == "a/x");
  REQUIRE(on_v1("4:cpuacct,cpu:/a/b\n3:memory:/docker/1/c\n2:name=systemd:/\n0::/d\n", "x") ==
          "x\ncpu,cpuacct:a/b\nmemory:c\nunified:d");
  REQUIRE(on_v1("4:cpuacct,cpu:/a/b\n", "/x") == "x");
}

TEST_CASE("a cgroup whose directories differ between the hierarchies is found in each", "[live]") {
  if (!cgroup::hierarchies()) return;
  const auto all = *cgroup::hierarchies();
  if (all.size() < 2 || all.front().unified || geteuid() != 0) return;
  const std::string name = "dray-unit-moved-" + std::to_string(getpid());
  const std::string first = all.front().mount_point + "/" + name + "-base";
  REQUIRE(mkdir(first.c_str(), 0755) == 0);
  const std::string path = name + "\n" + all.front().name + ":" + name + "-base";
  REQUIRE(create_cgroup(path, {}));
  REQUIRE(access((first + "/" + name).c_str(), F_OK) == 0);
  REQUIRE(access((all[1].mount_point + "/" + name).c_str(), F_OK) == 0);
  REQUIRE(cgroup_mount_points(path).value().front().host_path == first + "/" + name);
  REQUIRE(destroy_cgroup(path));
  REQUIRE(access((first + "/" + name).c_str(), F_OK) != 0);
  REQUIRE(access((all[1].mount_point + "/" + name).c_str(), F_OK) != 0);
  REQUIRE(rmdir(first.c_str()) == 0);
}

TEST_CASE("device rules fold into what v1's controller would hold") {
  auto rule = [](bool allow, char type, std::optional<std::int64_t> major, std::optional<std::int64_t> minor,
                 const char* access) { return DeviceRule{allow, type, major, minor, access}; };
  auto policy =
      cgroup::device_policy({rule(false, 'a', {}, {}, "rwm"), rule(true, 'c', 1, 3, "r"), rule(true, 'c', 1, 3, "w"),
                             rule(true, 'b', {}, {}, "m"), rule(false, 'b', {}, {}, "m"), rule(false, 'c', 9, 9, "r")});
  REQUIRE_OK(policy);
  REQUIRE(!policy->allow_by_default);
  REQUIRE(policy->exceptions.size() == 1);
  REQUIRE(policy->exceptions[0].access == 6);
  REQUIRE(!cgroup::device_policy({rule(true, 'x', 1, 1, "r")}));
  REQUIRE(!cgroup::device_policy({rule(true, 'c', 1, 1, "rx")}));
  REQUIRE(!cgroup::device_policy({rule(true, 'c', -7, 1, "r")}));
  REQUIRE(!cgroup::device_policy({rule(true, 'c', 1, 1LL << 33, "r")}));
}

TEST_CASE("a cgroup is made with its limits, entered, killed and removed") {
  NEEDS_CGROUPS();
  auto all = host_hierarchies();
  const std::string path = kParent + "/one";
  Resources r;
  if (find(all, "memory") != nullptr) r.memory_limit = 64 << 20;
  if (find(all, "cpu") != nullptr) {
    r.cpu_shares = 512;
    r.cpu_period = 50000;
    r.cpu_quota = 25000;
  }
  if (find(all, "cpuset") != nullptr) r.cpuset_cpus = "0";
  if (find(all, "pids") != nullptr) r.pids_limit = 33;
  r.devices = make_default_spec().resources.devices;
  REQUIRE_OK(create_cgroup(path, r));
  auto value = [&](const char* controller, const char* file) {
    const Hierarchy* hierarchy = find(all, controller);
    auto text =
        read_file((hierarchy == nullptr ? all[0].mount_point : hierarchy->mount_point) + "/" + path + "/" + file);
    REQUIRE_OK(text);
    return text->substr(0, text->size() - 1);
  };
  if (!all[0].unified) {
    if (r.memory_limit) REQUIRE(value("memory", "memory.limit_in_bytes") == std::to_string(64 << 20));
    if (r.cpu_quota) REQUIRE(value("cpu", "cpu.cfs_quota_us") == "25000");
    if (r.cpu_shares) REQUIRE(value("cpu", "cpu.shares") == "512");
    if (!r.cpuset_cpus.empty()) REQUIRE(value("cpuset", "cpuset.cpus") == "0");
    if (!r.cpuset_cpus.empty()) REQUIRE(!value("cpuset", "cpuset.mems").empty());
    if (r.pids_limit) REQUIRE(value("pids", "pids.max") == "33");
    if (find(all, "devices") != nullptr)
      REQUIRE(value("devices", "devices.list").find("c 1:3 rwm") != std::string::npos);
  }
  pid_t child = spawn_sleeper(path);
  auto busy = create_cgroup(path, r);
  REQUIRE(!busy);
  REQUIRE(busy.error().code() == ErrorCode::in_use);
  auto pids = cgroup_processes(path);
  REQUIRE_OK(pids);
  REQUIRE(pids->size() == 2);
  REQUIRE(!oom_killed(path));
  REQUIRE_OK(destroy_cgroup(path));
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WTERMSIG(status) == SIGKILL);
  for (const Hierarchy& hierarchy : all) REQUIRE(access((hierarchy.mount_point + "/" + path).c_str(), F_OK) != 0);
  REQUIRE_OK(destroy_cgroup(path));
  REQUIRE(cgroup_processes(path)->empty());
}

TEST_CASE("a stale cgroup is replaced, one made inside is removed, a paused one is killed") {
  NEEDS_CGROUPS();
  auto all = host_hierarchies();
  const std::string path = kParent + "/two";
  Resources r;
  REQUIRE_OK(create_cgroup(path, r));
  REQUIRE_OK(create_cgroup(path + "/inner/deep", r));
  REQUIRE_OK(create_cgroup(path, r));
  REQUIRE_OK(create_cgroup(path + "/inner", r));
  pid_t child = spawn_sleeper(path + "/inner");
  const Hierarchy* freezer = find(all, "freezer");
  std::string file = freezer != nullptr ? freezer->mount_point + "/" + path + "/freezer.state"
                                        : all[0].mount_point + "/" + path + "/cgroup.freeze";
  auto fd = open_file(file, O_WRONLY);
  if (fd) REQUIRE_OK(write_all(*fd, freezer != nullptr ? "FROZEN" : "1"));
  REQUIRE_OK(destroy_cgroup(path));
  REQUIRE(waitpid(child, nullptr, 0) == child);
}

TEST_CASE("a limit that cannot be set leaves nothing") {
  NEEDS_CGROUPS();
  auto all = host_hierarchies();
  const std::string path = kParent + "/three";
  Resources r;
  r.cpuset_cpus = "9999";
  REQUIRE(!create_cgroup(path, r));
  r = {};
  r.memory_limit = 1 << 20;
  r.memory_swap = 1;
  REQUIRE(!create_cgroup(path, r));
  for (const Hierarchy& hierarchy : all) REQUIRE(access((hierarchy.mount_point + "/" + path).c_str(), F_OK) != 0);
}

TEST_CASE("the OOM killer's work is seen") {
  NEEDS_CGROUPS();
  if (!has_controller("memory")) return;
  const std::string path = kParent + "/oom";
  Resources r;
  r.memory_limit = 16 << 20;
  REQUIRE_OK(create_cgroup(path, r));
  pid_t child = fork();
  if (child == 0) {
    if (!enter_cgroup(path)) _exit(1);
    std::size_t size = 128u << 20;
    auto memory = static_cast<volatile char*>(std::malloc(size));
    for (std::size_t at = 0; memory != nullptr && at < size; at += 4096) memory[at] = 1;
    _exit(2);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
  REQUIRE(WTERMSIG(status) == SIGKILL);
  REQUIRE(oom_killed(path));
  REQUIRE_OK(destroy_cgroup(path));
  REQUIRE(!oom_killed(path));
}

TEST_CASE("v1 without the controller of a limit says so") {
  Resources r;
  r.pids_limit = 5;
  auto result = cgroup::create_v1({}, "x", r, ExistingCgroup::replace);
  REQUIRE(!result);
  REQUIRE(result.error().code() == ErrorCode::unsupported);
  REQUIRE(result.error().message().find("\"pids\"") != std::string::npos);
}

TEST_CASE("v2: device program, missing controllers") {
  struct stat status = {};
  std::string mount = "/sys/fs/cgroup/unified";
  if (stat((mount + "/cgroup.controllers").c_str(), &status) != 0) mount = "/sys/fs/cgroup";
  if (geteuid() != 0 || stat((mount + "/cgroup.controllers").c_str(), &status) != 0) {
    WARN("skipped: no cgroup2 here");
    return;
  }
  Hierarchy unified;
  unified.mount_point = mount;
  unified.unified = true;
  const std::string path = kParent + "-v2/leaf";
  auto controllers = read_file(mount + "/cgroup.controllers");
  REQUIRE_OK(controllers);
  if (controllers->find("memory") == std::string::npos) {
    Resources limit;
    limit.memory_limit = 64 << 20;
    auto missing = cgroup::create_v2(unified, path, limit, ExistingCgroup::replace);
    REQUIRE(!missing);
    REQUIRE(missing.error().message().find("\"memory\"") != std::string::npos);
    REQUIRE(access((mount + "/" + path).c_str(), F_OK) != 0);
  }
  Resources r;
  r.devices = make_default_spec().resources.devices;
  r.devices.push_back(DeviceRule{false, 'c', 1, 9, "rwm"});
  auto created = cgroup::create_v2(unified, path, r, ExistingCgroup::replace);
  REQUIRE_OK(created);
  pid_t child = fork();
  if (child == 0) {
    auto procs = open_file(mount + "/" + path + "/cgroup.procs", O_WRONLY);
    if (!procs || !write_all(*procs, "0")) _exit(1);
    if (open("/dev/null", O_RDWR) < 0) _exit(2);
    if (open("/dev/urandom", O_RDONLY) >= 0 || errno != EPERM) _exit(3);  // taken back by the last rule
    std::string node = "/tmp/dray-node-" + std::to_string(getpid());
    if (mknod(node.c_str(), S_IFCHR | 0600, makedev(1, 1)) != 0) _exit(4);  // mem: may be made …
    int opened = open(node.c_str(), O_RDONLY);
    int number = errno;
    unlink(node.c_str());
    if (opened >= 0 || number != EPERM) _exit(5);  // … not opened
    _exit(0);
  }
  int exit_status = 0;
  REQUIRE(waitpid(child, &exit_status, 0) == child);
  CHECK(WEXITSTATUS(exit_status) == 0);
  auto root = open_file(mount, O_PATH | O_DIRECTORY);
  REQUIRE_OK(root);
  REQUIRE_OK(cgroup::remove_directory(*root, kParent + "-v2"));
}
