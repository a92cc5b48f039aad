// SPDX-License-Identifier: Apache-2.0
// Netlink by hand: the few messages that Dray sends do not pay for a library on the path of each container start.
#include "netlink.hpp"

#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <sched.h>
#include <sys/socket.h>

#include <cstdlib>
#include <cstring>
#include <system_error>
#include <thread>

namespace dray::network {

void MessageBuilder::begin(std::uint16_t type, std::uint16_t flags, const void* header, std::size_t size) {
  message_ = bytes_.size();
  nlmsghdr head{};
  head.nlmsg_type = type;
  head.nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
  head.nlmsg_seq = static_cast<std::uint32_t>(expectations_.size() + 1);
  bytes_.append(reinterpret_cast<const char*>(&head), sizeof head);
  raw(header, size);
}

void MessageBuilder::raw(const void* bytes, std::size_t size) {
  bytes_.append(static_cast<const char*>(bytes), size);
  bytes_.append(NLMSG_ALIGN(size) - size, '\0');
}

void MessageBuilder::attribute(std::uint16_t type, std::string_view bytes) {
  if (bytes.size() > 0xfff0) std::abort();
  nlattr head{static_cast<std::uint16_t>(sizeof head + bytes.size()), type};
  bytes_.append(reinterpret_cast<const char*>(&head), sizeof head);
  raw(bytes.data(), bytes.size());
}

void MessageBuilder::u32_be(std::uint16_t type, std::uint32_t value) { u32(type, htonl(value)); }

std::size_t MessageBuilder::open(std::uint16_t type) {
  std::size_t mark = bytes_.size();
  attribute(static_cast<std::uint16_t>(type | NLA_F_NESTED), {});
  return mark;
}

void MessageBuilder::close(std::size_t mark) {
  std::size_t length = bytes_.size() - mark;
  if (length > 0xffff) std::abort();
  auto short_length = static_cast<std::uint16_t>(length);
  std::memcpy(bytes_.data() + mark, &short_length, sizeof short_length);
}

void MessageBuilder::finish() {
  nlmsghdr head;
  std::memcpy(&head, bytes_.data() + message_, sizeof head);
  head.nlmsg_len = static_cast<std::uint32_t>(bytes_.size() - message_);
  if ((head.nlmsg_flags & NLM_F_ACK) != 0) {
    expectations_.push_back({head.nlmsg_seq, pending_what_, pending_tolerated_});
  } else {
    // Batch markers have no acknowledgement; an error of theirs (EPERM) comes under their own number.
    head.nlmsg_seq = 0;
  }
  std::memcpy(bytes_.data() + message_, &head, sizeof head);
}

void for_each_attribute(std::string_view bytes,
                        const std::function<void(std::uint16_t, std::string_view)>& visit) {
  while (bytes.size() >= sizeof(nlattr)) {
    nlattr head;
    std::memcpy(&head, bytes.data(), sizeof head);
    if (head.nla_len < sizeof head || head.nla_len > bytes.size()) return;
    visit(head.nla_type & NLA_TYPE_MASK, bytes.substr(sizeof head, head.nla_len - sizeof head));
    bytes.remove_prefix(std::min<std::size_t>(NLA_ALIGN(head.nla_len), bytes.size()));
  }
}

std::optional<std::string_view> find_attribute(std::string_view bytes, std::uint16_t type) {
  std::optional<std::string_view> found;
  for_each_attribute(bytes, [&](std::uint16_t at, std::string_view value) {
    if (at == type && !found) found = value;
  });
  return found;
}

std::optional<std::uint32_t> number_of(std::string_view bytes) {
  std::uint32_t value;
  if (bytes.size() != sizeof value) return std::nullopt;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

Result<void> in_namespace(FdRef netns, const std::function<Result<void>()>& work) {
  Result<void> result;
  try {
    std::thread([&] {
      if (::setns(netns.get(), CLONE_NEWNET) != 0) {
        result = fail_errno("entering a network namespace");
        return;
      }
      result = work();
    }).join();
  } catch (const std::system_error& error) {  // no thread to be had
    return Failure(Error::from_errno(error.code().value(), "entering a network namespace"));
  }
  return result;
}

Result<NetlinkSocket> NetlinkSocket::open(int family, FdRef netns) {
  NetlinkSocket result;
  auto create = [&]() -> Result<void> {
    result.fd_ = FileDescriptor(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, family));
    if (!result.fd_.valid()) return fail_errno("opening a netlink socket");
    return {};
  };
  if (netns.valid()) {
    TRY(in_namespace(netns, create));
  } else {
    TRY(create());
  }
  return result;
}

Result<void> NetlinkSocket::transmit(const MessageBuilder& batch) {
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  const std::string& bytes = batch.bytes();
  ssize_t sent = ::sendto(fd_.get(), bytes.data(), bytes.size(), 0, reinterpret_cast<sockaddr*>(&kernel), sizeof kernel);
  if (sent < 0) return fail_errno("sending a netlink message");
  return {};
}

Result<std::size_t> NetlinkSocket::receive(std::string& buffer) {
  for (;;) {
    ssize_t count = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
    if (count >= 0) return static_cast<std::size_t>(count);
    if (errno != EINTR) return fail_errno("receiving a netlink answer");
  }
}

namespace {

/// Takes the first message off `datagram`; false at its end.
bool next_message(std::string_view& datagram, nlmsghdr& head, std::string_view& content) {
  if (datagram.size() < sizeof head) return false;
  std::memcpy(&head, datagram.data(), sizeof head);
  if (head.nlmsg_len < sizeof head || head.nlmsg_len > datagram.size()) return false;
  content = datagram.substr(sizeof head, head.nlmsg_len - sizeof head);
  datagram.remove_prefix(std::min<std::size_t>(NLMSG_ALIGN(head.nlmsg_len), datagram.size()));
  return true;
}

/// The errno of an NLMSG_ERROR or NLMSG_DONE; 0 = success.
int error_of(std::string_view content) {
  int error = 0;
  if (content.size() >= sizeof error) std::memcpy(&error, content.data(), sizeof error);
  return -error;
}

// The kernel fits the parts of a list to the reader's buffer.
constexpr std::size_t kBuffer = 32768;

}  // namespace

Result<void> NetlinkSocket::send(const MessageBuilder& batch) {
  TRY(transmit(batch));
  std::optional<Error> first;
  std::size_t waiting = batch.expectations().size();
  std::string buffer(kBuffer, '\0');
  while (waiting > 0) {
    std::size_t count = TRY(receive(buffer));
    std::string_view datagram(buffer.data(), count), content;
    for (nlmsghdr head; next_message(datagram, head, content);) {
      if (head.nlmsg_type != NLMSG_ERROR) continue;
      int error = error_of(content);
      if (head.nlmsg_seq == 0) {
        if (error != 0) return Failure(Error::from_errno(error, "changing the firewall"));
        continue;
      }
      --waiting;
      if (error == 0 || first) continue;
      for (const auto& expectation : batch.expectations()) {
        if (expectation.sequence == head.nlmsg_seq && error != expectation.tolerated)
          first = Error::from_errno(error, expectation.what);
      }
    }
  }
  if (first) return Failure(std::move(*first));
  return {};
}

Result<void> NetlinkSocket::ask(const MessageBuilder& question,
                                const std::function<void(std::uint16_t, std::string_view)>& visit) {
  TRY(transmit(question));
  std::string buffer(kBuffer, '\0');
  for (;;) {
    std::size_t count = TRY(receive(buffer));
    std::string_view datagram(buffer.data(), count), content;
    for (nlmsghdr head; next_message(datagram, head, content);) {
      if (head.nlmsg_type == NLMSG_ERROR || head.nlmsg_type == NLMSG_DONE) {
        int error = error_of(content);
        if (error == 0) return {};
        return Failure(Error::from_errno(error, question.expectations().front().what));
      }
      visit(head.nlmsg_type, content);
    }
  }
}

}  // namespace dray::network
