// SPDX-License-Identifier: Apache-2.0
#include "terminal.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>

namespace dray::cli {

bool is_terminal(int fd) { return ::isatty(fd) == 1; }

TerminalSize terminal_size(int fd) {
  struct winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return {};
  return {size.ws_row, size.ws_col};
}

RawMode::RawMode(int fd) : fd_(fd) {
  termios current{};
  if (::tcgetattr(fd, &current) != 0) return;
  saved_ = current;
  ::cfmakeraw(&current);
  ::tcsetattr(fd, TCSADRAIN, &current);
}

RawMode::~RawMode() {
  if (saved_) ::tcsetattr(fd_, TCSADRAIN, &*saved_);
}

EchoMode::EchoMode(int fd, Echo echo) : fd_(fd) {
  termios current{};
  if (echo == Echo::on || ::tcgetattr(fd, &current) != 0) return;
  saved_ = current;
  current.c_lflag &= ~static_cast<tcflag_t>(ECHO);
  ::tcsetattr(fd, TCSADRAIN, &current);
}

EchoMode::~EchoMode() {
  if (saved_) ::tcsetattr(fd_, TCSADRAIN, &*saved_);
}

Result<DetachKeys> DetachKeys::parse(std::string_view text) {
  DetachKeys result;
  for (std::size_t start = 0; start <= text.size() && !text.empty();) {
    std::size_t end = std::min(text.find(',', start), text.size());
    std::string_view key = text.substr(start, end - start);
    start = end + 1;
    if (key.size() == 1) {
      result.keys_ += key;
    } else if (key.size() == 6 && key.starts_with("ctrl-") &&
               ((key[5] >= 'a' && key[5] <= 'z') ||
                std::string_view("@[\\]^_").find(key[5]) != std::string_view::npos)) {
      result.keys_ += static_cast<char>(key[5] & 0x1f);
    } else {
      return fail(ErrorCode::invalid_argument, "invalid detach keys: unknown key \"" + std::string(key) + "\"");
    }
  }
  return result;
}

DetachKeys::Outcome DetachKeys::feed(std::string_view input) {
  Outcome outcome;
  for (char c : input) {
    if (keys_.empty()) {
      outcome.pass += c;
      continue;
    }
    if (c == keys_[matched_]) {
      if (++matched_ == keys_.size()) {
        outcome.detached = true;
        return outcome;
      }
      continue;
    }
    // What was held back as a possible beginning was input after all.
    outcome.pass += keys_.substr(0, matched_);
    matched_ = c == keys_[0] ? 1 : 0;
    if (matched_ == 0) outcome.pass += c;
  }
  return outcome;
}

}  // namespace dray::cli
