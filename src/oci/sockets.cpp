// SPDX-License-Identifier: Apache-2.0
#include "sockets.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

namespace dray::oci {

Result<FileDescriptor> connect_socket(const std::string& path) {
  FileDescriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return fail_errno("creating a socket");
  FileDescriptor node = TRY(open_file(path, O_PATH));
  const std::string name = descriptor_path(node);
  struct sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string& shown = path.size() < sizeof address.sun_path ? path : name;
  std::memcpy(address.sun_path, shown.c_str(), shown.size() + 1);
  if (::connect(socket.get(), reinterpret_cast<const struct sockaddr*>(&address), sizeof address) != 0)
    return fail_errno("connecting to \"" + path + "\"");
  return socket;
}

Result<void> send_descriptor(FdRef socket, std::string_view payload, FdRef descriptor) {
  struct iovec part{const_cast<char*>(payload.data()), payload.size()};
  alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  struct msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  const int number = descriptor.get();
  std::memcpy(CMSG_DATA(header), &number, sizeof number);
  ssize_t sent;
  do {
    sent = ::sendmsg(socket.get(), &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return fail_errno("sending a descriptor");
  return static_cast<std::size_t>(sent) == payload.size()
             ? Result<void>()
             : write_all(socket, payload.substr(static_cast<std::size_t>(sent)));
}

}  // namespace dray::oci
