// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>

#include <dray/core/fd.hpp>
#include <dray/core/result.hpp>
#include <dray/runtime/spec.hpp>

#include "state.hpp"

// sd_notify(3) out of a container. When $NOTIFY_SOCKET is set, `create` mounts a directory of the container's state to
// /run/notify; `run` or `start` has a socket in it, waits until the container says READY=1, and tells the real one.

namespace dray::oci {

class NotifySocket {
 public:
  /// Makes the directory, and has the container see it. Does nothing without $NOTIFY_SOCKET.
  static Result<void> prepare(const StateDirectory& directory, runtime::Spec& spec);
  /// Listens, before the container's process can speak. nullopt without $NOTIFY_SOCKET, or if it was not there at
  /// `create`.
  static Result<std::optional<NotifySocket>> listen(const StateDirectory& directory);

  FdRef fd() const { return socket_; }
  /// Takes a message without waiting; true if it was the one to pass on, and it was. `main_pid`: what is to be
  /// watched from now on.
  Result<bool> pass_on(pid_t main_pid) const;
  /// Until the container is ready and the listener has taken note, so that we may end; or `process` has ended.
  Result<void> wait(FdRef process, pid_t main_pid) const;

 private:
  std::string take_ready() const;
  Result<FileDescriptor> tell(std::string_view ready, pid_t main_pid) const;
  FileDescriptor socket_;
  std::string host_;  ///< of the real one
};

/// The line that starts with "READY=", of a message of several; "" = none.
std::string_view find_ready(std::string_view message);

}  // namespace dray::oci
