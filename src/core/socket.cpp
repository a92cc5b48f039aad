// SPDX-License-Identifier: Apache-2.0
#include <dray/core/socket.hpp>

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace dray {

Result<Received> receive_with_descriptor(FdRef socket, std::span<std::byte> buffer, int flags) {
  struct iovec part{buffer.data(), buffer.size()};
  // Room for one: the kernel closes what finds none.
  alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  struct msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t count;
  do {
    count = ::recvmsg(socket.get(), &message, flags | MSG_CMSG_CLOEXEC);
  } while (count < 0 && errno == EINTR);
  if (count < 0) return fail_errno("receiving a message");
  Received received;
  received.size = static_cast<std::size_t>(count);
  received.truncated = (message.msg_flags & MSG_TRUNC) != 0;
  const struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header != nullptr && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
      header->cmsg_len == CMSG_LEN(sizeof(int))) {
    int number = -1;
    std::memcpy(&number, CMSG_DATA(header), sizeof number);
    received.descriptor = FileDescriptor(number);
  }
  return received;
}

}  // namespace dray
