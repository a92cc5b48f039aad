// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "catch.hpp"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <dray/core/process.hpp>
#include <dray/core/rooted_path.hpp>
#include <dray/runtime/cgroup.hpp>
#include <dray/runtime/launch.hpp>

// Real containers from a root file system that holds nothing but busybox.

using namespace dray;
using namespace dray::runtime;

inline bool can_run() {
  if (::geteuid() == 0 && ::access("/bin/busybox", X_OK) == 0) return true;
  WARN("skipped: needs root and /bin/busybox");
  return false;
}

struct Outcome {
  int code = -1;
  std::string output;
};

struct Fixture {
  TempDir directory = *TempDir::create("/tmp", "dray-launch-test-");
  std::string root = directory.path();
  Spec spec = make_default_spec();
  bool use_init = false;
  FileDescriptor output;

  Fixture() {
    ::chmod(root.c_str(), 0755);
    for (const char* name : {"/bin", "/etc", "/tmp"}) ::mkdir((root + name).c_str(), 0755);
    ::link("/bin/busybox", (root + "/bin/busybox").c_str());
    if (::access((root + "/bin/busybox").c_str(), F_OK) != 0) {
      std::string content = *read_file("/bin/busybox", 8u << 20);
      auto file = open_file(root + "/bin/busybox", O_WRONLY | O_CREAT, 0755);
      (void)write_all(*file, content);
    }
    for (const char* name : {"sh", "cat", "ls", "id", "sleep", "hostname", "stat", "pwd", "true", "mount", "tty",
                             "kill", "grep", "readlink", "wc", "cmp", "stty"})
      (void)!::symlink("busybox", (root + "/bin/" + name).c_str());
    spec.hostname = "testbox";
    spec.cgroups_path = "dray-unit/" + directory.path().substr(5);
    spec.process.args = {"true"};
    spec.process.env = {"PATH=/usr/bin:/bin"};
    spec.process.capabilities.bounding = default_capabilities();
    spec.process.capabilities.effective = spec.process.capabilities.permitted = spec.process.capabilities.bounding;
  }
  ~Fixture() {
    if (!spec.cgroups_path.empty()) (void)destroy_cgroup(spec.cgroups_path);
    (void)destroy_cgroup("dray-unit");
  }

  void sh(const std::string& script) { spec.process.args = {"sh", "-c", script}; }

  Result<Launched> start() {
    FileDescriptor tree(::open_tree(AT_FDCWD, root.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
    auto pipe = make_pipe();
    LaunchRequest request;
    request.spec = &spec;
    request.rootfs = tree;
    request.use_init = use_init;
    request.stdio = {FdRef(), pipe->write_end, pipe->write_end};
    output = std::move(pipe->read_end);
    return launch(request);
  }
  Outcome finish(const Launched& launched) {
    Outcome outcome;
    if (auto text = read_all(output, 1u << 20)) outcome.output = *text;
    int status = 0;
    ::waitpid(launched.pid, &status, 0);
    outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    (void)destroy_cgroup(spec.cgroups_path);
    return outcome;
  }
  Outcome run() {
    auto launched = start();
    REQUIRE_OK(launched);
    return finish(*launched);
  }
  Error error() {
    auto launched = start();
    REQUIRE_FALSE(launched);
    return launched.error();
  }
  Outcome exec_sh(const Launched& container, const std::string& script) {
    auto pipe = make_pipe();
    ExecRequest request;
    request.pid = container.pid;
    request.pidfd = container.pidfd;
    request.process = spec.process;
    request.process.args = {"sh", "-c", script};
    request.cgroups_path = spec.cgroups_path;
    request.stdio = {FdRef(), pipe->write_end, pipe->write_end};
    auto process = runtime::exec(request);
    REQUIRE_OK(process);
    pipe->write_end.reset();
    Outcome outcome;
    outcome.output = *read_all(pipe->read_end, 1u << 20);
    int status = 0;
    REQUIRE(::waitpid(process->pid, &status, 0) == process->pid);
    outcome.code = WEXITSTATUS(status);
    return outcome;
  }
  void kill(const Launched& launched) {
    ::kill(launched.pid, SIGKILL);
    ::waitpid(launched.pid, nullptr, 0);
  }
};
