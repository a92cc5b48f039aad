// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/netlink.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <dray/core/fd.hpp>

namespace dray::network {

/// Builds a batch of netlink messages: begin() a message, add attributes (nested ones by open()/close()), end it with
/// finish(). Attribute lengths are checked: more than 64 KiB is a programming error and aborts (no value of a caller is
/// that long).
class MessageBuilder {
 public:
  /// `header` is the fixed struct after nlmsghdr (ifinfomsg, nfgenmsg…).
  void begin(std::uint16_t type, std::uint16_t flags, const void* header, std::size_t size);
  void attribute(std::uint16_t type, std::string_view bytes);
  void text(std::uint16_t type, const std::string& value) {
    attribute(type, std::string_view(value.c_str(), value.size() + 1));
  }
  void u32(std::uint16_t type, std::uint32_t value) {
    attribute(type, std::string_view(reinterpret_cast<const char*>(&value), sizeof value));
  }
  void u32_be(std::uint16_t type, std::uint32_t value);
  std::size_t open(std::uint16_t type);
  void close(std::size_t mark);
  /// Further fixed struct inside an attribute (veth's peer).
  void raw(const void* bytes, std::size_t size);
  void finish();

  /// Messages so far that ask for an acknowledgement, in order; `what` of each says what it does, for errors.
  struct Expectation {
    std::uint32_t sequence;
    std::string what;
    int tolerated;  ///< an errno that is success for this message, or 0
  };
  void expect(std::string what, int tolerated = 0) {
    pending_what_ = std::move(what);
    pending_tolerated_ = tolerated;
  }
  const std::string& bytes() const { return bytes_; }
  const std::vector<Expectation>& expectations() const { return expectations_; }

 private:
  std::string bytes_, pending_what_;
  int pending_tolerated_ = 0;
  std::size_t message_ = 0;
  std::vector<Expectation> expectations_;
};

/// A netlink socket. The network namespace is that of the thread that opened it, for ever.
class NetlinkSocket {
 public:
  /// `family`: NETLINK_ROUTE or NETLINK_NETFILTER. In the namespace `netns` if valid (through a short-lived thread),
  /// else ours.
  static Result<NetlinkSocket> open(int family, FdRef netns = {});
  /// Sends the batch in one call and reads the acknowledgements; the first error that is not tolerated.
  Result<void> send(const MessageBuilder& batch);
  /// Sends one NLM_F_DUMP request and gives the payload (fixed struct and attributes) of each answer to `take`. An
  /// error that the request tolerates ends it like an empty answer.
  Result<void> dump(const MessageBuilder& request, const std::function<void(std::string_view payload)>& take);

 private:
  Result<void> send_bytes(const std::string& bytes);
  FileDescriptor fd_;
};

struct Attribute {
  std::uint16_t type;
  std::string_view value;
};
/// Takes the first attribute off the front; nullopt at the end, or where the bytes are none.
std::optional<Attribute> next_attribute(std::string_view& bytes);
/// The value of the first attribute of this type; "" without one.
std::string_view find_attribute(std::string_view bytes, std::uint16_t type);

/// Runs `work` in the network namespace `netns`, in a thread of its own: the caller's namespace never changes.
Result<void> in_namespace(FdRef netns, const std::function<Result<void>()>& work);

}  // namespace dray::network
