// SPDX-License-Identifier: Apache-2.0
// dray-monitor as a real process beside this test binary; the "container" is a shell on pipes or a pty.

#include "catch.hpp"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <dray/runtime/monitor.hpp>

using namespace dray;
using namespace dray::runtime;

namespace {

struct Frame {
  int kind = -1;
  std::string payload;
};

/// What a run of the monitor needs, and its clean-up.
struct Container {
  std::string state;
  bool terminal = false, open_stdin = false, first_client = true;
  std::vector<std::string> cleanup;
  RestartRequest restart;
  pid_t monitor = -1;
  FileDescriptor client;

  explicit Container(bool long_path = false) : directory_(TempDir::create("/tmp", "dray-monitor-").value()) {
    state = directory_.path();
    if (long_path) state += "/" + std::string(120, 'x');
    REQUIRE_OK(make_directories(state));
  }
  Container(const Container&) = delete;
  ~Container() {
    client.reset();
    if (monitor > 0) {
      kill(monitor, SIGKILL);
      waitpid(monitor, nullptr, 0);
    }
  }

  void start(const std::string& script) {
    int pair[2] = {};
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    client = FileDescriptor(pair[0]);
    FileDescriptor theirs(pair[1]);
    Pipe ready = make_pipe().value();  // closes at the monitor's exec
    monitor = fork();
    if (monitor == 0) {
      client.reset();
      ready.read_end.reset();
      Error error = run_monitor(script, std::move(theirs));
      std::string text = error.to_string();
      (void)!write(ready.write_end.get(), text.data(), text.size());
      _exit(99);
    }
    ready.write_end.reset();
    theirs.reset();
    REQUIRE(read_all(ready.read_end, 4096).value() == "");
  }

