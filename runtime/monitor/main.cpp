// SPDX-License-Identifier: Apache-2.0
// dray-monitor: the one process that stays with a container, so it is small: static, no C++ library, buffers only in
// use. It relays until the container's first process ends, records the exit, has the clean-up done, tells the clients,
// ends.

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>  // rename
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "json_log.hpp"
#include "options.hpp"
#include "relay.hpp"

namespace {

using dray::monitor::Options;
using dray::monitor::Relay;

Relay relay;  // static storage: untouched pages of its buffers cost nothing

constexpr int kIgnoredSignals[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1, SIGUSR2, SIGALRM};
constexpr int kGoodbyeMs = 10'000;
constexpr int kClientCleansMs = 2000;

bool write_whole(int fd, const char* data, size_t size) {
  while (size > 0) {
    ssize_t written = write(fd, data, size);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    data += written;
    size -= static_cast<size_t>(written);
  }
  return true;
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

/// Temporary file and rename: after a kill the exit is there or not, never half; `durable`, also after a power failure.
bool write_exit_file(const char* path, int code, bool oom, bool durable) {
  char temporary[4200];
  char text[160];
  size_t length = strlen(path);
  if (length == 0 || length > 4090) return false;
  memcpy(temporary, path, length);
  memcpy(temporary + length, ".tmp", 5);

  auto add = [out = text](const char* piece) mutable {
    size_t size = strlen(piece);
    memcpy(out, piece, size + 1);
    out += size;
  };
  char number[24] = {}, time[32] = {};
  dray::monitor::format_number(static_cast<uint64_t>(code), number);
  dray::monitor::format_now(time);
  add("{\"exit_code\":");
  add(number);
  add(oom ? ",\"oom_killed\":true" : ",\"oom_killed\":false");
  add(",\"finished_at\":\"");
  add(time);
  add("\"}\n");

  int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return false;
  bool written = write_whole(fd, text, strlen(text)) && (!durable || fsync(fd) == 0);
  written = close(fd) == 0 && written;
  if (!written || rename(temporary, path) != 0) {
    unlink(temporary);
    return false;
  }
  if (!durable) return true;
  char* slash = strrchr(temporary, '/');
  if (slash != nullptr) slash[1] = '\0';
  int directory = open(slash != nullptr ? temporary : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory >= 0) {
    fsync(directory);
    close(directory);
  }
  return true;
}

/// Starts the clean-up command with signals, OOM score and descriptors as a program expects them. -1 = not started.
pid_t start_cleanup(char** argv, const char* oom_score) {
  pid_t pid = fork();
  if (pid != 0) return pid;
  for (int number : kIgnoredSignals) signal(number, SIG_DFL);
  if (*oom_score != '\0') set_oom_score(oom_score, nullptr, 0);
  syscall(SYS_close_range, 3, ~0u, 0);
  execvp(argv[0], argv);
  _exit(127);
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

  if (!relay.start(options) || !relay.watch(options.pidfd)) return 70;
  relay.run(-1);
  int code = reap(options.pidfd);
  relay.unwatch(options.pidfd);
  relay.finish_output();
  bool oom = was_oom_killed(options.oom);
  if (options.exit_path != nullptr) write_exit_file(options.exit_path, code, oom, options.exit_durable);
  // The name goes before the clean-up, which may start a successor; who has connected is still served.
  if (options.state_directory >= 0) unlinkat(options.state_directory, "attach.sock", 0);
  const bool cleaned = options.client_cleans && relay.delegate_cleanup(kClientCleansMs);
  if (!cleaned && options.cleanup_argv != nullptr) run_cleanup(options.cleanup_argv, oom_score);

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
