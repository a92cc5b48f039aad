// SPDX-License-Identifier: Apache-2.0
// The starting side of the monitor: makes the attach socket and opens the log (so that their failure is an error here,
// and clients can connect from the moment of exec), hands exactly the needed descriptors over, and execs dray-monitor.

#include <dray/runtime/monitor.hpp>

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "../cgroup/cgroup.hpp"

extern char** environ;

namespace dray::runtime {
namespace {

constexpr const char* kSocketName = "attach.sock";

/// sun_path holds 107 bytes. A longer path goes through the directory's descriptor, which must stay open during the
/// call.
Result<sockaddr_un> socket_address(const std::string& directory, FdRef directory_fd) {
  std::string path = directory + "/" + kSocketName;
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) path = descriptor_path(directory_fd) + "/" + kSocketName;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

Result<FileDescriptor> open_state_directory(const std::string& path) {
  return open_file(path, O_PATH | O_DIRECTORY | O_NOFOLLOW);
}

Result<FileDescriptor> listen_for_clients(const std::string& directory, FdRef directory_fd) {
  // We hold the container's lock: a socket that is there is a dead monitor's.
  if (unlinkat(directory_fd.get(), kSocketName, 0) != 0 && errno != ENOENT)
    return fail_errno("removing the old \"" + directory + "/" + kSocketName + "\"");
  FileDescriptor socket_fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket_fd.valid()) return fail_errno("creating the attach socket");
  sockaddr_un address = TRY(socket_address(directory, directory_fd));
  mode_t before = umask(0177);
  int bound = bind(socket_fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  int saved = errno;
  umask(before);
  errno = saved;
  if (bound != 0) return fail_errno("binding \"" + directory + "/" + kSocketName + "\"");
  if (listen(socket_fd.get(), 64) != 0) return fail_errno("listening on \"" + directory + "/" + kSocketName + "\"");
  return socket_fd;
}

/// The clean-up command needs to find its store again, no more: the user's environment may hold secrets, and this one
/// is visible for as long as the container runs.
std::vector<std::string> small_environment() {
  std::vector<std::string> out;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    std::string_view text = *entry;
    for (std::string_view kept : {"PATH=", "HOME=", "USER=", "LANG=", "TMPDIR=", "XDG_", "DRAY_"})
      if (text.starts_with(kept)) out.emplace_back(text);
  }
  return out;
}

/// Words of the command line, and the descriptors that go with them.
class Arguments {
 public:
  explicit Arguments(std::string program) { words_.push_back(std::move(program)); }
  void add(const char* name, const std::string& value) { words_.push_back(std::string(name) + "=" + value); }
  void add_word(std::string word) { words_.push_back(std::move(word)); }
  /// Makes it survive exec; numbers 0 to 2 become the monitor's /dev/null, so it moves away from there.
  Result<void> add_descriptor(const char* name, int fd) {
    if (fd < 0) return {};
    int passed = fd;
    if (fd < 3) {
      passed = fcntl(fd, F_DUPFD, 3);
      if (passed < 0) return fail_errno("duplicating a descriptor for the monitor");
    } else if (fcntl(fd, F_SETFD, 0) != 0) {
      return fail_errno("passing a descriptor to the monitor");
    }
    add(name, std::to_string(passed));
    return {};
  }
  std::vector<char*> pointers() {
    std::vector<char*> out;
    for (std::string& word : words_) out.push_back(word.data());
    out.push_back(nullptr);
    return out;
  }