  Error run_monitor(const std::string& script, FileDescriptor theirs) {
    MonitorRequest request;
    Pipe in = make_pipe().value(), out = make_pipe().value(), err = make_pipe().value();
    int master = -1, slave = -1;
    if (terminal) {
      (void)openpty(&master, &slave, nullptr, nullptr, nullptr);
      fcntl(master, F_SETFD, FD_CLOEXEC);
      fcntl(slave, F_SETFD, FD_CLOEXEC);
    }
    auto lock = FileLock::acquire(state + "/lock", FileLock::Mode::exclusive);
    pid_t pid = fork();
    if (pid == 0) {
      if (terminal) {
        setsid();
        for (int fd : {0, 1, 2}) dup2(slave, fd);
      } else {
        dup2(open_stdin ? in.read_end.get() : open("/dev/null", O_RDONLY), 0);
        dup2(out.write_end.get(), 1);
        dup2(err.write_end.get(), 2);
      }
      signal(SIGPIPE, SIG_DFL);
      execl("/bin/sh", "sh", "-c", script.c_str(), nullptr);
      _exit(127);
    }
    if (slave >= 0) close(slave);
    request.launched.pid = pid;
    request.launched.pidfd = FileDescriptor(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
    request.launched.console = FileDescriptor(master);
    request.terminal = terminal;
    request.open_stdin = open_stdin;
    request.stdin_write = std::move(in.write_end);
    request.stdout_read = std::move(out.read_end);
    request.stderr_read = std::move(err.read_end);
    request.lock = lock->take_fd();
    if (first_client) request.first_client = std::move(theirs);
    request.state_directory = state;
    request.log_path = state + "/log.json";
    request.exit_path = state + "/exit.json";
    request.cleanup_argv = cleanup;
    request.restart = restart;
    return become_monitor(std::move(request));
  }

  std::string file(const char* name) {
    auto text = read_file(state + "/" + name, 256u << 20);
    return text ? *text : "";
  }

  int reap() {
    int status = -1;
    REQUIRE(waitpid(monitor, &status, 0) == monitor);
    monitor = -1;
    return status;
  }

 private:
  TempDir directory_;
};

std::string read_exactly(int fd, std::size_t size) {
  std::string out(size, '\0');
  std::size_t done = 0;
  while (done < size) {
    pollfd wait = {fd, POLLIN, 0};
    if (poll(&wait, 1, 20'000) != 1) return "";
    ssize_t got = read(fd, out.data() + done, size - done);
    if (got <= 0) return "";
    done += static_cast<std::size_t>(got);
  }
  return out;
}

Frame read_frame(int fd) {
  std::string header = read_exactly(fd, 8);
  if (header.empty()) return {};
  std::uint32_t size = 0;
  std::memcpy(&size, header.data() + 4, 4);
  REQUIRE(size <= kMaxFrame);
  return {header[0], size == 0 ? "" : read_exactly(fd, size)};
}

struct Output {
  std::string out, err;
  int code = -1;
};

Output read_to_end(int fd) {
  Output all;
  for (Frame frame = read_frame(fd); frame.kind >= 0; frame = read_frame(fd)) {
    if (frame.kind == 3) all.out += frame.payload;
    if (frame.kind == 4) all.err += frame.payload;
    if (frame.kind == 5) {
      std::memcpy(&all.code, frame.payload.data(), 4);
      break;
    }
  }
  return all;
}

void send_frame(int fd, FrameKind kind, std::string_view payload) {
  std::string frame(8, '\0');
  frame[0] = static_cast<char>(kind);
  auto size = static_cast<std::uint32_t>(payload.size());
  std::memcpy(frame.data() + 4, &size, 4);
  frame += payload;
  REQUIRE_OK(write_all(FdRef(fd), frame));
}

std::size_t count(std::string_view text, std::string_view what) {
  std::size_t found = 0;
  for (std::size_t at = text.find(what); at != std::string_view::npos; at = text.find(what, at + 1)) ++found;
  return found;
}

bool monitor_is_built() { return access((executable_directory().value() + "/dray-monitor").c_str(), X_OK) == 0; }
#define NEEDS_MONITOR()                                          \
  if (!monitor_is_built()) {                                     \
    WARN("skipped: dray-monitor is not beside the test binary"); \
    return;                                                      \
  }

}  // namespace

TEST_CASE("nobody listens: unavailable") {
  auto result = connect_monitor("/tmp/no-such-dray-directory");
  REQUIRE(!result);
  REQUIRE(result.error().code() == ErrorCode::unavailable);
}

TEST_CASE("output, log, exit file, clean-up and exit code") {
  NEEDS_MONITOR();
  Container c;
  c.cleanup = {"/bin/sh", "-c",
               "cat " + c.state + "/exit.json > " + c.state + "/seen; test -e " + c.state +
                   "/attach.sock || echo gone >> " + c.state +
                   "/seen; ls -l /proc/self/fd | grep -c -v ' /dev/null$' > " + c.state + "/fds; trap > " + c.state +
                   "/trap; cat /proc/self/oom_score_adj > " + c.state + "/oom"};
  c.start(
      "echo out; echo err >&2; printf 'quote\" back\\\\ tab\\t bell\\007 bad\\377 euro\\342\\202\\254 "
      "surrogate\\355\\240\\200\\nend'; exit 7");
  Output all = read_to_end(c.client.get());
  REQUIRE(all.code == 7);
  REQUIRE(all.out.starts_with("out\nquote\" back"));
  REQUIRE(all.out.ends_with("\nend"));
  REQUIRE(all.err == "err\n");
  // The lock is free when the news is out.
  REQUIRE_OK(FileLock::try_acquire(c.state + "/lock", FileLock::Mode::exclusive));
  REQUIRE(c.reap() == 0);
  std::string log = c.file("log.json");
  INFO(log);
  REQUIRE(count(log, "\n") == 4);
  REQUIRE(log.find("{\"log\":\"out\\n\",\"stream\":\"stdout\",\"time\":\"20") == 0);
  REQUIRE(log.find("{\"log\":\"err\\n\",\"stream\":\"stderr\"") != std::string::npos);
  REQUIRE(log.find("quote\\\" back\\\\ tab\\t bell\\u0007 bad\xef\xbf\xbd euro\xe2\x82\xac "
                   "surrogate\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\\n") != std::string::npos);
  REQUIRE(log.find("{\"log\":\"end\",") != std::string::npos);
  std::string exit = c.file("exit.json");
  REQUIRE(exit.starts_with("{\"exit_code\":7,\"oom_killed\":false,\"finished_at\":\"20"));
  REQUIRE(parse_time(std::string_view(exit).substr(exit.find("at\":\"") + 5, 30)).has_value());
  REQUIRE(c.file("seen") == exit + "gone\n");
  REQUIRE(c.file("trap") == "");
  REQUIRE(access((c.state + "/exit.json.tmp").c_str(), F_OK) != 0);
}

TEST_CASE("killed by a signal: 128 + number; the monitor itself survives the usual signals") {
  NEEDS_MONITOR();
  Container c(true);  // a path longer than a socket address
  c.start("echo ready; sleep 0.2; kill -9 $$");
  REQUIRE(read_frame(c.client.get()).payload == "ready\n");
  struct stat status = {};
  REQUIRE(stat((c.state + "/attach.sock").c_str(), &status) == 0);
  REQUIRE((status.st_mode & 0777) == 0600);
  for (int number : {SIGTERM, SIGINT, SIGHUP, SIGPIPE, SIGQUIT}) kill(c.monitor, number);
  auto second = connect_monitor(c.state);
  REQUIRE_OK(second);
  REQUIRE(!FileLock::try_acquire(c.state + "/lock", FileLock::Mode::exclusive));
  REQUIRE(read_to_end(second->get()).code == 137);
  REQUIRE(read_to_end(c.client.get()).code == 137);
  REQUIRE(c.reap() == 0);
  REQUIRE(!connect_monitor(c.state));
}

TEST_CASE("a restart: noted, lock kept, the command gets it; not against the user's wish nor after SIGTERM") {
  NEEDS_MONITOR();
  const bool stopped = GENERATE(false, true), told = GENERATE(false, true);
  Container c;
  c.cleanup = {"/bin/sh", "-c", "echo clean >> " + c.state + "/seen"};
  c.restart.only_on_failure = true;
  c.restart.max = 3;
  c.restart.count = 1;
  c.restart.delay_ms = 100;
  c.restart.stop_mark = c.state + "/stopped";
  c.restart.argv = {
      "/bin/sh", "-c",
      "readlink /proc/self/fd/3 >> " + c.state + "/seen; umask >> " + c.state + "/seen; flock -n 3 && sleep 0.3"};
  if (stopped) REQUIRE_OK(write_file_atomically(c.restart.stop_mark, "", 0600, Durability::none));
  c.start("echo ready; sleep 0.1; exit 4");
  REQUIRE(read_frame(c.client.get()).payload == "ready\n");
  if (told) kill(c.monitor, SIGTERM);
  REQUIRE(read_to_end(c.client.get()).code == 4);
  REQUIRE(c.reap() == 0);
  const bool again = !stopped && !told;
  CHECK(FileLock::try_acquire(c.state + "/lock", FileLock::Mode::exclusive).has_value() == !again);
  if (again) REQUIRE_OK(FileLock::acquire(c.state + "/lock", FileLock::Mode::exclusive));
  const std::string exit = c.file("exit.json");
  INFO(exit);
  CHECK(exit.ends_with(again ? "Z\",\"restart_count\":2,\"restart_delay_ms\":200}\n" : "Z\",\"restart_count\":1}\n"));
  CHECK(c.file("seen") == (again ? "clean\n" + c.state + "/lock\n0022\n" : "clean\n"));
}

TEST_CASE("megabytes pass through stdin, a slow reader and stdout without loss; leaving closes stdin") {
  NEEDS_MONITOR();
  Container c;
  c.open_stdin = true;
  c.start("sleep 0.1; cat; echo done >&2");
  std::string sent;
  for (int i = 0; sent.size() < (3u << 20); ++i) sent += "line " + std::to_string(i) + "\n";
  pid_t writer = fork();
  if (writer == 0) {
    for (std::size_t at = 0; at < sent.size(); at += 60'000)
      send_frame(c.client.get(), FrameKind::stdin_data, std::string_view(sent).substr(at, 60'000));
    send_frame(c.client.get(), FrameKind::stdin_close, "");
    _exit(0);
  }
  usleep(100'000);
  Output all = read_to_end(c.client.get());
  waitpid(writer, nullptr, 0);
  REQUIRE(all.code == 0);
  REQUIRE(all.out.size() == sent.size());
  REQUIRE(all.out == sent);
  REQUIRE(all.err == "done\n");
  REQUIRE(c.reap() == 0);
  std::string log = c.file("log.json");
  REQUIRE(count(log, "\"stream\":\"stdout\"") == count(sent, "\n"));

  Container left;
  left.open_stdin = true;
  left.start("cat; echo over");
  send_frame(left.client.get(), FrameKind::stdin_data, "last words\n");
  left.client.reset();
  REQUIRE(left.reap() == 0);
  REQUIRE(left.file("log.json").find("last words") != std::string::npos);
  REQUIRE(left.file("log.json").find("over") != std::string::npos);
}

TEST_CASE("the first client holds the container back, a second that stalls is cut off, both ends stay whole") {
  NEEDS_MONITOR();
  Container c;
  c.start("head -c 12000000 /dev/zero | tr '\\0' 'a'; exit 3");
  auto stalled = connect_monitor(c.state);
  REQUIRE_OK(stalled);
  usleep(100'000);
  struct stat status = {};
  REQUIRE(stat((c.state + "/log.json").c_str(), &status) == 0);
  REQUIRE(status.st_size < 4'000'000);  // nobody reads: the container waits
  Output all = read_to_end(c.client.get());
  REQUIRE(all.out.size() == 12'000'000);
  REQUIRE(all.code == 3);
  Output cut = read_to_end(stalled->get());
  REQUIRE(cut.code == -1);
  REQUIRE(c.reap() == 0);
  std::string log = c.file("log.json");
  REQUIRE(count(log, "a") >= 12'000'000);
  REQUIRE(count(log, "\n") == (12'000'000 + 16383) / 16384);
}

TEST_CASE("nonsense from a client ends that client only") {
  NEEDS_MONITOR();
  Container c;
  c.open_stdin = true;
  c.start("read x; echo got $x");
  for (std::string bad : {std::string("\xff\0\0\0\0\0\0\0", 8), std::string("\0\1\0\0\0\0\0\0", 8),
                          std::string("\0\0\0\0\xff\xff\xff\xff", 8), std::string("\2\0\0\0\0\0\0\0", 8),
                          std::string("\5\0\0\0\4\0\0\0\0\0\0\0", 12)}) {
    auto client = connect_monitor(c.state);
    REQUIRE_OK(client);
    REQUIRE_OK(write_all(*client, bad));
    char byte = 0;
    pollfd wait = {client->get(), POLLIN, 0};
    REQUIRE(poll(&wait, 1, 5000) == 1);
    REQUIRE(read(client->get(), &byte, 1) <= 0);
  }
  send_frame(c.client.get(), FrameKind::stdin_data, "hello\n");
  Output all = read_to_end(c.client.get());
  REQUIRE(all.out == "got hello\n");
  REQUIRE(all.code == 0);
}

TEST_CASE("a terminal: input, size, output") {
  NEEDS_MONITOR();
  Container c;
  c.terminal = true;
  c.start("echo start; read x; stty size; echo $x; exit 4");
  std::string seen;
  while (seen.find("start") == std::string::npos) seen += read_frame(c.client.get()).payload;
  send_frame(c.client.get(), FrameKind::resize, std::string_view("\x28\0\x7b\0", 4));
  send_frame(c.client.get(), FrameKind::stdin_data, "word\n");
  Output all = read_to_end(c.client.get());
  INFO(all.out);
  REQUIRE(all.code == 4);
  REQUIRE(all.out.find("40 123\r\n") != std::string::npos);
  REQUIRE(all.out.find("word\r\nword") == std::string::npos);  // size stands between echo and answer
  REQUIRE(all.out.ends_with("word\r\n"));
}

TEST_CASE("a grandchild that keeps the pipe open does not keep the monitor") {
  NEEDS_MONITOR();
  Container c;
  c.first_client = false;
  c.start("sleep 3 & echo bye");
  REQUIRE(c.reap() == 0);
  REQUIRE(c.file("log.json").find("bye") != std::string::npos);
  REQUIRE(c.file("exit.json").find("\"exit_code\":0") != std::string::npos);
}
