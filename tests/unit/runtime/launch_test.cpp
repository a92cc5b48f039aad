// SPDX-License-Identifier: Apache-2.0
// Containers launched for real. Needs root; says so and passes without.
#include "busybox_container.hpp"

#include <poll.h>

#include "child_plan.hpp"

namespace {

std::string drain(int fd) {
  std::string text;
  char buffer[512];
  for (;;) {
    ssize_t count = ::read(fd, buffer, sizeof buffer);
    if (count <= 0) return text;  // EIO: the last slave is closed
    text.append(buffer, static_cast<std::size_t>(count));
  }
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("a container runs its command", "[runtime]") {
  if (!can_run()) return;
  Fixture box;
  SECTION("exit code and output") {
    box.sh("echo hello; exit 7");
    Outcome outcome = box.run();
    CHECK(outcome.output == "hello\n");
    CHECK(outcome.code == 7);
  }
  SECTION("namespaces: PID 1, host name, own processes only") {
    box.spec.process.args = {"/bin/sh", "-c", "echo $$; hostname; echo /proc/[0-9]*; cat /proc/1/cgroup"};
    Outcome outcome = box.run();
    CHECK(contains(outcome.output, "1\ntestbox\n/proc/1\n"));
    CHECK_FALSE(contains(outcome.output, "dray-unit"));
  }
  SECTION("user, groups, capabilities, no new privileges, umask") {
    box.spec.process.user = {1000, 1001, {7, 8}, {}};
    box.spec.process.capabilities.effective = box.spec.process.capabilities.permitted = {};
    box.spec.process.no_new_privileges = true;
    box.sh("id; umask; cat /proc/self/status");
    Outcome outcome = box.run();
    CHECK(contains(outcome.output, "uid=1000 gid=1001 groups=7,8"));
    CHECK(contains(outcome.output, "0022\n"));
    CHECK(contains(outcome.output,
                   "CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n"
                   "CapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1"));
  }
  SECTION("resource limits") {
    box.spec.process.rlimits = {{"RLIMIT_NOFILE", 77, 88}};
    box.sh("ulimit -n; ulimit -Hn");
    CHECK(box.run().output == "77\n88\n");
  }
  SECTION("seccomp with and without no_new_privs") {
    box.spec.seccomp = default_seccomp(box.spec.process.capabilities.bounding);
    box.spec.process.no_new_privileges = GENERATE(false, true);
    box.sh("cat /proc/self/status; mount -t tmpfs x /tmp");
    Outcome outcome = box.run();
    CHECK(contains(outcome.output, "Seccomp:\t2"));
    CHECK(contains(outcome.output, "ermission denied"));
  }
  SECTION("sysctl of its namespaces") {
    box.spec.sysctl = {{"net.ipv4.ip_unprivileged_port_start", "81"}, {"kernel.msgmax", "4096"}};
    box.sh("cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/msgmax");
    CHECK(box.run().output == "81\n4096\n");
  }
}

TEST_CASE("no descriptor of the host's is in the container", "[runtime]") {
  if (!can_run()) return;
  Fixture box;
  int leak = ::open("/etc", O_RDONLY | O_DIRECTORY);  // not close-on-exec
  box.sh("ls -l /proc/1/fd; true");  // without pipe: the shell may be PID 1 itself and hold its ends for a moment
  box.use_init = GENERATE(false, true);
  Outcome outcome = box.run();
  ::close(leak);
  INFO(outcome.output);
  CHECK_FALSE(contains(outcome.output, "/etc"));
  CHECK_FALSE(contains(outcome.output, "socket:"));
  std::size_t links = 0;
  for (std::size_t at = 0; (at = outcome.output.find(" -> ", at)) != std::string::npos; ++at) ++links;
  CHECK(links == 3);
}

TEST_CASE("the container's file tree", "[runtime]") {
  if (!can_run()) return;
  Fixture box;
  SECTION("masked and read-only paths, devices, links") {
    box.sh(
        "cat /proc/kcore | wc -c; ls /proc/acpi /sys/firmware | grep -v :; echo x > /proc/sys/kernel/hostname; ls -l "
        "/dev; "
        "echo out > /dev/stdout; echo > /dev/null");
    Outcome outcome = box.run();
    INFO(outcome.output);
    CHECK(contains(outcome.output, "0\n"));
    CHECK(contains(outcome.output, "ead-only file system"));
    CHECK(contains(outcome.output, "fd -> /proc/self/fd"));
    CHECK(contains(outcome.output, "ptmx -> pts/ptmx"));
    CHECK(contains(outcome.output, "1,   3"));
    CHECK(contains(outcome.output, "out\n"));
  }
  SECTION("the host's mounts are gone") {
    box.sh("cat /proc/self/mountinfo");
    Outcome outcome = box.run();
    INFO(outcome.output);
    CHECK_FALSE(contains(outcome.output, "/mnt/"));
    CHECK(contains(outcome.output, "/sys/fs/cgroup"));
    // "../" would be a cgroup above the namespace's root.
    CHECK_FALSE(contains(outcome.output, "/.. "));
  }
  SECTION("read-only root, bind mounts and tmpfs") {
    box.spec.rootfs_readonly = true;
    ::mkdir((box.root + "/tmp/source").c_str(), 0755);
    REQUIRE_OK(write_file_atomically(box.root + "/tmp/source/file", "content\n", 0644, Durability::none));
    box.spec.mounts.push_back({"/new/deep/dir", "bind", box.root + "/tmp/source", {"rbind", "ro"}});
    box.spec.mounts.push_back({"/new/file", "bind", box.root + "/tmp/source/file", {"bind"}});
    box.spec.mounts.push_back({"/scratch", "tmpfs", "tmpfs", {"size=1m", "mode=1777", "noexec"}});
    box.sh(
        "cat /new/deep/dir/file; echo a > /new/deep/dir/file; echo b > /new/file; cat /new/deep/dir/file; echo > /x; "
        "echo c > /scratch/c; stat -c %a /scratch");
    Outcome outcome = box.run();
    INFO(outcome.output);
    CHECK(contains(outcome.output, "content\n"));
    CHECK(contains(outcome.output, "/new/deep/dir/file: Read-only file system"));
    CHECK(contains(outcome.output, "b\n"));
    CHECK(contains(outcome.output, "can't create /x: Read-only file system"));
    CHECK(contains(outcome.output, "1777\n"));
  }
  SECTION("a missing working directory is made") {
    box.spec.process.cwd = "/srv/app";
    box.sh("pwd");
    CHECK(box.run().output == "/srv/app\n");
  }
}

TEST_CASE("hostile roots are refused", "[runtime]") {
  if (!can_run()) return;
  Fixture box;
  SECTION("working directory through a descriptor") {
    (void)!::symlink("/proc/self/fd/7", (box.root + "/link").c_str());
    for (const char* path :
         {"/proc/self/fd/3", "/proc/self/fd/4", "/proc/self/fd/9/..", "/proc/1/fd/5", "/proc/self/cwd", "/link"}) {
      INFO(path);
      box.spec.process.cwd = path;
      auto launched = box.start();
      // "fd/9/.." is /proc/self/fd once cleaned: a harmless directory of the container's own.
      if (launched) {
        CHECK(std::string(path) == "/proc/self/fd/9/..");
        box.finish(*launched);
      } else {
        CHECK(contains(launched.error().message(), "working directory"));
      }
    }
  }
  SECTION("/proc, /sys or /dev is a symlink") {
    const char* name = GENERATE("/proc", "/sys", "/dev");
    ::mkdir((box.root + "/elsewhere").c_str(), 0755);
    REQUIRE(::symlink("/elsewhere", (box.root + name).c_str()) == 0);
    CHECK(contains(box.error().message(), "must be mounted on ordinary directory"));
    CHECK(*read_file("/proc/sys/kernel/hostname") != "testbox\n");
  }
  SECTION("mounts over /proc") {
    (void)!::symlink("/proc", (box.root + "/alias").c_str());
    const char* place = GENERATE("/proc", "/proc/self/attr", "/proc/sys", "//proc/.", "/alias/sys", "/alias");
    INFO(place);
    ::mkdir((box.root + "/tmp/source").c_str(), 0755);
    box.spec.mounts.push_back({place, "bind", box.root + "/tmp/source", {"bind"}});
    CHECK(contains(box.error().message(), "inside /proc"));
  }
  SECTION("symlinks at mount points lead nowhere outside") {
    TempDir outside = *TempDir::create("/tmp", "dray-launch-outside-");
    REQUIRE(::symlink(("/../../../.." + outside.path()).c_str(), (box.root + "/data").c_str()) == 0);
    ::mkdir((box.root + "/tmp/source").c_str(), 0755);
    box.spec.mounts.push_back({"/data/made/here", "bind", box.root + "/tmp/source", {"bind"}});
    if (auto launched = box.start()) box.finish(*launched);
    CHECK(::access((outside.path() + "/made").c_str(), F_OK) != 0);
  }
}

TEST_CASE("commands that cannot be executed have Docker's words", "[runtime]") {
  if (!can_run()) return;
  Fixture box;
  struct Row {
    const char* command;
    ErrorCode code;
    const char* message;
  };
  REQUIRE_OK(write_file_atomically(box.root + "/plain", "text\n", 0644, Durability::none));
  REQUIRE_OK(write_file_atomically(box.root + "/bin/script", "#!/no/such\n", 0755, Durability::none));
  REQUIRE_OK(write_file_atomically(box.root + "/garbage", "text\n", 0755, Durability::none));
  const Row rows[] = {
      {"foo", ErrorCode::command_not_found, "exec: \"foo\": executable file not found in $PATH"},
      {"/foo", ErrorCode::command_not_found, "exec: \"/foo\": stat /foo: no such file or directory"},
      {"/etc", ErrorCode::not_executable, "exec: \"/etc\": is a directory"},
      {"/plain", ErrorCode::not_executable, "exec: \"/plain\": permission denied"},
      {"/bin/script", ErrorCode::command_not_found, "exec /bin/script: no such file or directory"},
      {"/garbage", ErrorCode::not_executable, "exec /garbage: exec format error"},
  };
  box.use_init = GENERATE(false, true);
  for (const auto& row : rows) {
    box.spec.process.args = {row.command};
    Error error = box.error();
    CHECK(error.message() == row.message);
    CHECK(error.code() == row.code);
  }
}

TEST_CASE("the program that launches is out of the container's reach", "[runtime]") {
  if (!can_run()) return;
  Fixture box;
  // CVE-2019-5736: the interpreter is dray-init, on a read-only mount, not this test.
  REQUIRE_OK(write_file_atomically(box.root + "/self", "#!/proc/self/exe\n", 0755, Durability::none));
  box.spec.process.args = {"/self"};
  auto launched = box.start();
  if (launched) {
    Outcome outcome = box.finish(*launched);
    CHECK_FALSE(contains(outcome.output, "Catch"));
  }
  // Nor can a container write to the init that runs as its PID 1.
  box.use_init = true;
  box.sh("echo x >> /proc/1/exe");
  Outcome outcome = box.run();
  CHECK((contains(outcome.output, "ead-only") || contains(outcome.output, "busy")));
}

TEST_CASE("--init reaps and forwards", "[runtime]") {
  if (!can_run()) return;
  Fixture box;
  box.use_init = true;
  SECTION("orphans are reaped, the code is the command's") {
    box.sh("(sleep 0.01 & sleep 0.01 &) ; sleep 0.1; ls -d /proc/[0-9]* | wc -l; echo $$; exit 9");
    Outcome outcome = box.run();
    INFO(outcome.output);
    CHECK(contains(outcome.output, "\n2\n"));
    CHECK(outcome.code == 9);
  }
  SECTION("signals") {
    box.sh("trap 'echo term; exit 4' TERM; echo ready; while :; do sleep 0.02; done");
    auto launched = box.start();
    REQUIRE_OK(launched);
    char ready[6];
    REQUIRE(::read(box.output.get(), ready, sizeof ready) == 6);
    ::kill(launched->pid, SIGTERM);
    Outcome outcome = box.finish(*launched);
    CHECK(contains(outcome.output, "term"));
    CHECK(outcome.code == 4);
  }
  SECTION("a killed command") {
    box.sh("kill -9 $$");
    CHECK(box.run().code == 137);
  }
}

TEST_CASE("exec joins a running container", "[runtime]") {
  if (!can_run()) return;
  Fixture box;
  box.sh("sleep 100 & wait");
  auto container = box.start();
  REQUIRE_OK(container);
  Outcome outcome =
      box.exec_sh(*container,
                  "hostname; cat /proc/1/comm; ls /proc/self/fd | wc -l; readlink /proc/1/ns/pid > /a; "
                  "readlink /proc/self/ns/pid > /b; cmp /a /b && echo same; cat /proc/self/cgroup; exit 3");
  INFO(outcome.output);
  CHECK(outcome.code == 3);
  CHECK(contains(outcome.output, "testbox\nsh\n4\nsame\n"));
  CHECK_FALSE(contains(outcome.output, "dray-unit"));
  CHECK_FALSE(contains(outcome.output, "/../"));
  auto processes = cgroup_processes(box.spec.cgroups_path);
  REQUIRE_OK(processes);
  CHECK(processes->size() == 2);

  ExecRequest request;
  request.pid = container->pid;
  request.pidfd = container->pidfd;
  request.process = box.spec.process;
  request.cgroups_path = box.spec.cgroups_path;
  request.process.args = {"nope"};
  auto missing = runtime::exec(request);
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code() == ErrorCode::command_not_found);
  request.process.args = {"true"};
  request.process.cwd = "/proc/self/fd/4";
  CHECK_FALSE(runtime::exec(request));
  request.process.cwd = "/missing";
  CHECK_FALSE(runtime::exec(request));
  request.process.cwd = "/";
  request.process.terminal = true;
  request.process.args = {"sh", "-c", "tty; readlink /proc/self/fd/0"};
  auto terminal = runtime::exec(request);
  REQUIRE_OK(terminal);
  CHECK(contains(drain(terminal->console.get()), "/dev/pts/"));
  ::waitpid(terminal->pid, nullptr, 0);
  request.pid = ::getpid();
  CHECK_FALSE(runtime::exec(request));
  box.kill(*container);
  request.pid = container->pid;
  CHECK_FALSE(runtime::exec(request));
}

TEST_CASE("a terminal", "[runtime]") {
  if (!can_run()) return;
  Fixture box;
  box.spec.process.terminal = true;
  box.spec.process.console_rows = 33;
  box.spec.process.console_columns = 99;
  box.sh("tty; stat -c %t /dev/console; stty size; read line; echo got $line; echo x > /dev/tty");
  box.use_init = GENERATE(false, true);
  auto launched = box.start();
  REQUIRE_OK(launched);
  REQUIRE(launched->console.valid());
  REQUIRE(::write(launched->console.get(), "word\n", 5) == 5);
  std::string text = drain(launched->console.get());
  INFO(text);
  CHECK(contains(text, "/dev/"));
  CHECK(contains(text, "88\r\n"));  // the echo of the input may come anywhere
  CHECK(contains(text, "33 99\r\n"));
  CHECK(contains(text, "got word\r\nx\r\n"));
  int status = 0;
  ::waitpid(launched->pid, &status, 0);
  CHECK(status == 0);
}

TEST_CASE("wider containers", "[runtime]") {
  if (!can_run()) return;
  Fixture box;
  SECTION("privileged, in the host's network") {
    box.spec.namespaces.network = {};
    box.spec.masked_paths.clear();
    box.spec.readonly_paths.clear();
    box.spec.process.capabilities.bounding = box.spec.process.capabilities.effective =
        box.spec.process.capabilities.permitted = all_capabilities();
    for (auto& mount : box.spec.mounts) {
      if (mount.type == "sysfs" || mount.type == "cgroup") std::erase(mount.options, "ro");
    }
    box.spec.devices.push_back({"/dev/made/zero", 'c', 1, 5, 0640, 3, 4});
    box.spec.process.oom_score_adj = 500;
    box.sh(
        "readlink /proc/self/ns/net; mount -t tmpfs x /tmp && echo mounted; stat -c '%t:%T %a %u:%g' /dev/made/zero; "
        "cat /proc/self/oom_score_adj; grep CapEff /proc/self/status");
    Outcome outcome = box.run();
    INFO(outcome.output);
    char ours[64] = {};
    REQUIRE(::readlink("/proc/self/ns/net", ours, sizeof ours - 1) > 0);
    CHECK(contains(outcome.output, ours));
    CHECK(contains(outcome.output, "mounted\n1:5 640 3:4\n500\n"));
  }
  SECTION("the network is there when the command starts, and exists while it is configured") {
    FileDescriptor netns;
    FileDescriptor tree(::open_tree(AT_FDCWD, box.root.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
    LaunchRequest request;
    request.spec = &box.spec;
    request.rootfs = tree;
    request.configure_network = [&](FdRef fd) -> Result<void> {
      netns = FileDescriptor(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3));
      return {};
    };
    auto first = launch(request);
    REQUIRE_OK(first);
    ::waitpid(first->pid, nullptr, 0);
    (void)destroy_cgroup(box.spec.cgroups_path);
    // A second one joins it.
    box.spec.namespaces.network = {false, descriptor_path(netns)};
    box.sh("readlink /proc/self/ns/net");
    Outcome outcome = box.run();
    struct stat status;
    REQUIRE(::fstat(netns.get(), &status) == 0);
    CHECK(outcome.output == "net:[" + std::to_string(status.st_ino) + "]\n");
  }
}

TEST_CASE("what fails leaves nothing", "[runtime]") {
  if (!can_run()) return;
  Fixture box;
  SECTION("an error of the network's set-up is the error") {
    FileDescriptor tree(::open_tree(AT_FDCWD, box.root.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
    LaunchRequest request;
    request.spec = &box.spec;
    request.rootfs = tree;
    request.configure_network = [](FdRef netns) -> Result<void> {
      CHECK(netns.valid());
      return fail(ErrorCode::unavailable, "no network today");
    };
    auto launched = launch(request);
    REQUIRE_FALSE(launched);
    CHECK(launched.error().message() == "no network today");
  }
  SECTION("a bind source that is missing") {
    box.spec.mounts.push_back({"/x", "bind", "/no/such/source", {"bind"}});
    CHECK(contains(box.error().message(), "/no/such/source"));
  }
  SECTION("a directory onto a file") {
    box.spec.mounts.push_back({"/bin/busybox", "bind", "/tmp", {"bind"}});
    CHECK(contains(box.error().message(), "at \"/bin/busybox\""));
  }
  SECTION("sysctls of the host") {
    box.spec.sysctl = {{"kernel.core_pattern", "|/evil"}};
    CHECK(contains(box.error().message(), "not in a separate kernel namespace"));
    for (const char* name : {"net.//.kernel.core_pattern", "net/../kernel/core_pattern", "fs.mqueue.//.//.kernel.x"}) {
      box.spec.sysctl = {{name, "|/evil"}};
      CHECK(contains(box.error().message(), "is not the name of a sysctl"));
    }
  }
  CHECK(::waitpid(-1, nullptr, WNOHANG) == -1);
  auto left = cgroup_processes(box.spec.cgroups_path);
  CHECK((!left || left->empty()));
}

TEST_CASE("reports of a process that the container may have got hold of", "[runtime]") {
  for (auto step : {Step::device, Step::sysctl, Step::masked_path, Step::readonly_path, Step::resource_limit,
                    Step::join_namespace, Step::mount_attach, Step::map_ids, Step::mounted, static_cast<Step>(9999)}) {
    for (int index : {-1, 0, 7, 2147483647}) {
      const FileDescriptor self(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
      Pipe start = std::move(make_pipe().value());
      Pipe pipe = std::move(make_pipe().value());
      const ChildFailure failure{step, 5, index};
      REQUIRE(::write(pipe.write_end.get(), &failure, sizeof failure) == sizeof failure);
      CHECK_FALSE(open_gate({start.write_end, pipe.read_end}, ::getpid(), self, "true").has_value());
    }
  }
}

TEST_CASE("a container that holds dray-init's pipe does not hold up who started the command", "[runtime]") {
  Pipe start = std::move(make_pipe().value());
  Pipe pipe = std::move(make_pipe().value());  // its other end stays open, here
  const pid_t pid = ::fork();
  REQUIRE(pid >= 0);
  if (pid == 0) {
    char word;
    if (::read(start.read_end.get(), &word, 1) == 1) ::execlp("sleep", "sleep", "60", nullptr);
    ::_exit(1);
  }
  const FileDescriptor process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  CHECK(open_gate({start.write_end, pipe.read_end}, pid, process, "sleep").has_value());
  CHECK(::waitpid(pid, nullptr, WNOHANG) == 0);
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  // One that has ended without a word.
  CHECK(open_gate({start.write_end, pipe.read_end}, pid, process, "sleep").has_value());
}
