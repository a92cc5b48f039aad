// SPDX-License-Identifier: Apache-2.0
// The terminal view is redrawn in place by a thread, ten times a second, so that running times advance. Where there are
// more lines than the terminal has, finished steps give way to running ones.
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>

#include <dray/core/thread.hpp>

#include "command.hpp"
#include "progress_end.hpp"
#include "table.hpp"

namespace dray::cli {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kKeptLog = 2000;  ///< lines of a step that are shown should it fail

std::size_t tail_lines() {
  const char* wanted = std::getenv("BUILDKIT_TTY_LOG_LINES");
  const int lines = wanted != nullptr ? std::atoi(wanted) : 0;
  return lines > 0 && lines < 1000 ? static_cast<std::size_t>(lines) : 6;
}

class TtyProgress : public ProgressSink {
 public:
  explicit TtyProgress(const ProgressOptions& options)
      : options_(options), colours_(ProgressColours::from_environment()), end_(options.expand_warnings) {
    auto drawer = start_thread([this] { draw_until_done(); });
    if (drawer) drawer_ = *std::move(drawer);  // else only the end is shown
  }

  ~TtyProgress() override {
    {
      std::lock_guard lock(mutex_);
      done_ = true;
    }
    wake_.notify_all();
    if (drawer_.joinable()) drawer_.join();
    std::lock_guard lock(mutex_);
    draw();
    for (const int id : order_)
      if (const Step& step = steps_.at(id); step.state == State::failed) end_.failed_step(step.name, step.log.lines());
    write(end_.text(!colours_.warning.empty()));
  }

  void report(const ProgressEvent& event) override {
    std::lock_guard lock(mutex_);
    if (event.kind == ProgressEvent::Kind::excerpt) return end_.excerpt(event.text);
    if (event.kind == ProgressEvent::Kind::warning) end_.warning(event);
    if (event.kind == ProgressEvent::Kind::message) {
      write(erased() + printable(event.text) + "\n");
      return;
    }
    if (event.id == 0) return;
    auto [found, is_new] = steps_.try_emplace(event.id);
    Step& step = found->second;
    if (is_new) order_.push_back(event.id);
    if (!event.name.empty() && step.name.empty()) step.name = event.name;
    switch (event.kind) {
      case ProgressEvent::Kind::started:
        step.name = event.name;
        step.started = Clock::now();
        break;
      case ProgressEvent::Kind::output: {
        const double seconds = std::chrono::duration<double>(Clock::now() - step.started).count();
        step.log.feed(event.text, log_seconds(seconds) + " ");
        step.tail.feed(event.text);
        break;
      }
      case ProgressEvent::Kind::status:
        status(step, event);
        break;
      case ProgressEvent::Kind::warning:
        step.warnings.push_back("WARN: " + event.name);
        break;
      case ProgressEvent::Kind::completed:
        finish(step, State::done);
        break;
      case ProgressEvent::Kind::cached:
        finish(step, State::cached);
        break;
      case ProgressEvent::Kind::failed:
        finish(step, event.text.ends_with("cancelled") ? State::cancelled : State::failed);
        break;
      default:
        break;
    }
  }

 private:
  enum class State { running, done, cached, failed, cancelled };
  struct Status {
    std::string name, amount;
    Clock::time_point started = Clock::now(), ended;
    bool done = false;
  };
  struct Step {
    std::string name;
    LogTail log{kKeptLog}, tail{tail_lines()};
    std::vector<Status> statuses;
    std::vector<std::string> warnings;
    State state = State::running;
    Clock::time_point started = Clock::now(), ended;
  };
  struct Row {
    std::string text, amount, colour;
    double seconds = 0;
    bool running = false;
    const LogTail* tail = nullptr;
  };

  static void finish(Step& step, State state) {
    step.state = state;
    step.ended = Clock::now();
    for (Status& status : step.statuses)
      if (!std::exchange(status.done, true)) status.ended = step.ended;
  }

  /// One line a name ("sha256:…"), or a text without a name.
  static void status(Step& step, const ProgressEvent& event) {
    const std::string& name = event.name.empty() ? event.text : event.name;
    auto found = step.statuses.begin();
    while (found != step.statuses.end() && found->name != name) ++found;
    if (found == step.statuses.end()) {
      if (step.statuses.size() >= 500) return;
      found = step.statuses.insert(found, Status());
      found->name = name;
    }
    found->amount = event.name.empty() ? "" : event.text;
    if (event.current > 0 || event.total > 0) {
      found->amount += (found->amount.empty() ? "" : " ") + human_size(event.current);
      if (event.total > 0) found->amount += " / " + human_size(event.total);
    }
    if (event.total > 0 && event.current >= event.total && !std::exchange(found->done, true))
      found->ended = Clock::now();
  }

  void draw_until_done() {
    std::unique_lock lock(mutex_);
    while (!done_) {
      if (options_.redraw_every.count() > 0) draw();
      wake_.wait_for(lock, options_.redraw_every.count() > 0 ? options_.redraw_every : std::chrono::milliseconds(1000));
    }
  }

  std::string erased() {
    const std::string text = lines_ > 0 ? "\x1b[" + std::to_string(lines_) + "A\r\x1b[J" : "";
    lines_ = 0;
    return text;
  }

