// SPDX-License-Identifier: Apache-2.0
#include <dray/runtime/user_namespace.hpp>

#include "user_namespace.hpp"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
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

bool in_own_user_namespace() {
  constexpr ino_t kInitial = 0xEFFFFFFDu;  // PROC_USER_INIT_INO, the same in every kernel
  struct stat status;
  return ::stat("/proc/self/ns/user", &status) == 0 && status.st_ino != kInitial;
}

bool is_rootless() { return ::geteuid() != 0 || in_own_user_namespace(); }

bool may_mount() {
  struct __user_cap_header_struct header{};
  header.version = _LINUX_CAPABILITY_VERSION_3;
  struct __user_cap_data_struct data[2] = {};
  return ::syscall(SYS_capget, &header, data) == 0 && (data[0].effective >> CAP_SYS_ADMIN & 1) != 0;
}

namespace {

// Written by a process outside: newuidmap and newgidmap have no rights inside.
Result<void> unshare_with_maps(const Spec& spec) {
  Pipe go = TRY(make_pipe()), answer = TRY(make_pipe());
  const pid_t self = ::getpid();
  const pid_t helper = ::fork();
  if (helper < 0) return fail_errno("making a process");
  if (helper == 0) {
    go.write_end.reset();
    char byte;
    if (::read(go.read_end.get(), &byte, 1) != 1) ::_exit(1);
    auto written = write_id_maps(self, spec.uid_mappings, spec.gid_mappings);
    if (!written) (void)write_all(answer.write_end, written.error().message());
    ::_exit(written ? 0 : 1);
  }
  answer.write_end.reset();
  Result<void> made;
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
    made = Failure(Error::from_errno(errno, "creating a user namespace")
                       .with_hint("the kernel may be set to give ordinary users none: see user.max_user_namespaces, "
                                  "kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns"));
  else
    made = write_all(go.write_end, "1");
  go.write_end.reset();
  auto complaint = read_all(answer.read_end, 64 * 1024);
  int status = 0;
  while (::waitpid(helper, &status, 0) < 0 && errno == EINTR) {
  }
  if (!made || status == 0) return made;
  return fail(ErrorCode::permission_denied, complaint && !complaint->empty() ? *complaint : "mapping IDs failed");
}

}  // namespace

Result<void> enter_user_namespace(Spec& spec) {
  Namespace& user = spec.namespaces.user;
  if (!user.is_own())
    return fail(ErrorCode::invalid_argument, "rootless container requires user namespaces (linux.namespaces)");
  if (user.is_new) {
    TRY(unshare_with_maps(spec));
  } else {
    FileDescriptor file = TRY_CTX(open_file(user.path, O_RDONLY), "joining the user namespace");
    if (::setns(file.get(), CLONE_NEWUSER) != 0 || ::unshare(CLONE_NEWNS) != 0)
      return fail_errno("joining the user namespace \"" + user.path + "\"");
  }
  user.is_new = false;
  user.path = "/proc/self/ns/user";
  return {};
}

}  // namespace dray::runtime
