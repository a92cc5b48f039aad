// SPDX-License-Identifier: Apache-2.0
#include "progress_end.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdio>
#include <cstdlib>

#include <dray/core/text.hpp>

#include "command.hpp"

namespace dray::cli {

namespace {

constexpr std::size_t kMaxLine = 4096;

/// The escape sequence of "green" or "255,165,0"; "" for what is neither.
std::string colour_sequence(const std::string& text) {
  const std::string value = to_lower(text);
  static const std::map<std::string, int> kNames = {{"black", 30},  {"red", 31},   {"green", 32},
                                                    {"yellow", 33}, {"blue", 34},  {"magenta", 35},
                                                    {"cyan", 36},   {"white", 37}, {"default", 39}};
  const bool light = value.starts_with("light-");
  if (const auto name = kNames.find(light ? value.substr(6) : value);
      name != kNames.end() && !(light && name->second == 39))
    return "\x1b[" + std::to_string(name->second + (light ? 60 : 0)) + "m";
  const std::vector<std::string> parts = split(value, ',');
  if (parts.size() != 3) return "";
  std::string sequence = "\x1b[38;2";
  for (const std::string& part : parts) {
    int number = -1;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), number);
    if (error != std::errc() || end != part.data() + part.size() || number < 0 || number > 255) return "";
    sequence += ";" + std::to_string(number);
  }
  return sequence + "m";
}

}  // namespace

std::string log_seconds(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%.*f", seconds < 10 ? 3 : seconds < 100 ? 2 : 1, seconds);
  return text;
}

void LogTail::feed(std::string_view bytes, std::string_view prefix) {
  for (const char c : bytes) {
    switch (escape_) {
      case Escape::begun:
        escape_ = c == '[' ? Escape::sequence : c == ']' ? Escape::string : Escape::none;
        continue;
      case Escape::sequence:  // ends at a letter or the like
        if (c >= 0x40 && c <= 0x7e) escape_ = Escape::none;
        continue;
      case Escape::string:
        if (c == '\a') escape_ = Escape::none;
        if (c == '\x1b') escape_ = Escape::begun;
        continue;
      case Escape::none:
        break;
    }
    if (c == '\x1b')
      escape_ = Escape::begun;
    else
      put(c, prefix);
  }
}

void LogTail::put(char c, std::string_view prefix) {
  if (!open_) {
    if (c == '\r') return;
    if (lines_.size() == limit_) lines_.erase(lines_.begin());
    lines_.emplace_back(prefix);
    start_ = column_ = prefix.size();
    open_ = true;
  }
  std::string& line = lines_.back();
  if (c == '\n') {
    open_ = false;
  } else if (c == '\r') {
    column_ = start_;
  } else if (c == '\b') {
    column_ = std::max(column_ - (column_ > 0 ? 1 : 0), start_);
  } else if (column_ < kMaxLine) {
    if (column_ < line.size())
      line[column_] = c;
    else
      line.push_back(c);
    ++column_;
  }
}

void ProgressEnd::failed_step(const std::string& name, const std::vector<std::string>& log) {
  failures_ += "------\n > " + printable(name) + ":\n";
  for (const std::string& line : log) failures_ += printable(line) + "\n";
  failures_ += "------\n";
}

std::string ProgressEnd::text(bool colours) const {
  std::string text = failures_;
  if (!warnings_.empty()) {
    std::string head = warnings_.size() == 1 ? "1 warning found" : std::to_string(warnings_.size()) + " warnings found";
    head += expand_ ? ":" : " (use --debug to expand):";
    text += "\n " + (colours ? ProgressColours::apply("\x1b[33m", head) : head) + "\n";
    for (const ProgressEvent& warning : warnings_) {
      text += " - " + printable(warning.name) + "\n";
      if (!expand_) continue;
      if (!warning.text.empty()) text += printable(warning.text) + "\n";
      if (!warning.source.url.empty()) text += "More info: " + warning.source.url + "\n";
      text += printable(warning.source.excerpt) + "\n";
    }
  }
  return text + printable(excerpt_);
}

ProgressColours ProgressColours::from_environment() {
  ProgressColours colours;
  const char* none = std::getenv("NO_COLOR");
  if (none != nullptr && *none != '\0') return colours;
  colours = {colour_sequence("blue"), colour_sequence("yellow"), colour_sequence("yellow"), colour_sequence("red")};
  const char* wanted = std::getenv("BUILDKIT_COLORS");
  for (const std::string& entry : split(wanted != nullptr ? wanted : "", ':')) {
    const std::size_t equals = entry.find('=');
    if (equals == std::string::npos) continue;
    const std::string sequence = colour_sequence(entry.substr(equals + 1));
    const std::string key = entry.substr(0, equals);
    if (sequence.empty()) continue;
    if (key == "run") colours.run = sequence;
    if (key == "cancel") colours.cancel = sequence;
    if (key == "warning") colours.warning = sequence;
    if (key == "error") colours.error = sequence;
  }
  return colours;
}

std::string ProgressColours::apply(const std::string& colour, const std::string& text) {
  return colour.empty() ? text : colour + text + "\x1b[0m";
}

}  // namespace dray::cli