 private:
  std::vector<std::string> words_;
};

Result<void> execute(MonitorRequest& request) {
  std::string program = TRY(executable_directory()) + "/dray-monitor";
  FileDescriptor state = TRY(open_state_directory(request.state_directory));
  FileDescriptor listener = TRY(listen_for_clients(request.state_directory, state));
  FileDescriptor log;
  if (!request.log_path.empty())
    log = TRY(open_file(request.log_path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0640));
  FileDescriptor oom;
  if (!request.cgroups_path.empty())
    if (auto file = open_oom_file(request.cgroups_path)) oom = std::move(*file);  // no controller, no OOM kills of ours

  // Whatever a shell or a library left open stays behind.
  if (syscall(SYS_close_range, 3, ~0u, CLOSE_RANGE_CLOEXEC) != 0)
    return fail_errno("closing descriptors for the monitor");
  Arguments arguments(program);
  arguments.add("pid", std::to_string(request.launched.pid));
  TRY(arguments.add_descriptor("pidfd", request.launched.pidfd.get()));
  if (request.terminal) TRY(arguments.add_descriptor("console", request.launched.console.get()));
  if (!request.terminal) {
    if (request.open_stdin) TRY(arguments.add_descriptor("in", request.stdin_write.get()));
    TRY(arguments.add_descriptor("out", request.stdout_read.get()));
    TRY(arguments.add_descriptor("err", request.stderr_read.get()));
  }
  TRY(arguments.add_descriptor("lock", request.lock.get()));
  TRY(arguments.add_descriptor("client", request.first_client.get()));
  TRY(arguments.add_descriptor("listener", listener.get()));
  TRY(arguments.add_descriptor("log", log.get()));
  TRY(arguments.add_descriptor("oom", oom.get()));
  TRY(arguments.add_descriptor("state", state.get()));
  for (const FileDescriptor& kept : request.keep_open) TRY(arguments.add_descriptor("keep", kept.get()));
  arguments.add("stdin_once", request.stdin_once ? "1" : "0");
  arguments.add("exit_durable", request.exit_durable ? "1" : "0");
  arguments.add("client_cleans", request.client_cleans ? "1" : "0");
  if (!request.exit_path.empty()) arguments.add("exit", request.exit_path);
  const RestartRequest& restart = request.restart;
  if (!restart.argv.empty()) {
    arguments.add("restart", restart.only_on_failure ? "2" : "1");
    arguments.add("restart_max", std::to_string(restart.max));
    arguments.add("restart_count", std::to_string(restart.count));
    arguments.add("restart_delay", std::to_string(restart.delay_ms));
    arguments.add("stop_mark", restart.stop_mark);
  }
  if (!request.cleanup_argv.empty()) {
    arguments.add_word("--");
    for (std::string& word : request.cleanup_argv) arguments.add_word(std::move(word));
  }
  if (!restart.argv.empty()) {
    arguments.add_word("--");
    for (const std::string& word : restart.argv) arguments.add_word(word);
  }
  std::vector<std::string> environment = small_environment();
  std::vector<char*> environment_pointers;
  for (std::string& entry : environment) environment_pointers.push_back(entry.data());
  environment_pointers.push_back(nullptr);
  execve(program.c_str(), arguments.pointers().data(), environment_pointers.data());
  Error error = Error::from_errno("starting \"" + program + "\"");
  unlinkat(state.get(), kSocketName, 0);
  return Failure(std::move(error).with_hint("dray-monitor belongs beside dray: is the installation complete?"));
}

}  // namespace

Error become_monitor(MonitorRequest request) {
  Result<void> result = execute(request);
  return std::move(result).error().with_context("starting the container's monitor");
}

Result<FileDescriptor> connect_monitor(const std::string& state_directory) {
  auto unavailable = [&] {
    return fail(ErrorCode::unavailable,
                "no monitor listens in \"" + state_directory + "\": the container is not running");
  };
  auto directory = open_state_directory(state_directory);
  if (!directory) {
    if (directory.error().error_number() == ENOENT) return unavailable();
    return Failure(std::move(directory).error());
  }
  FileDescriptor socket_fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket_fd.valid()) return fail_errno("creating a socket");
  sockaddr_un address = TRY(socket_address(state_directory, *directory));
  int result = 0;
  do result = connect(socket_fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  while (result != 0 && errno == EINTR);
  if (result != 0) {
    if (errno == ENOENT || errno == ECONNREFUSED) return unavailable();
    return fail_errno("connecting to the monitor in \"" + state_directory + "\"");
  }
  return socket_fd;
}

}  // namespace dray::runtime