  double duration(Clock::time_point begin, bool over, Clock::time_point end) const {
    const double seconds = std::chrono::duration<double>((over ? end : Clock::now()) - begin).count();
    return seconds < 0.05 ? 0 : seconds;
  }

  std::vector<Row> rows() const {
    std::vector<Row> rows;
    for (const int id : order_) {
      const Step& step = steps_.at(id);
      const bool over = step.state != State::running;
      Row row;
      row.text = (step.state == State::cached      ? "CACHED "
                  : step.state == State::failed    ? "ERROR "
                  : step.state == State::cancelled ? "CANCELED "
                                                   : "") +
                 printable(step.name);
      row.seconds = duration(step.started, over, step.ended);
      row.running = !over;
      row.colour = step.state == State::failed      ? colours_.error
                   : step.state == State::cancelled ? colours_.cancel
                   : over                           ? colours_.run
                                                    : "";
      if (!over && !step.tail.empty()) row.tail = &step.tail;
      rows.push_back(std::move(row));
      for (const Status& status : step.statuses)
        rows.push_back({"=> " + printable(status.name), printable(status.amount), status.done ? colours_.run : "",
                        duration(status.started, status.done, status.ended), !status.done, nullptr});
      for (const std::string& warning : step.warnings)
        rows.push_back({printable(warning), "", colours_.warning, row.seconds, false, nullptr});
    }
    return rows;
  }

  /// At most `room` rows: the last ones, but running ones further up instead of finished ones.
  static std::vector<Row> fit(std::vector<Row> rows, std::size_t room) {
    std::size_t surplus = rows.size() > room ? rows.size() - room : 0;
    for (const bool running : {false, true})
      for (auto row = rows.begin(); surplus > 0 && row != rows.end();) {
        if (row->running != running) {
          ++row;
          continue;
        }
        row = rows.erase(row);
        --surplus;
      }
    return rows;
  }

  std::string line(const Row& row, std::size_t columns) const {
    char time[32];
    std::snprintf(time, sizeof time, " %.1fs", row.seconds);
    const std::size_t time_size = std::string_view(time).size();
    std::size_t room = columns > time_size + 5 ? columns - time_size - 5 : 0;
    std::string amount = row.amount.empty() || row.amount.size() + 20 > room ? "" : " " + row.amount;
    std::string text = " => " + clip(row.text, room - amount.size()) + amount;
    const std::size_t width = shown_width(text), wanted = columns - time_size - 1;
    if (width < wanted) text.append(wanted - width, ' ');
    return ProgressColours::apply(row.colour, text + time);
  }

  /// Characters, as nearly all of them are one column wide.
  static std::size_t shown_width(std::string_view text) {
    std::size_t width = 0;
    for (const char c : text) width += (c & 0xC0) != 0x80;
    return width;
  }
  static std::string clip(const std::string& text, std::size_t width) {
    std::size_t at = 0, seen = 0;
    for (; at < text.size(); ++at)
      if ((text[at] & 0xC0) != 0x80 && seen++ == width) break;
    return text.substr(0, at);
  }

  void draw() {
    TerminalSize size = options_.size ? options_.size() : terminal_size(2);
    if (size.columns == 0) size = {};
    std::vector<Row> all = rows();
    std::size_t finished = 0;
    for (const auto& [id, step] : steps_) finished += step.state != State::running;
    char head[128];
    std::snprintf(head, sizeof head, "[+] %s %.1fs (%zu/%zu)%s", options_.phase.c_str(),
                  std::chrono::duration<double>(Clock::now() - started_).count(), finished, steps_.size(),
                  done_ && finished == steps_.size() && finished > 0 ? " FINISHED" : "");
    const std::size_t room = size.rows > 3 ? size.rows - 2u : 1u;
    std::size_t tails = 0;
    if (!done_) {
      all = fit(std::move(all), room);
      // Logs get what is left; the latest steps come first.
      std::size_t free = room - all.size();
      for (auto row = all.rbegin(); row != all.rend(); ++row) {
        if (row->tail == nullptr) continue;
        if (row->tail->lines().size() <= free)
          free -= row->tail->lines().size();
        else
          row->tail = nullptr;
      }
    }
    std::string text = clip(head, size.columns - 1u) + "\n";
    for (const Row& row : all) {
      text += line(row, size.columns) + "\n";
      if (row.tail == nullptr || done_) continue;
      for (std::string log : row.tail->lines()) {
        std::replace(log.begin(), log.end(), '\t', ' ');  // a tab's width is not known here
        const std::string shown = clip(" => => # " + printable(log), size.columns - 1u);
        text += (colours_.run.empty() ? shown : "\x1b[2m" + shown + "\x1b[0m") + "\n";
        ++tails;
      }
    }
    text = erased() + text;
    lines_ = all.size() + tails + 1;
    write(text);
  }

  void write(const std::string& text) {
    if (options_.output)
      options_.output(text);
    else
      print_error(text);
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  ProgressOptions options_;
  ProgressColours colours_;
  ProgressEnd end_;
  std::map<int, Step> steps_;
  std::vector<int> order_;
  std::size_t lines_ = 0;
  bool done_ = false;
  Clock::time_point started_ = Clock::now();
  std::thread drawer_;  // last: it uses all of the above
};

}  // namespace

std::unique_ptr<ProgressSink> make_tty_progress(const ProgressOptions& options) {
  return std::make_unique<TtyProgress>(options);
}

}  // namespace dray::cli
