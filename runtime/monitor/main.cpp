// SPDX-License-Identifier: Apache-2.0
// dray-monitor: the one process that stays with a container, so it is small: static, no C++ library, buffers only in
// use. It relays until the container's first process ends, records the exit, has the clean-up done, tells the clients,
// and ends, or, where the restart policy says so, becomes the command that starts the container again.

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "exit_file.hpp"
#include "json_log.hpp"
#include "options.hpp"
#include "relay.hpp"

namespace {

using dray::monitor::Options;
using dray::monitor::Relay;
using dray::monitor::RestartRule;

Relay relay;  // static storage: untouched pages of its buffers cost nothing

constexpr int kIgnoredSignals[] = {SIGINT, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1, SIGUSR2, SIGALRM};
constexpr int kGoodbyeMs = 10'000;
constexpr int kClientCleansMs = 2000;
/// Where the restarting command expects the lock.
constexpr int kLockDescriptor = 3;

/// SIGTERM goes to each process when the machine is shut down: what ends now is not started again.
volatile sig_atomic_t told_to_end = 0;

int64_t now_ms() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * int64_t{1000} + now.tv_nsec / 1000000;
}

/// Makes the OOM killer prefer anything else. The old value goes back into the clean-up command.
void set_oom_score(const char* value, char* previous, size_t size) {
  int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
  if (fd < 0) return;
  if (previous != nullptr) {
    ssize_t length = read(fd, previous, size - 1);
    previous[length > 0 ? length : 0] = '\0';
  }
  (void)!pwrite(fd, value, strlen(value), 0);  // lowering needs CAP_SYS_RESOURCE: as allowed
  close(fd);
}

/// The child is ours alone to reap; 128 + signal as a shell shows it.
int reap(int pidfd) {
  siginfo_t info = {};
  int result = 0;
  do result = waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd), &info, WEXITED);
  while (result != 0 && errno == EINTR);
  if (result != 0) return 255;
  return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

bool was_oom_killed(int fd) {
  if (fd < 0) return false;
  char text[4096];
  ssize_t size = pread(fd, text, sizeof(text) - 1, 0);
  if (size <= 0) return false;
  text[size] = '\0';
  for (const char* line = text; line != nullptr; line = strchr(line, '\n')) {
    if (*line == '\n') ++line;
    if (strncmp(line, "oom_kill ", 9) == 0) return atol(line + 9) > 0;
  }
  return false;
}

/// Becomes a command of the engine, with signals, OOM score and umask as a program expects them.
[[noreturn]] void become(char** argv, const char* oom_score) {
  for (int number : kIgnoredSignals) signal(number, SIG_DFL);
  if (*oom_score != '\0') set_oom_score(oom_score, nullptr, 0);
  umask(0022);
  execvp(argv[0], argv);
  _exit(127);
}

/// -1 = not started.
pid_t start_cleanup(char** argv, const char* oom_score) {
  pid_t pid = fork();
  if (pid != 0) return pid;
  syscall(SYS_close_range, 3, ~0u, 0);
  become(argv, oom_score);
}

/// Forks a process that has the lock from now on, waits, and becomes the restarting command. Forked because clients may
/// still take their time with the output. Killed at any moment, it leaves a container that has ended: the lock is free.
void restart_later(const Options& options, int delay_ms, const char* oom_score) {
  if (fork() != 0) return;
  signal(SIGTERM, SIG_DFL);
  if (told_to_end != 0 || dup2(options.lock, kLockDescriptor) < 0) _exit(0);
  syscall(SYS_close_range, kLockDescriptor + 1, ~0u, 0);
  if (!dray::monitor::await_restart(options.stop_mark, delay_ms)) _exit(0);
  become(options.restart_argv, oom_score);
}

void run_cleanup(char** argv, const char* oom_score) {
  pid_t pid = start_cleanup(argv, oom_score);
  if (pid < 0) return;
  int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  // Clients go on receiving while it works.
  if (pidfd >= 0 && relay.watch(pidfd)) {
    relay.run(-1);
    relay.unwatch(pidfd);
  }
  if (pidfd >= 0) close(pidfd);
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (!dray::monitor::parse_options(argc, argv, options)) {
    static const char usage[] = "dray-monitor: started by dray for each container, not by hand\n";
    (void)!write(2, usage, sizeof(usage) - 1);
    return 64;
  }
  for (int number : kIgnoredSignals) signal(number, SIG_IGN);
  signal(SIGTERM, [](int) { told_to_end = 1; });
  const int64_t started_ms = now_ms();
  signal(SIGCHLD, SIG_DFL);  // were it ignored, nobody could be reaped
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  setsid();
  (void)!chdir("/");
  umask(0077);
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; fd < 3 && null >= 0; ++fd) dup2(null, fd);
  if (null > 2) close(null);
  char oom_score[16] = "";
  set_oom_score("-500", oom_score, sizeof(oom_score));
  prctl(PR_SET_DUMPABLE, 0);  // its memory holds the container's output. Last: it takes /proc/self away from non-root

  if (options.exit_path != nullptr) dray::monitor::reserve_exit_file(options.exit_path);
  if (!relay.start(options) || !relay.watch(options.pidfd)) return 70;
  relay.run(-1);
  int code = reap(options.pidfd);
  relay.unwatch(options.pidfd);
  relay.finish_output();
  bool oom = was_oom_killed(options.oom);
  const RestartRule& rule = options.restart;
  const bool again = options.lock >= 0 && options.exit_path != nullptr && wants_restart(rule, code) &&
                     told_to_end == 0 && access(options.stop_mark, F_OK) != 0;
  const int delay_ms = again ? dray::monitor::next_delay_ms(rule.delay_ms, now_ms() - started_ms) : 0;
  const dray::monitor::Exit exit = {code, oom, rule.count + (again ? 1 : 0), delay_ms};
  const bool noted =
      options.exit_path != nullptr && dray::monitor::write_exit_file(options.exit_path, exit, options.exit_durable);
  // The name goes before the clean-up, which may start a successor; who has connected is still served.
  if (options.state_directory >= 0) unlinkat(options.state_directory, "attach.sock", 0);
  const bool cleaned = options.client_cleans && relay.delegate_cleanup(kClientCleansMs);
  if (!cleaned && options.cleanup_argv != nullptr) run_cleanup(options.cleanup_argv, oom_score);

  // A client may keep us long; whoever starts the container next needs its ports.
  dray::monitor::close_kept(argc, argv);
  if (again && noted) restart_later(options, delay_ms, oom_score);
  // Free the lock before the news is out: who hears of the exit may remove or restart the container at once.
  if (options.lock >= 0) close(options.lock);
  relay.send_exit(code);
  // The first client (maybe stopped, or a pager that shows page one) gets its output however long it takes; others have
  // 10 s.
  if (relay.pending_first() + relay.pending_others() > 0) relay.run(kGoodbyeMs);
  relay.drop_others();
  while (relay.pending_first() > 0) relay.run(kGoodbyeMs);
  return 0;
}
