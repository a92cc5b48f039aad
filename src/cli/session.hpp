// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>

#include <dray/core/fd.hpp>
#include <dray/engine/containers.hpp>

#include "terminal.hpp"

namespace dray::cli {

struct SessionOptions {
  bool terminal = false;  ///< the container has a pty: raw mode, resize, detach keys
  bool forward_stdin = false;
  bool forward_signals = true;  ///< without a pty: SIGINT, SIGTERM, … go to the container
  DetachKeys detach_keys;
  std::function<void(int signal)> deliver_signal;  ///< how a signal reaches the process
  std::function<Result<void>()> clean_up;          ///< after the container, when its monitor asks for it
};

struct SessionEnd {
  std::optional<int> exit_code;  ///< nullopt: detached, or the connection was lost
  bool detached = false;
};

/// Signals that a session handles; blocked from the start of a command that will have one, so that none is lost before.
void block_session_signals();

/// Our terminal against a container's attach socket, until it exits or the user detaches.
Result<SessionEnd> run_attach_session(FileDescriptor connection, const SessionOptions& options);

/// Our terminal against a process of exec (child of ours, pty or pipes).
Result<int> run_exec_session(engine::Exec exec, const SessionOptions& options);

}  // namespace dray::cli
