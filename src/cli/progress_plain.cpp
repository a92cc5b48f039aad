// SPDX-License-Identifier: Apache-2.0
// Steps run side by side, but a log is read from above: one step has the floor until it ends. What the others say
// meanwhile waits, unless the one with the floor is silent for long.
#include <cmath>
#include <cstdio>
#include <mutex>
#include <utility>

#include "command.hpp"
#include "progress_end.hpp"

namespace dray::cli {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kPatience = std::chrono::seconds(5);
constexpr auto kSilence = std::chrono::seconds(1);
constexpr std::size_t kTailLines = 10;

std::string size_text(std::uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; value >= 1000 && unit + 1 < std::size(kUnits); ++unit) value /= 1000;
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f%s" : "%.2f%s", value, kUnits[unit]);
  return text;
}

class PlainProgress : public ProgressSink {
 public:
  explicit PlainProgress(const ProgressOptions& options) : output_(options.output), end_(options.expand_warnings) {}

  ~PlainProgress() override {
    std::lock_guard lock(mutex_);
    for (auto& [id, step] : steps_) {
      finish_line(step);
      if (!step.waiting.empty()) show(id);
      if (step.failed) end_.failed_step(step.name, step.tail.lines());
    }
    write(end_.text(false));
  }

  void report(const ProgressEvent& event) override {
    std::lock_guard lock(mutex_);
    if (event.kind == ProgressEvent::Kind::excerpt) return end_.excerpt(event.text);
    if (event.kind == ProgressEvent::Kind::warning) end_.warning(event);
    if (event.kind == ProgressEvent::Kind::message || event.id == 0) {
      if (event.kind != ProgressEvent::Kind::warning) write(printable(event.text) + "\n");
      return;
    }
    take(event);
    give_floor();
  }

 private:
  struct Step {
    std::string name, partial;
    std::vector<std::string> waiting;  ///< lines that are not shown yet
    LogTail tail{kTailLines};
    std::map<std::string, Clock::time_point> statuses;  ///< when each was last shown
    int number = 0;                                     ///< in the output; 0: not shown yet
    bool announced = false, ended = false, failed = false;
    Clock::time_point started = Clock::now(), waiting_since;
  };

  void take(const ProgressEvent& event) {
    auto [found, is_new] = steps_.try_emplace(event.id);
    Step& step = found->second;
    if (is_new) order_.push_back(event.id);
    switch (event.kind) {
      case ProgressEvent::Kind::started:
        step.name = event.name;
        step.announced = true;
        step.started = Clock::now();
        break;
      case ProgressEvent::Kind::output:
        step.partial += event.text;
        for (std::size_t end; (end = step.partial.find('\n')) != std::string::npos; step.partial.erase(0, end + 1))
          log(step, step.partial.substr(0, end + 1));
        break;
      case ProgressEvent::Kind::status:
        status(step, event);
        break;
      case ProgressEvent::Kind::warning:
        say(step, "WARN: " + event.name);
        break;
      case ProgressEvent::Kind::completed: {
        char text[32];
        std::snprintf(text, sizeof text, "DONE %.1fs", std::abs(seconds(step)));
        end(step, text);
        break;
      }
      case ProgressEvent::Kind::cached:
        if (step.name.empty()) step.name = event.name;
        end(step, "CACHED");
        break;
      case ProgressEvent::Kind::failed:
        if (step.name.empty()) step.name = event.name;
        step.failed = !event.text.ends_with("cancelled");
        end(step, step.failed ? "ERROR: " + event.text : "CANCELED");
        break;
      default:
        break;
    }
  }

  void say(Step& step, std::string line) {
    if (step.waiting.empty()) step.waiting_since = Clock::now();
    step.waiting.push_back(std::move(line));
  }

  void end(Step& step, std::string line) {
    finish_line(step);
    say(step, std::move(line));
    step.announced = step.ended = true;
  }

  void log(Step& step, std::string line) {
    const std::string prefix = log_seconds(seconds(step)) + " ";
    LogTail shown(1);  // as on a terminal: what a carriage return covered is not repeated
    shown.feed(line, prefix);
    step.tail.feed(line, prefix);
    say(step, shown.empty() ? prefix : shown.lines().front());
  }

  void finish_line(Step& step) {
    if (!step.partial.empty()) log(step, std::exchange(step.partial, "") + "\n");
  }

  void status(Step& step, const ProgressEvent& event) {
    std::string text = event.name;
    if (!event.text.empty()) text += (text.empty() ? "" : " ") + event.text;
    if (event.total == 0 && event.current == 0) return say(step, text);
    const bool complete = event.total != 0 && event.current >= event.total;
    auto [shown, is_new] = step.statuses.try_emplace(event.name, Clock::now());
    if (!is_new && !complete && Clock::now() - shown->second < kPatience) return;
    shown->second = Clock::now();
    text += " " + size_text(event.current);
    if (event.total != 0) text += " / " + size_text(event.total);
    say(step, text + (complete ? " done" : ""));
  }

  static double seconds(const Step& step) { return std::chrono::duration<double>(Clock::now() - step.started).count(); }

  void give_floor() {
    const auto pending = [this](int id) {
      const Step& step = steps_.at(id);
      return step.announced && (!step.waiting.empty() || step.number == 0);
    };
    if (floor_ != 0 && steps_.at(floor_).ended) show(floor_);
    for (const int id : order_)
      if (steps_.at(id).ended && pending(id)) show(id);
    std::erase_if(order_, [this](int id) { return steps_.at(id).ended; });
    if (floor_ != 0 && pending(floor_)) return show(floor_);
    for (const int id : order_) {
      if (!pending(id)) continue;
      const auto now = Clock::now();
      if (floor_ == 0 || (now - last_shown_ > kSilence && !steps_.at(id).waiting.empty()) ||
          (!steps_.at(id).waiting.empty() && now - steps_.at(id).waiting_since > kPatience))
        return show(id);
    }
  }

  void show(int id) {
    Step& step = steps_.at(id);
    if (step.number == 0) step.number = ++last_number_;
    const std::string prefix = "#" + std::to_string(step.number) + " ";
    std::string text;
    if (floor_ != id) {
      if (floor_ != 0) text += "#" + std::to_string(steps_.at(floor_).number) + " ...\n";
      if (std::exchange(anything_shown_, true)) text += "\n";
      text += prefix + step.name + "\n";
    }
    for (const std::string& line : step.waiting) text += prefix + line + "\n";
    step.waiting.clear();
    floor_ = step.ended ? 0 : id;
    last_shown_ = Clock::now();
    write(printable(text));
  }

  void write(const std::string& text) {
    if (text.empty()) return;
    if (output_)
      output_(text);
    else
      print_error(text);
  }

  std::mutex mutex_;
  ProgressOutput output_;
  ProgressEnd end_;
  std::map<int, Step> steps_;
  std::vector<int> order_;  ///< steps that have not ended, by their beginning
  int floor_ = 0, last_number_ = 0;
  bool anything_shown_ = false;
  Clock::time_point last_shown_ = Clock::now();
};

}  // namespace

std::unique_ptr<ProgressSink> make_plain_progress(const ProgressOptions& options) {
  return std::make_unique<PlainProgress>(options);
}
std::unique_ptr<ProgressSink> make_no_progress() { return std::make_unique<SilentProgress>(); }

}  // namespace dray::cli
