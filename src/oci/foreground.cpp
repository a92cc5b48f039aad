// SPDX-License-Identifier: Apache-2.0
#include "foreground.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
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

// False at the end of `from`. EIO: the last process has closed its side of the pty.
bool pass_on(FdRef from, FdRef to) {
  char buffer[16384];
  const ssize_t count = ::read(from.get(), buffer, sizeof buffer);
  if (count < 0) return errno == EINTR || errno == EAGAIN;
  if (count == 0) return false;
  return write_all(to, std::string_view(buffer, static_cast<std::size_t>(count))).has_value();
}

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
  Input input(terminal);
  if (terminal) {
    if (::fcntl(launched.console.get(), F_SETFL, O_RDWR | O_NONBLOCK) != 0) return fail_errno("preparing the terminal");
    raw.emplace();
    copy_window_size(launched.console);
  }
  bool ended = false;
  while (!ended || output_open) {
    struct pollfd waiting[5] = {
        {signals_.get(), POLLIN, 0},
        {ended ? -1 : launched.pidfd.get(), POLLIN, 0},
        {output_open ? launched.console.get() : -1, static_cast<short>(input.pending() ? POLLIN | POLLOUT : POLLIN), 0},
        {ended ? -1 : input.source(), POLLIN, 0},
        {notify != nullptr ? notify->fd().get() : -1, POLLIN, 0}};
    // After the end only what is in the pty already is waited for: another process may hold it open for ever.
    const int count = ::poll(waiting, 5, ended ? 0 : -1);
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
    if ((waiting[2].revents & ~POLLOUT) != 0) output_open = pass_on(launched.console, FdRef(1));
    if (waiting[3].revents != 0) input.read();
    struct signalfd_siginfo signal;
    while (::read(signals_.get(), &signal, sizeof signal) == sizeof signal) {
      const int number = static_cast<int>(signal.ssi_signo);
      if (number == SIGCHLD || number == SIGPIPE || number == SIGURG) continue;
      if (number == SIGWINCH && terminal) {
        copy_window_size(launched.console);
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
