// SPDX-License-Identifier: Apache-2.0
#include "foreground.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <optional>

#include "log.hpp"

namespace dray::oci {
namespace {

class RawTerminal {
 public:
  RawTerminal() {
    struct termios settings;
    if (::tcgetattr(0, &settings) != 0) return;
    saved_ = settings;
    ::cfmakeraw(&settings);
    settings.c_oflag |= OPOST;  // it adds the carriage returns, which the container's terminal leaves out
    (void)::tcsetattr(0, TCSANOW, &settings);
  }
  ~RawTerminal() {
    if (saved_) (void)::tcsetattr(0, TCSANOW, &*saved_);
  }
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

 private:
  std::optional<struct termios> saved_;
};

void copy_window_size(FdRef console) {
  struct winsize size;
  if (::ioctl(0, TIOCGWINSZ, &size) == 0) (void)::ioctl(console.get(), TIOCSWINSZ, &size);
}

// What the container says, on its way to our standard output. Nobody may be reading there, for as long as they like:
// signals have to get through meanwhile.
class Output {
 public:
  Output() {
    struct stat status;
    int number;
    if (::fstat(1, &status) != 0) return;
    is_socket_ = S_ISSOCK(status.st_mode);
    // O_NONBLOCK of descriptor 1 would be that of all who share it. A pty's master, opened again, is another's.
    if (S_ISFIFO(status.st_mode) || (::isatty(1) == 1 && ::ioctl(1, TIOCGPTN, &number) != 0))
      own_ = FileDescriptor(::open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  }
  int target() const { return own_.valid() ? own_.get() : 1; }
  bool pending() const { return !pending_.empty(); }
  void forget() { pending_.clear(); }
  /// False at the end of `from`. EIO: the last process has closed its side of the pty.
  bool read(FdRef from) {
    char buffer[16384];
    const ssize_t count = ::read(from.get(), buffer, sizeof buffer);
    if (count < 0) return errno == EINTR || errno == EAGAIN;
    pending_.assign(buffer, static_cast<std::size_t>(count));
    if (own_.valid() || is_socket_) return count > 0 && write();
    return count > 0;
  }
  /// False if nothing can be written any more.
  bool write() {
    // That much a pipe takes that says it has room.
    const std::size_t size = own_.valid() ? pending_.size() : std::min<std::size_t>(pending_.size(), PIPE_BUF);
    const ssize_t count = is_socket_ ? ::send(1, pending_.data(), size, MSG_DONTWAIT | MSG_NOSIGNAL)
                                     : ::write(target(), pending_.data(), size);
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) return true;
    pending_.erase(0, count < 0 ? std::string::npos : static_cast<std::size_t>(count));
    return count >= 0;
  }

 private:
  FileDescriptor own_;
  bool is_socket_ = false;
  std::string pending_;
};

// What was typed, on its way. It must not be waited for: the container may not read before we take its output.
class Input {
 public:
  explicit Input(bool open) : open_(open) {}
  int source() const { return open_ && pending_.empty() ? 0 : -1; }
  bool pending() const { return !pending_.empty(); }
  void read() {
    char buffer[16384];
    const ssize_t count = ::read(0, buffer, sizeof buffer);
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) return;
    open_ = count > 0;
    pending_ =
        open_ ? std::string(buffer, static_cast<std::size_t>(count)) : "\x04";  // ^D: end of input for a terminal
  }
  void write(FdRef console) {
    const ssize_t count = ::write(console.get(), pending_.data(), pending_.size());
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) return;
    pending_.erase(0, count < 0 ? std::string::npos : static_cast<std::size_t>(count));
  }

 private:
  bool open_;
  std::string pending_;
};

}  // namespace

Result<Foreground> Foreground::start() {
  sigset_t all;
  ::sigfillset(&all);
  // What this program did wrong itself.
  for (int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) ::sigdelset(&all, own);
  if (::sigprocmask(SIG_BLOCK, &all, nullptr) != 0) return fail_errno("blocking signals");
  Foreground foreground;
  foreground.signals_ = FileDescriptor(::signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!foreground.signals_.valid()) return fail_errno("opening a signalfd");
  return foreground;
}

void Foreground::adopt_window_size(runtime::Process& process) {
  struct winsize size;
  if (!process.terminal || ::ioctl(0, TIOCGWINSZ, &size) != 0) return;
  process.console_rows = size.ws_row;
  process.console_columns = size.ws_col;
}

Result<int> Foreground::follow(const runtime::Launched& launched, const NotifySocket* notify) {
  const bool terminal = launched.console.valid();
  std::optional<RawTerminal> raw;
  bool output_open = terminal;
  Output output;
  Input input(terminal);
  if (terminal) {
    if (::fcntl(launched.console.get(), F_SETFL, O_RDWR | O_NONBLOCK) != 0) return fail_errno("preparing the terminal");
    raw.emplace();
    copy_window_size(launched.console);
  }
  bool ended = false;
  while (!ended || output_open || output.pending()) {
    const short reading = output_open && !output.pending() ? POLLIN : 0;
    const short writing = input.pending() ? POLLOUT : 0;
    struct pollfd waiting[6] = {{signals_.get(), POLLIN, 0},
                                {ended ? -1 : launched.pidfd.get(), POLLIN, 0},
                                {output_open && (reading | writing) != 0 ? launched.console.get() : -1,
                                 static_cast<short>(reading | writing), 0},
                                {ended ? -1 : input.source(), POLLIN, 0},
                                {notify != nullptr ? notify->fd().get() : -1, POLLIN, 0},
                                {output.pending() ? output.target() : -1, POLLOUT, 0}};
    // After the end only what is in the pty already is waited for: another process may hold it open for ever.
    const int count = ::poll(waiting, 6, ended && !output.pending() ? 0 : -1);
    if (count < 0 && errno != EINTR) return fail_errno("waiting for the container");
    if (count <= 0) {
      if (ended) break;
      continue;
    }
    if (waiting[1].revents != 0) ended = true;
    if (waiting[4].revents != 0) {
      // No barrier: this process, which is the one to be watched, does not end now.
      auto told = notify->pass_on(::getpid());
      if (!told) log_warning(told.error().message());
      if (!told || *told) notify = nullptr;
    }
    if ((waiting[2].revents & POLLOUT) != 0) input.write(launched.console);
    if (waiting[5].revents != 0) output_open = output.write() && output_open;
    if (reading != 0 && (waiting[2].revents & ~POLLOUT) != 0) output_open = output.read(launched.console);
    if (waiting[3].revents != 0) input.read();
    struct signalfd_siginfo signal;
    while (::read(signals_.get(), &signal, sizeof signal) == sizeof signal) {
      const int number = static_cast<int>(signal.ssi_signo);
      if (number == SIGCHLD || number == SIGPIPE || number == SIGURG) continue;
      if (number == SIGWINCH && terminal) {
        copy_window_size(launched.console);
      } else if (ended) {
        // Meant for us: there is nobody else any more, and nobody may want the rest.
        if (number != SIGTERM && number != SIGINT && number != SIGHUP && number != SIGQUIT) continue;
        output.forget();
        output_open = false;
      } else {
        (void)::syscall(SYS_pidfd_send_signal, launched.pidfd.get(), number, nullptr, 0);
      }
    }
  }
  int status = 0;
  while (::waitpid(launched.pid, &status, 0) < 0) {
    if (errno != EINTR) return fail_errno("waiting for the container");
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace dray::oci
