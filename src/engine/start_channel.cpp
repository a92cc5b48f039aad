// SPDX-License-Identifier: Apache-2.0
// See start_channel.hpp. Datagrams of at most 64 KiB with descriptors beside them.
#include "start_channel.hpp"

#include <sys/socket.h>

#include <cerrno>
#include <cstdlib>

namespace dray::engine {
namespace {

constexpr std::size_t kMaxText = 60'000;
constexpr std::size_t kMaxFds = 250;  // the kernel's limit of one message is 253

}  // namespace

Result<void> send_message(FdRef socket, StartMessage::Kind kind, const std::string& text, const std::vector<int>& fds) {
  std::string payload(1, static_cast<char>(kind));
  payload += text.substr(0, kMaxText);
  if (fds.size() > kMaxFds) return fail(ErrorCode::unsupported, "too many published ports");
  struct iovec part{payload.data(), payload.size()};
  alignas(struct cmsghdr) char control[CMSG_SPACE(kMaxFds * sizeof(int))] = {};
  struct msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    struct cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size() * sizeof(int));
  }
  ssize_t sent;
  do {
    sent = ::sendmsg(socket.get(), &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return fail_errno("talking to the starting process");
  return {};
}

Result<StartMessage> receive_message(FdRef socket) {
  std::string payload(kMaxText + 1, '\0');
  struct iovec part{payload.data(), payload.size()};
  alignas(struct cmsghdr) char control[CMSG_SPACE(kMaxFds * sizeof(int))] = {};
  struct msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t count;
  do {
    count = ::recvmsg(socket.get(), &message, MSG_CMSG_CLOEXEC);
  } while (count < 0 && errno == EINTR);
  if (count < 0) return fail_errno("listening to the starting process");
  if (count == 0) return fail(ErrorCode::unavailable, "the starting process ended without a word");
  StartMessage result;
  result.kind = static_cast<StartMessage::Kind>(payload[0]);
  result.text = payload.substr(1, static_cast<std::size_t>(count) - 1);
  for (struct cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    std::size_t number = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < number; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
      result.fds.emplace_back(fd);
    }
  }
  return result;
}

std::string serialize_error(const Error& error) {
  std::string text = std::to_string(static_cast<int>(error.code()));
  text += '\0' + error.message();
  text += '\0' + error.hint();
  return text;
}

Error parse_error(const std::string& text) {
  std::size_t first = text.find('\0');
  if (first == std::string::npos) return Error(ErrorCode::internal, text);
  std::size_t second = text.find('\0', first + 1);
  if (second == std::string::npos) second = text.size();
  Error error(static_cast<ErrorCode>(std::atoi(text.c_str())), text.substr(first + 1, second - first - 1));
  if (second + 1 < text.size()) error = std::move(error).with_hint(text.substr(second + 1));
  return error;
}

}  // namespace dray::engine
