// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <cstdio>

#include "command.hpp"
#include "progress.hpp"

namespace dray::cli {
namespace {

using Clock = std::chrono::steady_clock;

class PlainProgress : public ProgressSink {
 public:
  void report(const ProgressEvent& event) override {
    std::lock_guard lock(mutex_);
    Step& step = steps_[event.id];
    std::string prefix = "#" + std::to_string(event.id) + " ";
    std::string text;
    auto show_name = [&] {
      if (!event.name.empty()) step.name = event.name;
      if (!std::exchange(step.shown, true)) {
        step.started = Clock::now();
        text += (first_ ? "" : "\n") + prefix + step.name + "\n";
        first_ = false;
      }
    };
    switch (event.kind) {
      case ProgressEvent::Kind::started:
        show_name();
        break;
      case ProgressEvent::Kind::output: {
        step.partial += event.text;
        for (std::size_t end; (end = step.partial.find('\n')) != std::string::npos; step.partial.erase(0, end + 1))
          text += prefix + seconds(step) + " " + line(step.partial.substr(0, end)) + "\n";
        break;
      }
      case ProgressEvent::Kind::status:
        if (event.total == 0 || event.current == event.total) text += prefix + label(event) + "\n";
        break;
      case ProgressEvent::Kind::completed:
        show_name();
        text += flush(step, prefix) + prefix + "DONE " + seconds(step, 1) + "s\n";
        break;
      case ProgressEvent::Kind::cached:
        show_name();
        text += prefix + "CACHED\n";
        break;
      case ProgressEvent::Kind::failed:
        show_name();
        text += flush(step, prefix) + prefix + "ERROR: " + event.text + "\n";
        break;
      case ProgressEvent::Kind::message:
        text += event.text + "\n";
        break;
    }
    print_error(printable(text));
  }

 private:
  struct Step {
    std::string name, partial;
    bool shown = false;
    Clock::time_point started{};
  };

  /// What a terminal would show of a line with carriage returns: the part after the last one.
  static std::string line(std::string text) {
    if (text.ends_with('\r')) text.pop_back();
    if (auto at = text.rfind('\r'); at != std::string::npos) text.erase(0, at + 1);
    return text;
  }
  static std::string label(const ProgressEvent& event) {
    return event.name.empty() ? event.text : event.name + " " + event.text;
  }
  static std::string seconds(const Step& step, int digits = 3) {
    char text[32];
    std::snprintf(text, sizeof text, "%.*f", digits,
                  std::chrono::duration<double>(Clock::now() - step.started).count());
    return text;
  }
  static std::string flush(Step& step, const std::string& prefix) {
    if (step.partial.empty()) return "";
    return prefix + seconds(step) + " " + line(std::exchange(step.partial, "")) + "\n";
  }

  std::mutex mutex_;
  std::map<int, Step> steps_;
  bool first_ = true;
};

class NoProgress : public ProgressSink {
 public:
  void report(const ProgressEvent&) override {}
};

}  // namespace

std::unique_ptr<ProgressSink> make_plain_progress() { return std::make_unique<PlainProgress>(); }
std::unique_ptr<ProgressSink> make_no_progress() { return std::make_unique<NoProgress>(); }

}  // namespace dray::cli
