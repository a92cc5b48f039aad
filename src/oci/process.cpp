// SPDX-License-Identifier: Apache-2.0
// What a container's first process and those of exec have in common.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <set>

#include <dray/core/output_file.hpp>
#include <dray/runtime/user_namespace.hpp>

#include "container.hpp"
#include "log.hpp"
#include "sockets.hpp"

namespace dray::oci {

void complete_environment(runtime::Process& process, FdRef rootfs) {
  std::vector<std::string> env;
  std::set<std::string> names;
  for (auto entry = process.env.rbegin(); entry != process.env.rend(); ++entry) {
    if (names.insert(entry->substr(0, entry->find('='))).second) env.push_back(std::move(*entry));
  }
  process.env.assign(env.rbegin(), env.rend());
  std::erase(process.env, "HOME=");
  for (const auto& entry : process.env) {
    if (entry.starts_with("HOME=")) return;
  }
  // The image's file may be anything; without an answer from it the home is "/".
  auto user = runtime::resolve_user(rootfs.get(), std::to_string(process.user.uid));
  process.env.push_back("HOME=" + (user && !user->home.empty() ? user->home : std::string("/")));
}

Result<void> check_terminal(bool terminal, bool detach, const std::string& console_socket) {
  const bool has_socket = !console_socket.empty();
  if (detach && terminal && !has_socket)
    return fail(ErrorCode::invalid_argument, "cannot allocate tty if runc will detach without setting console socket");
  if ((!terminal || !detach) && has_socket)
    return fail(ErrorCode::invalid_argument, "cannot use console socket if runc will not detach or allocate tty");
  return {};
}

runtime::ExecRequest make_exec_request(const ContainerState& state, FdRef process, const runtime::Spec& spec,
                                       const char* status) {
  runtime::ExecRequest request;
  request.pid = state.pid;
  request.pidfd = process;
  request.seccomp = spec.seccomp;
  request.take_seccomp_listener = make_seccomp_sender(spec.seccomp, state, status);
  request.memory_policy = spec.memory_policy;
  request.personality = spec.personality;
  request.cgroups_path = state.cgroups_path;
  request.systemd_unit = state.systemd_unit;
  request.may_stay_outside = runtime::is_rootless();
  request.warn = [](const std::string& warning) { log_warning(warning); };
  request.enter_groups = make_group_entrance(state);
  request.new_keyring = state.new_keyring;
  request.keyring_name = "_ses." + state.id;
  return request;
}

Result<void> hand_over(const Handover& handover, const runtime::Launched& launched) {
  if (!handover.console_socket.empty() && launched.console.valid()) {
    FileDescriptor socket = TRY_CTX(connect_socket(handover.console_socket), "console socket");
    int number = 0;
    const std::string name = ::ioctl(launched.console.get(), TIOCGPTN, &number) == 0
                                 ? "/dev/pts/" + std::to_string(number)
                                 : std::string("/dev/ptmx");
    TRY_CTX(send_descriptor(socket, name, launched.console), "console socket");
  }
  if (!handover.pidfd_socket.empty()) {
    FileDescriptor socket = TRY_CTX(connect_socket(handover.pidfd_socket), "pidfd socket");
    TRY_CTX(send_descriptor(socket, "pidfd", launched.pidfd), "pidfd socket");
  }
  // Last and whole: its appearance says that the rest is done.
  if (!handover.pid_file.empty())
    TRY_CTX(write_output_file(handover.pid_file, std::to_string(launched.pid)), "pid file");
  return {};
}

std::function<Result<void>(pid_t, FdRef)> make_seccomp_sender(const std::optional<runtime::Seccomp>& profile,
                                                              const ContainerState& state, const char* status) {
  if (!profile || profile->listener_path.empty()) return {};
  return [path = profile->listener_path, metadata = profile->listener_metadata, state = &state, status](
             pid_t pid, FdRef listener) -> Result<void> {
    FileDescriptor socket =
        TRY_CTX(connect_socket(path), "failed to connect with seccomp agent specified in the seccomp profile");
    ContainerState now = *state;
    if (now.pid == 0) now.pid = pid;
    return send_descriptor(socket, describe_process(now, status, pid, metadata), listener);
  };
}

std::function<Result<void>(pid_t)> make_group_entrance(const ContainerState& state) {
  if (!state.rdt_group) return {};
  return [group = *state.rdt_group](pid_t pid) -> Result<void> {
    // Who shares it may have taken it away; the container's processes are in the root's group then.
    if (::access(group.path.c_str(), F_OK) != 0) return {};
    TRY_CTX(runtime::enter_rdt_group(group, pid), "unable to apply Intel RDT configuration");
    return {};
  };
}

void log_seccomp_flags(const std::optional<runtime::Seccomp>& profile) {
  if (!profile) return;
  unsigned flags = 0;
  for (const auto& name : profile->flags) {
    if (name == "SECCOMP_FILTER_FLAG_LOG") flags |= 2;
    if (name == "SECCOMP_FILTER_FLAG_SPEC_ALLOW") flags |= 4;
    if (name == "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV") flags |= 32;
  }
  for (const auto& rule : profile->syscalls) {
    if (rule.action == "SCMP_ACT_NOTIFY") flags |= 8;
  }
  log_debug("seccomp filter flags: " + std::to_string(flags));
}

namespace {
unsigned passed_descriptors = 0;  // 3, 4, ... without a gap
}

Result<void> settle_descriptors() {
  FileDescriptor free = TRY(open_file("/dev/null", O_RDWR));
  while (free.get() <= 2) {
    (void)free.release();
    free = TRY(open_file("/dev/null", O_RDWR));
  }
  passed_descriptors = static_cast<unsigned>(free.get()) - 3;
  return {};
}

Result<unsigned> count_preserved(unsigned wanted, runtime::Process& process) {
  const char* text = ::getenv("LISTEN_FDS");
  const char* addressee = ::getenv("LISTEN_PID");
  const int count = text != nullptr ? std::atoi(text) : 0;
  // sd_listen_fds(3): left over from a service that we were started by.
  const bool for_another = addressee != nullptr && std::atoi(addressee) != ::getpid();
  if (count > 0 && count <= 1024 && !for_another) {
    process.env.push_back("LISTEN_FDS=" + std::to_string(count));
    process.env.push_back("LISTEN_PID=1");
    if (const char* names = ::getenv("LISTEN_FDNAMES")) process.env.push_back(std::string("LISTEN_FDNAMES=") + names);
    wanted += static_cast<unsigned>(count);
  }
  if (wanted > passed_descriptors)
    return fail(ErrorCode::invalid_argument, "unable to stat preserved-fd " + std::to_string(passed_descriptors + 3) +
                                                 " (of " + std::to_string(wanted) + ")");
  return wanted;
}

}  // namespace dray::oci
