// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <termios.h>

#include <optional>
#include <string>
#include <string_view>

#include <dray/core/result.hpp>

namespace dray::cli {

bool is_terminal(int fd);
struct TerminalSize {
  unsigned short rows = 24, columns = 80;
};
TerminalSize terminal_size(int fd);

/// Puts a terminal into raw mode while it lives; the destructor restores what was. No-op on something else.
class RawMode {
 public:
  explicit RawMode(int fd);
  RawMode(const RawMode&) = delete;
  RawMode& operator=(const RawMode&) = delete;
  ~RawMode();

 private:
  int fd_;
  std::optional<termios> saved_;
};

/// Whether a terminal shows what is typed, while it lives; the destructor restores what was.
enum class Echo { on, off };
class EchoMode {
 public:
  EchoMode(int fd, Echo echo);
  EchoMode(const EchoMode&) = delete;
  EchoMode& operator=(const EchoMode&) = delete;
  ~EchoMode();

 private:
  int fd_;
  std::optional<termios> saved_;
};

/// --detach-keys: "ctrl-p,ctrl-q". Finds the sequence in typed input, across reads.
class DetachKeys {
 public:
  static Result<DetachKeys> parse(std::string_view text);
  struct Outcome {
    std::string pass;  ///< what goes on to the container
    bool detached = false;
  };
  Outcome feed(std::string_view input);

 private:
  std::string keys_;
  std::size_t matched_ = 0;
};

}  // namespace dray::cli
