// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <dray/core/fd.hpp>

namespace dray::engine {

/// The conversation between `start` and the forked process that becomes the monitor (a SOCK_SEQPACKET pair):
///   1 child → parent  network + descriptor of the network namespace   (bridge only)
///   2 parent → child  ready + port reservations, or failed
///   3 child → parent  started (pid, start time), or failed (error)
/// The parent alone uses the database: SQLite does not survive a fork.
struct StartMessage {
  enum class Kind : unsigned char { network = 'N', ready = 'R', started = 'S', failed = 'F' };
  Kind kind = Kind::failed;
  std::string text;
  std::vector<FileDescriptor> fds;
};
Result<void> send_message(FdRef socket, StartMessage::Kind kind, const std::string& text, const std::vector<int>& fds);
/// unavailable when the peer has gone.
Result<StartMessage> receive_message(FdRef socket);

std::string serialize_error(const Error& error);
Error parse_error(const std::string& text);

}  // namespace dray::engine
