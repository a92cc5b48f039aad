// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <dray/core/progress.hpp>

#include "progress.hpp"

namespace dray::cli {

/// Seconds as BuildKit writes them before a line of output: "0.123", "12.34", "123.4".
std::string log_seconds(double seconds);

/// The last lines of a step's output as a terminal would show them: a carriage return starts the line again, escape
/// sequences are dropped.
class LogTail {
 public:
  explicit LogTail(std::size_t lines) : limit_(lines) {}
  /// `prefix` is put before every line that begins here.
  void feed(std::string_view bytes, std::string_view prefix = "");
  const std::vector<std::string>& lines() const { return lines_; }
  bool empty() const { return lines_.empty(); }

 private:
  void put(char c, std::string_view prefix);
  std::size_t limit_;
  std::vector<std::string> lines_;
  std::size_t column_ = 0;  ///< in the last line; its prefix counts
  std::size_t start_ = 0;   ///< where the last line's text begins
  bool open_ = false;       ///< the last line has not ended
  enum class Escape { none, begun, sequence, string } escape_ = Escape::none;
};

/// What is printed below a build: the logs of failed steps, the warnings, the excerpt.
class ProgressEnd {
 public:
  explicit ProgressEnd(bool expand_warnings) : expand_(expand_warnings) {}
  void warning(const ProgressEvent& event) { warnings_.push_back(event); }
  void excerpt(const std::string& text) { excerpt_ = text; }
  void failed_step(const std::string& name, const std::vector<std::string>& log);
  std::string text(bool colours) const;

 private:
  bool expand_;
  std::string failures_, excerpt_;
  std::vector<ProgressEvent> warnings_;
};

/// $NO_COLOR and $BUILDKIT_COLORS ("run=green:error=255,0,0"): the escape sequences of each kind of line, "" for none.
struct ProgressColours {
  std::string run, cancel, warning, error;
  static ProgressColours from_environment();
  static std::string apply(const std::string& colour, const std::string& text);
};

}  // namespace dray::cli
