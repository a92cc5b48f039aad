// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <signal.h>

#include <dray/core/fd.hpp>
#include <dray/core/result.hpp>
#include <dray/runtime/launch.hpp>
#include <dray/runtime/spec.hpp>

namespace dray::oci {

/// `run` and `exec` without --detach: this process stays as the container's face. Signals go on to the container's
/// process, a terminal is relayed to ours.
class Foreground {
 public:
  /// From here on signals are kept for follow(); the launched process begins with none blocked.
  static Result<Foreground> start();

  /// The pty shall have our terminal's size from its first moment, not only when follow() relays it.
  static void adopt_window_size(runtime::Process& process);

  /// Until the process has ended: its exit code, 128 + number of the signal that ended it. It is reaped.
  Result<int> follow(const runtime::Launched& launched);

 private:
  FileDescriptor signals_;
};

}  // namespace dray::oci
