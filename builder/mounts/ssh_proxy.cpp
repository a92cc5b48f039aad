// SPDX-License-Identifier: Apache-2.0
// The agent's protocol (draft-miller-ssh-agent): a length of four bytes, a type, the rest; one answer to a question. A
// build may use keys, not add, remove or lock them, and extensions could do anything, so two types pass.
#include "mounts/ssh_proxy.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include <dray/core/detached_mount.hpp>
#include <dray/core/thread.hpp>

namespace dray::builder {
namespace {

constexpr std::uint32_t kMaxMessage = 256u << 10;  // as OpenSSH
constexpr char kFailure = 5, kRequestIdentities = 11, kSignRequest = 13;

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    return fail(ErrorCode::invalid_argument, "the path of a socket is too long: \"" + path + "\"");
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

Result<FileDescriptor> make_socket() {
  FileDescriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return fail_errno("making a socket");
  return socket;
}

Result<FileDescriptor> connect_to(const std::string& path) {
  FileDescriptor socket = TRY(make_socket());
  const sockaddr_un address = TRY(address_of(path));
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return fail_errno("connecting to the ssh agent at \"" + path + "\"");
  return socket;
}

/// False at the end, on an error, or when `stop` is readable.
bool read_exactly(FdRef from, FdRef stop, char* bytes, std::size_t count) {
  while (count > 0) {
    struct pollfd items[2] = {{from.get(), POLLIN, 0}, {stop.get(), POLLIN, 0}};
    if (::poll(items, 2, -1) < 0 && errno != EINTR) return false;
    if (items[1].revents != 0) return false;
    if (items[0].revents == 0) continue;
    const ssize_t got = ::read(from.get(), bytes, count);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    bytes += got;
    count -= static_cast<std::size_t>(got);
  }
  return true;
}

/// With its length in front; "" at the end.
std::string read_message(FdRef from, FdRef stop) {
  unsigned char head[4];
  if (!read_exactly(from, stop, reinterpret_cast<char*>(head), sizeof head)) return "";
  const std::uint32_t length = std::uint32_t{head[0]} << 24 | std::uint32_t{head[1]} << 16 |
                               std::uint32_t{head[2]} << 8 | std::uint32_t{head[3]};
  if (length == 0 || length > kMaxMessage) return "";
  std::string message(sizeof head + length, '\0');
  std::memcpy(message.data(), head, sizeof head);
  if (!read_exactly(from, stop, message.data() + sizeof head, length)) return "";
  return message;
}

bool send_all(FdRef to, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(to.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

}  // namespace

Result<std::string> find_agent(const std::vector<SshSource>& sources, const std::string& id) {
  const auto source = std::find_if(sources.rbegin(), sources.rend(), [&](const auto& entry) { return entry.id == id; });
  if (source == sources.rend()) return fail(ErrorCode::not_found, "ssh forwarding \"" + id + "\" was not given");
  std::string path;
  if (source->paths.empty()) {
    const char* agent = std::getenv("SSH_AUTH_SOCK");
    if (agent == nullptr || *agent == '\0')
      return Failure(Error(ErrorCode::not_found, "--ssh " + id + ": there is no ssh agent")
                         .with_hint("make sure that SSH_AUTH_SOCK is set (sudo removes it: sudo -E)"));
    path = agent;
  } else {
    path = source->paths.front();
  }
  struct stat status = {};
  if (::stat(path.c_str(), &status) != 0) return fail_errno("--ssh " + id + ": \"" + path + "\"");
  if (source->paths.size() > 1 || !S_ISSOCK(status.st_mode))
    return Failure(Error(ErrorCode::unsupported, "--ssh " + id + ": \"" + path + "\" is no agent's socket")
                       .with_hint("private keys are not read; start an agent: eval $(ssh-agent); ssh-add " + path +
                                  "; and use --ssh " + id));
  return path;
}

Result<std::unique_ptr<SshProxy>> SshProxy::start(const std::string& agent, std::uint32_t mode, std::uint32_t uid,
                                                  std::uint32_t gid) {
  std::unique_ptr<SshProxy> proxy(new SshProxy());
  proxy->agent_ = agent;
  TRY(connect_to(agent));  // tell now, not in the step's log
  const FileDescriptor memory = TRY(make_tmpfs(64u << 10, MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC));
  proxy->listener_ = TRY(make_socket());
  const std::string path = descriptor_path(memory) + "/agent";
  const sockaddr_un address = TRY(address_of(path));
  if (::bind(proxy->listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(proxy->listener_.get(), 16) != 0)
    return fail_errno("making a socket for the ssh agent");
  if (::chown(path.c_str(), uid, gid) != 0 || ::chmod(path.c_str(), mode & 07777) != 0)
    return fail_errno("setting the mode of the ssh agent's socket");
  proxy->mount_ = TRY(open_submount(memory, "/agent"));
  proxy->stop_ = FileDescriptor(::eventfd(0, EFD_CLOEXEC));
  if (!proxy->stop_.valid()) return fail_errno("making an eventfd");
  proxy->thread_ = TRY(start_thread([self = proxy.get()] { self->serve(); }));
  return proxy;
}

SshProxy::~SshProxy() {
  const std::uint64_t one = 1;
  if (stop_.valid()) (void)!::write(stop_.get(), &one, sizeof one);
  if (thread_.joinable()) thread_.join();
}

void SshProxy::serve() {
  std::list<Client> clients;
  while (true) {
    struct pollfd items[2] = {{listener_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
    if (::poll(items, 2, -1) < 0 && errno != EINTR) break;
    if (items[1].revents != 0) break;
    if (items[0].revents == 0) continue;
    FileDescriptor accepted(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    clients.remove_if([](Client& client) {
      if (client.done) client.thread.join();
      return client.done.load();
    });
    if (!accepted.valid() || clients.size() >= 64) continue;
    Client& client = clients.emplace_back();
    auto thread = start_thread([this, &client, fd = std::make_shared<FileDescriptor>(std::move(accepted))] {
      answer(std::move(*fd));
      client.done = true;
    });
    if (thread) {
      client.thread = *std::move(thread);
    } else {
      clients.pop_back();  // it sees the end of the connection
    }
  }
  for (Client& client : clients) client.thread.join();
}

void SshProxy::answer(FileDescriptor client) const {
  const auto agent = connect_to(agent_);
  while (agent) {
    const std::string question = read_message(client, stop_);
    if (question.empty()) return;
    const char type = question[4];
    if (type != kRequestIdentities && type != kSignRequest) {
      if (!send_all(client, std::string_view("\0\0\0\1", 4)) || !send_all(client, {&kFailure, 1})) return;
      continue;
    }
    if (!send_all(*agent, question)) return;
    const std::string reply = read_message(*agent, stop_);
    if (reply.empty() || !send_all(client, reply)) return;
  }
}

}  // namespace dray::builder
