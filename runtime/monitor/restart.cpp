// SPDX-License-Identifier: Apache-2.0
// Restart policies: the decision and the wait. The wait is the monitor's, not the engine's: a container that ends again
// and again is waited for a minute at a time, and the engine's program is ten times as large.

#include "restart.hpp"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

namespace dray::monitor {
namespace {

constexpr int kFirstDelayMs = 100;
constexpr int kLongestDelayMs = 60'000;
constexpr int64_t kSteadyMs = 10'000;  ///< who ran for so long is not in a loop of failures
constexpr int kPollMs = 100;           ///< where inotify has no room for one more

int64_t now_ms() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * int64_t{1000} + now.tv_nsec / 1000000;
}

/// Readable when something got a name in the folder of `path`.
int watch_folder(const char* path) {
  char folder[PATH_MAX];
  const char* slash = strrchr(path, '/');
  if (slash == nullptr || slash - path >= PATH_MAX) return -1;
  auto length = static_cast<size_t>(slash - path);
  memcpy(folder, path, length);
  folder[length] = '\0';
  int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  if (fd >= 0 && inotify_add_watch(fd, folder, IN_CREATE | IN_MOVED_TO) < 0) {
    close(fd);
    fd = -1;
  }
  return fd;
}

}  // namespace

bool wants_restart(const RestartRule& rule, int exit_code) {
  if (rule.policy == RestartRule::always) return true;
  return rule.policy == RestartRule::on_failure && exit_code != 0 && (rule.max == 0 || rule.count < rule.max);
}

int next_delay_ms(int delay_ms, int64_t ran_ms) {
  if (delay_ms <= 0 || ran_ms >= kSteadyMs) return kFirstDelayMs;
  return delay_ms >= kLongestDelayMs / 2 ? kLongestDelayMs : delay_ms * 2;
}

bool await_restart(const char* stop_mark, int delay_ms) {
  const int64_t end = now_ms() + delay_ms;
  // Watched before it is looked for: no moment is missed.
  int watch = watch_folder(stop_mark);
  bool stopped = access(stop_mark, F_OK) == 0;
  for (int64_t left = delay_ms; !stopped && left > 0; left = end - now_ms()) {
    pollfd item = {watch, POLLIN, 0};
    int slice = static_cast<int>(watch < 0 && left > kPollMs ? kPollMs : left);
    if (poll(&item, 1, slice) > 0) {
      char events[4096];
      while (read(watch, events, sizeof(events)) > 0) {
      }
    }
    stopped = access(stop_mark, F_OK) == 0;
  }
  if (watch >= 0) close(watch);
  return !stopped;
}

}  // namespace dray::monitor
