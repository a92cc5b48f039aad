// SPDX-License-Identifier: Apache-2.0
#include "notify_socket.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "log.hpp"
#include "sockets.hpp"

namespace dray::oci {
namespace {

constexpr const char* kInside = "/run/notify";
constexpr const char* kName = "notify.sock";
constexpr int kBarrierTimeout = 30'000;

const char* host_socket() {
  const char* path = ::getenv("NOTIFY_SOCKET");
  return path == nullptr || *path == '\0' ? nullptr : path;
}

struct Address {
  struct sockaddr_un address{};
  socklen_t size = 0;
};

// "@name" is in the abstract name space.
Result<Address> make_address(const std::string& path) {
  Address out;
  out.address.sun_family = AF_UNIX;
  if (path.size() >= sizeof out.address.sun_path)
    return fail(ErrorCode::invalid_argument, "the path of a socket is too long: \"" + path + "\"");
  std::memcpy(out.address.sun_path, path.c_str(), path.size() + 1);
  const bool abstract = path.front() == '@';
  if (abstract) out.address.sun_path[0] = '\0';
  out.size = static_cast<socklen_t>(offsetof(struct sockaddr_un, sun_path) + path.size() + (abstract ? 0 : 1));
  return out;
}

Result<FileDescriptor> make_socket() {
  FileDescriptor socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return fail_errno("creating a socket");
  return socket;
}

Result<void> send_text(FdRef socket, std::string_view text) {
  ssize_t count;
  do {
    count = ::send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL);
  } while (count < 0 && errno == EINTR);
  if (count < 0) return fail_errno("writing to NOTIFY_SOCKET");
  return {};
}

int wait_for(struct pollfd* entries, nfds_t count, int milliseconds) {
  int ready;
  do {
    ready = ::poll(entries, count, milliseconds);
  } while (ready < 0 && errno == EINTR);
  return ready;
}

}  // namespace

std::string_view find_ready(std::string_view message) {
  while (!message.empty()) {
    const std::size_t end = message.find('\n');
    const std::string_view line = message.substr(0, end);
    if (line.starts_with("READY=")) return line;
    message.remove_prefix(end == std::string_view::npos ? message.size() : end + 1);
  }
  return {};
}

Result<void> NotifySocket::prepare(const StateDirectory& directory, runtime::Spec& spec) {
  if (host_socket() == nullptr) return {};
  const std::string place = directory.path() + "/notify";
  if (::mkdir(place.c_str(), 0755) != 0) return fail_errno("making \"" + place + "\"");
  runtime::Mount mount;
  mount.destination = kInside;
  mount.type = "bind";
  mount.source = place;
  mount.options = {"bind", "nosuid", "noexec", "nodev", "ro"};
  spec.mounts.push_back(std::move(mount));
  spec.process.env.push_back(std::string("NOTIFY_SOCKET=") + kInside + "/" + kName);
  return {};
}

Result<std::optional<NotifySocket>> NotifySocket::listen(const StateDirectory& directory) {
  const char* host = host_socket();
  if (host == nullptr) return std::nullopt;
  auto place = open_file(directory.path() + "/notify", O_PATH | O_DIRECTORY);
  if (!place && place.error().error_number() == ENOENT) return std::nullopt;
  if (!place) return Failure(std::move(place).error());
  NotifySocket notify;
  notify.host_ = host;
  notify.socket_ = TRY(make_socket());
  // By descriptor, as the state's path may be longer than sun_path; a `start` that was killed has left a socket.
  const std::string path = descriptor_path(*place) + "/" + kName;
  (void)::unlink(path.c_str());
  const Address address = TRY(make_address(path));
  if (::bind(notify.socket_.get(), reinterpret_cast<const struct sockaddr*>(&address.address), address.size) != 0)
    return fail_errno("binding the container's notify socket");
  // For every user of the container.
  if (::chmod(path.c_str(), 0777) != 0) return fail_errno("opening the container's notify socket to all");
  return std::optional<NotifySocket>(std::move(notify));
}

// The value: readable at its end when the listener has taken everything (sd_notify_barrier(3)).
Result<FileDescriptor> NotifySocket::tell(std::string_view ready, pid_t main_pid) const {
  FileDescriptor socket = TRY(make_socket());
  const Address address = TRY(make_address(host_));
  if (::connect(socket.get(), reinterpret_cast<const struct sockaddr*>(&address.address), address.size) != 0)
    return fail_errno("connecting to NOTIFY_SOCKET \"" + host_ + "\"");
  TRY(send_text(socket, std::string(ready) + "\n"));
  TRY(send_text(socket, "MAINPID=" + std::to_string(main_pid) + "\n"));
  Pipe barrier = TRY(make_pipe());
  TRY(send_descriptor(socket, "BARRIER=1", barrier.write_end));
  return std::move(barrier.read_end);
}

std::string NotifySocket::take_ready() const {
  char buffer[4096];
  const ssize_t count = ::recv(socket_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
  return std::string(find_ready({buffer, static_cast<std::size_t>(count < 0 ? 0 : count)}));
}

Result<bool> NotifySocket::pass_on(pid_t main_pid) const {
  const std::string ready = take_ready();
  if (ready.empty()) return false;
  TRY(tell(ready, main_pid));
  return true;
}

Result<void> NotifySocket::wait(FdRef process, pid_t main_pid) const {
  for (;;) {
    struct pollfd waiting[2] = {{socket_.get(), POLLIN, 0}, {process.get(), POLLIN, 0}};
    if (wait_for(waiting, 2, -1) < 0) return fail_errno("waiting for the container's READY=1");
    if (waiting[0].revents == 0) return {};  // it has ended, and whatever it had said was taken
    const std::string ready = take_ready();
    if (ready.empty()) continue;
    const FileDescriptor taken = TRY(tell(ready, main_pid));
    struct pollfd barrier{taken.get(), POLLIN, 0};
    if (wait_for(&barrier, 1, kBarrierTimeout) == 0) log_warning("Timeout after waiting 30s for barrier. Ignored.");
    return {};
  }
}

}  // namespace dray::oci
