// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdint.h>

namespace dray::monitor {

/// What becomes of a container whose process has ended; without the C++ library, so that the monitor can have it.
struct RestartRule {
  enum Policy { never = 0, always = 1, on_failure = 2 };
  int policy = never;
  int max = 0;       ///< of on_failure: so many restarts, 0 = any number
  int count = 0;     ///< restarts so far
  int delay_ms = 0;  ///< the wait before the latest restart, 0 = there was none
};

/// Docker's rule. The user's wish that it stay stopped is not part of it.
bool wants_restart(const RestartRule& rule, int exit_code);
/// The wait before the next restart: 100 ms, doubled each time up to a minute; 100 ms again after 10 s of running.
int next_delay_ms(int delay_ms, int64_t ran_ms);

/// Waits; false as soon as the file `stop_mark` is there.
bool await_restart(const char* stop_mark, int delay_ms);

}  // namespace dray::monitor
