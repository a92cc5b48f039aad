// SPDX-License-Identifier: Apache-2.0
// Both kinds of session are one poll loop over: our stdin, a signalfd, and the container's side. Signals come as data
// (signalfd), so nothing runs at an unexpected moment. The container's output is copied without interpretation.
#include "session.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include <dray/runtime/monitor.hpp>

namespace dray::cli {
namespace {

using runtime::FrameKind;

sigset_t session_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT, SIGTSTP})
    sigaddset(&set, number);
  return set;
}

Result<FileDescriptor> open_signals() {
  sigset_t set = session_signals();
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  int fd = ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  if (fd < 0) return fail_errno("creating a signalfd");
  return FileDescriptor(fd);
}

int next_signal(FdRef fd) {
  struct signalfd_siginfo info{};
  return ::read(fd.get(), &info, sizeof info) == sizeof info ? static_cast<int>(info.ssi_signo) : 0;
}

Result<void> send_frame(FdRef socket, FrameKind kind, std::string_view payload) {
  std::string frame(8, '\0');
  frame[0] = static_cast<char>(kind);
  auto length = static_cast<std::uint32_t>(payload.size());
  for (int i = 0; i < 4; ++i) frame[static_cast<std::size_t>(4 + i)] = static_cast<char>((length >> (8 * i)) & 0xff);
  frame += payload;
  return write_all(socket, frame);
}

std::string resize_payload() {
  TerminalSize size = terminal_size(is_terminal(0) ? 0 : 1);
  return {static_cast<char>(size.rows & 0xff), static_cast<char>(size.rows >> 8),
          static_cast<char>(size.columns & 0xff), static_cast<char>(size.columns >> 8)};
}

/// Reassembles frames from a stream.
class FrameReader {
 public:
  struct Frame {
    FrameKind kind;
    std::string payload;
  };
  void append(std::string_view bytes) { buffer_ += bytes; }
  Result<std::optional<Frame>> next() {
    if (buffer_.size() < 8) return std::optional<Frame>();
    std::uint32_t length = 0;
    for (int i = 0; i < 4; ++i)
      length |= static_cast<std::uint32_t>(static_cast<unsigned char>(buffer_[static_cast<std::size_t>(4 + i)]))
                << (8 * i);
    if (length > runtime::kMaxFrame) return fail(ErrorCode::corrupt, "the monitor sent an oversized frame");
    if (buffer_.size() < 8 + length) return std::optional<Frame>();
    Frame frame{static_cast<FrameKind>(buffer_[0]), buffer_.substr(8, length)};
    buffer_.erase(0, 8 + length);
    return std::optional<Frame>(std::move(frame));
  }

 private:
  std::string buffer_;
};

}  // namespace

void block_session_signals() {
  sigset_t set = session_signals();
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
}

Result<SessionEnd> run_attach_session(FileDescriptor connection, const SessionOptions& options) {
  FileDescriptor signals = TRY(open_signals());
  bool raw = options.terminal && options.forward_stdin && is_terminal(0);
  std::optional<RawMode> raw_mode;
  if (raw) raw_mode.emplace(0);
  if (options.terminal) TRY(send_frame(connection, FrameKind::resize, resize_payload()));

  DetachKeys detach_keys = options.detach_keys;
  FrameReader frames;
  std::array<char, 32 * 1024> buffer;
  bool reading_stdin = options.forward_stdin;
  SessionEnd end;
  for (;;) {
    struct pollfd polls[3] = {
        {connection.get(), POLLIN, 0}, {signals.get(), POLLIN, 0}, {reading_stdin ? 0 : -1, POLLIN, 0}};
    if (::poll(polls, 3, -1) < 0) {
      if (errno == EINTR) continue;
      return fail_errno("waiting for the container");
    }
    if (polls[1].revents != 0) {
      while (int number = next_signal(signals)) {
        if (number == SIGWINCH) {
          if (options.terminal) (void)send_frame(connection, FrameKind::resize, resize_payload());
        } else if (number == SIGTSTP && !options.terminal) {
          ::raise(SIGSTOP);
        } else if (number != SIGCONT && number != SIGTSTP) {
          if (options.forward_signals && options.deliver_signal) {
            options.deliver_signal(number);
          } else {
            end.detached = true;
            return end;
          }
        }
      }
    }
    if (polls[2].revents != 0) {
      ssize_t count = ::read(0, buffer.data(), buffer.size());
      if (count <= 0) {
        if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        reading_stdin = false;
        (void)send_frame(connection, FrameKind::stdin_close, "");
      } else {
        std::string_view input(buffer.data(), static_cast<std::size_t>(count));
        DetachKeys::Outcome typed{std::string(input), false};
        if (options.terminal) typed = detach_keys.feed(input);
        if (!typed.pass.empty() && !send_frame(connection, FrameKind::stdin_data, typed.pass)) reading_stdin = false;
        if (typed.detached) {
          end.detached = true;
          return end;
        }
      }
    }
    if (polls[0].revents != 0) {
      ssize_t count = ::read(connection.get(), buffer.data(), buffer.size());
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) return end;
      frames.append({buffer.data(), static_cast<std::size_t>(count)});
      for (;;) {
        auto frame = TRY(frames.next());
        if (!frame) break;
        if (frame->kind == FrameKind::stdout_data) {
          // A reader of ours that went away (| head) must not stop the container: its output is dropped from here on.
          (void)write_all(FdRef(1), frame->payload);
        } else if (frame->kind == FrameKind::stderr_data) {
          (void)write_all(FdRef(2), frame->payload);
        } else if (frame->kind == FrameKind::clean_up) {
          // Where it fails, the monitor's own attempt reports nothing, but the next command tries again.
          if (options.clean_up && options.clean_up()) (void)send_frame(connection, FrameKind::cleaned_up, "");
        } else if (frame->kind == FrameKind::exited && frame->payload.size() >= 4) {
          std::uint32_t code = 0;
          for (int i = 0; i < 4; ++i)
            code |= static_cast<std::uint32_t>(static_cast<unsigned char>(frame->payload[static_cast<std::size_t>(i)]))
                    << (8 * i);
          end.exit_code = static_cast<int>(code);
          return end;
        }
      }
    }
  }
}

