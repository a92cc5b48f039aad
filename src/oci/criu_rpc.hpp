// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include <dray/core/fd.hpp>
#include <dray/core/process.hpp>
#include <dray/core/result.hpp>

// The conversation with CRIU (criu.org/RPC): `criu swrk FD` takes one request over a socket, asks back while it works
// and answers. Its command line can neither hand out the terminal of a restored container nor wait for our hooks.
// The messages are protobuf's, of whose wire format numbers and strings are all that is needed.

namespace dray::oci::criu {

/// A message to be sent. Fields' numbers are those of CRIU's rpc.proto.
class Message {
 public:
  void number(unsigned field, std::uint64_t value);
  void text(unsigned field, std::string_view value);
  void flag(unsigned field, bool value) { number(field, value ? 1 : 0); }
  void message(unsigned field, const Message& value) { text(field, value.bytes_); }
  void append(const Message& more) { bytes_ += more.bytes_; }
  const std::string& bytes() const { return bytes_; }

 private:
  void append_varint(std::uint64_t value);
  std::string bytes_;
};

enum class RequestType : unsigned { dump = 1, restore = 2, pre_dump = 4, notify = 6, feature_check = 9 };

struct Response {
  unsigned type = 0;
  bool success = false;
  std::string script;         ///< of a notification: "post-restore"
  pid_t pid = 0;              ///< of a notification or a restore
  int error_number = 0;       ///< of a failure
  std::string error_message;  ///< of a failure, mostly empty
  bool memory_tracking = false, lazy_pages = false;
};
/// corrupt for anything else than a whole message.
Result<Response> parse_response(std::string_view bytes);

/// What CRIU tells before it goes on; a failure makes it give up. `descriptor` comes with "orphan-pts-master" only.
using Listener = std::function<Result<void>(const Response& notification, FileDescriptor descriptor)>;

class Session {
 public:
  /// Starts CRIU, which inherits descriptors without O_CLOEXEC. unavailable where it is not installed.
  static Result<Session> start(FdRef input, FdRef output, FdRef error);
  Session(Session&&) = default;
  ~Session();

  pid_t pid() const { return process_.pid(); }
  /// Once. The last answer, which is a success. Descriptors that `options` names are read from this process.
  Result<Response> ask(RequestType type, const Message& options, const Listener& listener);
  /// What of the kernel CRIU can use; once.
  Result<Response> ask_for_features();

 private:
  Session(ChildProcess process, FileDescriptor socket) : process_(std::move(process)), socket_(std::move(socket)) {}
  Result<Response> converse(const Message& request, const Listener& listener);
  Result<Response> receive(FileDescriptor& descriptor);
  Result<void> send(const Message& message);

  ChildProcess process_;
  FileDescriptor socket_;
};

}  // namespace dray::oci::criu
