// SPDX-License-Identifier: Apache-2.0
#include "user_namespace.hpp"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include <dray/core/process.hpp>

#include "channel.hpp"

namespace dray::runtime {
namespace {

struct MapKind {
  const char* file;     // below /proc/PID
  const char* program;  // with the set-user-ID bit or a capability of its own
};
constexpr MapKind kUids{"uid_map", "newuidmap"}, kGids{"gid_map", "newgidmap"};

Result<void> write_process_file(pid_t pid, const char* name, const std::string& text) {
  FileDescriptor file = TRY(open_file("/proc/" + std::to_string(pid) + "/" + name, O_WRONLY));
  return write_all(file, text);  // a map is taken from one write only, which this is for its size
}

Result<void> run_map_program(pid_t pid, const MapKind& kind, const std::vector<IdMapping>& maps) {
  SpawnRequest request;
  request.argv = {kind.program, std::to_string(pid)};
  for (const auto& map : maps)
    for (std::uint32_t number : {map.container_id, map.host_id, map.size})
      request.argv.push_back(std::to_string(number));
  Pipe errors = TRY(make_pipe());
  request.stderr_fd = errors.write_end;
  auto program = ChildProcess::spawn(request);
  if (!program)
    return Failure(std::move(program).error().with_hint(std::string("install ") + kind.program + " (package uidmap)"));
  errors.write_end.reset();
  std::string text = TRY(read_all(errors.read_end, 4096));
  ExitStatus status = TRY(program->wait());
  if (status.exit_code() == 0) return {};
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return fail(ErrorCode::permission_denied, std::string(kind.program) + " failed: " + text);
}

Result<void> write_map(pid_t pid, const MapKind& kind, const std::vector<IdMapping>& maps, std::uint32_t own_id) {
  std::string text;
  for (const auto& map : maps) {
    text +=
        std::to_string(map.container_id) + " " + std::to_string(map.host_id) + " " + std::to_string(map.size) + "\n";
  }
  auto written = write_process_file(pid, kind.file, text);
  if (written || written.error().error_number() != EPERM) return written;
  // Without privilege everyone may map oneself, if the group list is frozen for it (user_namespaces(7)).
  const bool is_self = maps.size() == 1 && maps.front().size == 1 && maps.front().host_id == own_id;
  if (!is_self) return run_map_program(pid, kind, maps);
  if (&kind == &kGids) TRY(write_process_file(pid, "setgroups", "deny"));
  return write_process_file(pid, kind.file, text);
}

}  // namespace

Result<void> write_id_maps(pid_t pid, const std::vector<IdMapping>& uids, const std::vector<IdMapping>& gids) {
  TRY_CTX(write_map(pid, kUids, uids, ::geteuid()), "mapping the user IDs of the container");
  TRY_CTX(write_map(pid, kGids, gids, ::getegid()), "mapping the group IDs of the container");
  return {};
}

Result<FileDescriptor> make_user_namespace(const std::vector<IdMapping>& uids, const std::vector<IdMapping>& gids) {
  Pipe life = TRY(make_pipe());
  struct clone_args arguments{};
  arguments.flags = CLONE_NEWUSER;
  arguments.exit_signal = SIGCHLD;
  long pid = ::syscall(SYS_clone3, &arguments, sizeof arguments);
  if (pid < 0) return fail_errno("creating a user namespace");
  if (pid == 0) {
    ::close(life.write_end.get());
    char byte;
    while (::read(life.read_end.get(), &byte, 1) < 0 && errno == EINTR) {
    }
    ::_exit(0);
  }
  Child child;
  child.pid = static_cast<pid_t>(pid);
  TRY(write_id_maps(child.pid, uids, gids));
  return open_file("/proc/" + std::to_string(child.pid) + "/ns/user", O_RDONLY);
}

}  // namespace dray::runtime