Result<int> run_exec_session(engine::Exec exec, const SessionOptions& options) {
  FileDescriptor signals = TRY(open_signals());
  std::optional<RawMode> raw_mode;
  if (options.terminal && options.forward_stdin && is_terminal(0)) raw_mode.emplace(0);
  auto resize = [&] {
    TerminalSize size = terminal_size(is_terminal(0) ? 0 : 1);
    struct winsize window{size.rows, size.columns, 0, 0};
    if (exec.console.valid()) ::ioctl(exec.console.get(), TIOCSWINSZ, &window);
  };
  resize();
  FileDescriptor& out = exec.console.valid() ? exec.console : exec.stdout_read;
  FdRef in = exec.console.valid() ? FdRef(exec.console) : FdRef(exec.stdin_write);
  DetachKeys detach_keys = options.detach_keys;
  std::array<char, 32 * 1024> buffer;
  bool reading_stdin = options.forward_stdin;
  bool exited = false;
  auto relay = [&](FileDescriptor& from, int to) {
    ssize_t count = ::read(from.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) return;
    if (count <= 0) {
      from.reset();  // EIO of a pty whose other side is closed is an end, too
    } else {
      (void)write_all(FdRef(to), {buffer.data(), static_cast<std::size_t>(count)});
    }
  };
  while (out.valid() || exec.stderr_read.valid() || !exited) {
    struct pollfd polls[5] = {{out.get(), POLLIN, 0},
                              {exec.stderr_read.get(), POLLIN, 0},
                              {signals.get(), POLLIN, 0},
                              {reading_stdin ? 0 : -1, POLLIN, 0},
                              {exited ? -1 : exec.pidfd.get(), POLLIN, 0}};
    // After the exit only what is still in the pipes is wanted; a daemon that holds them open must not hold us.
    int ready = ::poll(polls, 5, exited ? 100 : -1);
    if (ready < 0 && errno != EINTR) return fail_errno("waiting for the process");
    if (ready == 0) break;
    if (ready < 0) continue;
    if (polls[2].revents != 0) {
      while (int number = next_signal(signals)) {
        if (number == SIGWINCH) {
          resize();
        } else if (number != SIGCONT && number != SIGTSTP && !options.terminal && options.deliver_signal) {
          options.deliver_signal(number);
        }
      }
    }
    if (polls[3].revents != 0) {
      ssize_t count = ::read(0, buffer.data(), buffer.size());
      if (count > 0) {
        DetachKeys::Outcome typed{std::string(buffer.data(), static_cast<std::size_t>(count)), false};
        if (options.terminal) typed = detach_keys.feed({buffer.data(), static_cast<std::size_t>(count)});
        if (!write_all(in, typed.pass)) reading_stdin = false;
        if (typed.detached) return 0;
      } else if (count == 0 || (errno != EINTR && errno != EAGAIN)) {
        reading_stdin = false;
        if (!exec.console.valid()) exec.stdin_write.reset();
      }
    }
    if (polls[0].revents != 0) relay(out, 1);
    if (polls[1].revents != 0) relay(exec.stderr_read, 2);
    if (polls[4].revents != 0) exited = true;
  }
  int status = 0;
  while (::waitpid(exec.pid, &status, 0) < 0) {
    if (errno != EINTR) return fail_errno("waiting for the process");
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace dray::cli
