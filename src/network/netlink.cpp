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

#include <dray/core/thread.hpp>

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

Result<void> in_namespace(FdRef netns, const std::function<Result<void>()>& work) {
  Result<void> result;
  std::thread inside = TRY(start_thread([&] {
    if (::setns(netns.get(), CLONE_NEWNET) != 0) {
      result = fail_errno("entering a network namespace");
      return;
    }
    result = work();
  }));
  inside.join();
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

Result<void> NetlinkSocket::send_bytes(const std::string& bytes) {
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  ssize_t sent =
      ::sendto(fd_.get(), bytes.data(), bytes.size(), 0, reinterpret_cast<sockaddr*>(&kernel), sizeof kernel);
  if (sent < 0) return fail_errno("sending a netlink message");
  return {};
}

Result<void> NetlinkSocket::dump(const MessageBuilder& request,
                                 const std::function<void(std::string_view payload)>& take) {
  TRY(send_bytes(request.bytes()));
  const MessageBuilder::Expectation& expectation = request.expectations().front();
  alignas(nlmsghdr) char buffer[32768];
  while (true) {
    ssize_t count = ::recv(fd_.get(), buffer, sizeof buffer, 0);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno("receiving a netlink answer");
    auto left = static_cast<unsigned>(count);
    for (auto* head = reinterpret_cast<nlmsghdr*>(buffer); NLMSG_OK(head, left); head = NLMSG_NEXT(head, left)) {
      if (head->nlmsg_type == NLMSG_DONE) return {};
      if (head->nlmsg_type == NLMSG_ERROR) {
        auto* answer = static_cast<nlmsgerr*>(NLMSG_DATA(head));
        if (answer->error == 0 || -answer->error == expectation.tolerated) return {};
        return Failure(Error::from_errno(-answer->error, expectation.what));
      }
      take({static_cast<const char*>(NLMSG_DATA(head)), head->nlmsg_len - NLMSG_HDRLEN});
    }
  }
}

std::optional<Attribute> next_attribute(std::string_view& bytes) {
  nlattr head;
  if (bytes.size() < sizeof head) return std::nullopt;
  std::memcpy(&head, bytes.data(), sizeof head);
  if (head.nla_len < sizeof head || head.nla_len > bytes.size()) return std::nullopt;
  Attribute attribute{static_cast<std::uint16_t>(head.nla_type & NLA_TYPE_MASK),
                      bytes.substr(sizeof head, head.nla_len - sizeof head)};
  bytes.remove_prefix(std::min<std::size_t>(NLA_ALIGN(head.nla_len), bytes.size()));
  return attribute;
}

std::string_view find_attribute(std::string_view bytes, std::uint16_t type) {
  while (auto attribute = next_attribute(bytes))
    if (attribute->type == type) return attribute->value;
  return {};
}

Result<void> NetlinkSocket::send(const MessageBuilder& batch) {
  TRY(send_bytes(batch.bytes()));
  std::optional<Error> first;
  std::size_t waiting = batch.expectations().size();
  alignas(nlmsghdr) char buffer[16384];
  while (waiting > 0) {
    ssize_t count = ::recv(fd_.get(), buffer, sizeof buffer, 0);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno("receiving a netlink answer");
    auto left = static_cast<unsigned>(count);
    for (auto* head = reinterpret_cast<nlmsghdr*>(buffer); NLMSG_OK(head, left); head = NLMSG_NEXT(head, left)) {
      if (head->nlmsg_type != NLMSG_ERROR) continue;
      auto* answer = static_cast<nlmsgerr*>(NLMSG_DATA(head));
      if (head->nlmsg_seq == 0) {
        if (answer->error != 0) return Failure(Error::from_errno(-answer->error, "changing the firewall"));
        continue;
      }
      --waiting;
      if (answer->error == 0 || first) continue;
      for (const auto& expectation : batch.expectations()) {
        if (expectation.sequence == head->nlmsg_seq && -answer->error != expectation.tolerated)
          first = Error::from_errno(-answer->error, expectation.what);
      }
    }
  }
  if (first) return Failure(std::move(*first));
  return {};
}

}  // namespace dray::network
