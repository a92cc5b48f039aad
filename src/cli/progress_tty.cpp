// SPDX-License-Identifier: Apache-2.0
// The terminal view is redrawn in place by a thread, ten times a second, so that running times advance. Finished steps
// scroll off above when there are more lines than the terminal has.
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <thread>

#include "command.hpp"
#include "progress.hpp"
#include "table.hpp"
#include "terminal.hpp"

namespace dray::cli {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kTailLines = 6;

class TtyProgress : public ProgressSink {
 public:
  TtyProgress() : colours_(use_colours(2)), drawer_([this] { draw_until_done(); }) {}

  ~TtyProgress() override {
    {
      std::lock_guard lock(mutex_);
      done_ = true;
    }
    wake_.notify_all();
    drawer_.join();
    std::lock_guard lock(mutex_);
    draw();
    // The output of a failed step is what the user needs; it stays on the screen in full.
    for (const auto& [id, step] : steps_) {
      if (step.state != State::failed || step.output.empty()) continue;
      print_error("------\n > " + printable(step.name) + ":\n" + printable(step.output) +
                  (step.output.ends_with('\n') ? "" : "\n") + "------\n");
    }
  }

  void report(const ProgressEvent& event) override {
    std::lock_guard lock(mutex_);
    if (event.kind == ProgressEvent::Kind::message) {
      erase();
      print_error(printable(event.text) + "\n");
      return;
    }
    auto [found, is_new] = steps_.try_emplace(event.id);
    Step& step = found->second;
    if (is_new) {
      order_.push_back(event.id);
      step.started = Clock::now();
    }
    if (!event.name.empty() && event.kind != ProgressEvent::Kind::status) step.name = event.name;
    switch (event.kind) {
      case ProgressEvent::Kind::output:
        step.output += event.text;
        if (step.output.size() > 64 * 1024) step.output.erase(0, step.output.size() - 32 * 1024);
        break;
      case ProgressEvent::Kind::status:
        step.status = (event.name.empty() ? "" : event.name + " ") + event.text;
        if (event.total > 0) step.status += " " + human_size(event.current) + " / " + human_size(event.total);
        break;
      case ProgressEvent::Kind::completed:
        finish(step, State::done);
        break;
      case ProgressEvent::Kind::cached:
        finish(step, State::cached);
        break;
      case ProgressEvent::Kind::failed:
        finish(step, State::failed);
        break;
      default:
        break;
    }
  }

 private:
  enum class State { running, done, cached, failed };
  struct Step {
    std::string name, output, status;
    State state = State::running;
    Clock::time_point started{}, ended{};
  };

  static void finish(Step& step, State state) {
    step.state = state;
    step.ended = Clock::now();
  }

  void draw_until_done() {
    std::unique_lock lock(mutex_);
    while (!done_) {
      draw();
      wake_.wait_for(lock, std::chrono::milliseconds(100));
    }
  }

  void erase() {
    if (lines_ > 0) print_error("\x1b[" + std::to_string(lines_) + "A\x1b[J");
    lines_ = 0;
  }

  std::string row(const Step& step, std::size_t columns) const {
    auto until = step.state == State::running ? Clock::now() : step.ended;
    char time[32];
    std::snprintf(time, sizeof time, " %.1fs", std::chrono::duration<double>(until - step.started).count());
    std::string text = " => " +
                       std::string(step.state == State::cached   ? "CACHED "
                                   : step.state == State::failed ? "ERROR "
                                                                 : "") +
                       printable(step.name);
    if (step.state == State::running && !step.status.empty()) text += "  " + printable(step.status);
    std::size_t room = columns > std::string_view(time).size() + 1 ? columns - std::string_view(time).size() - 1 : 1;
    if (text.size() > room) text.resize(room);
    text.resize(room, ' ');
    text += time;
    if (!colours_ || step.state == State::running) return text;
    return (step.state == State::failed ? "\x1b[31m" : "\x1b[34m") + text + "\x1b[0m";
  }

  void draw() {
    TerminalSize size = terminal_size(2);
    std::vector<std::string> rows;
    std::size_t finished = 0;
    for (int id : order_) {
      const Step& step = steps_.at(id);
      finished += step.state != State::running;
      rows.push_back(row(step, size.columns));
      if (step.state != State::running) continue;
      for (const std::string& tail : tail_of(step.output))
        rows.push_back((" => => # " + tail).substr(0, size.columns - 1));
    }
    std::size_t room = size.rows > 3 ? size.rows - 3u : 1u;
    std::size_t skip = !done_ && rows.size() > room ? rows.size() - room : 0;
    char head[96];
    std::snprintf(head, sizeof head, "[+] Building %.1fs (%zu/%zu)%s\n",
                  std::chrono::duration<double>(Clock::now() - started_).count(), finished, order_.size(),
                  done_ ? " FINISHED" : "");
    std::string text = head;
    for (std::size_t i = skip; i < rows.size(); ++i) text += rows[i] + "\n";
    erase();
    print_error(text);
    lines_ = rows.size() - skip + 1;
  }

  static std::vector<std::string> tail_of(const std::string& output) {
    std::vector<std::string> lines;
    std::size_t end = output.size();
    while (lines.size() < kTailLines && end > 0) {
      std::size_t newline = output.rfind('\n', end - 1);
      std::string line = output.substr(newline == std::string::npos ? 0 : newline + 1,
                                       end - (newline == std::string::npos ? 0 : newline + 1));
      if (auto at = line.rfind('\r', line.size() > 1 ? line.size() - 2 : 0); at != std::string::npos)
        line.erase(0, at + 1);
      if (!line.empty()) lines.insert(lines.begin(), printable(line));
      if (newline == std::string::npos) break;
      end = newline;
    }
    return lines;
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::map<int, Step> steps_;
  std::vector<int> order_;
  std::size_t lines_ = 0;
  bool done_ = false;
  bool colours_;
  Clock::time_point started_ = Clock::now();
  std::thread drawer_;  // last: it uses all of the above
};

}  // namespace

std::unique_ptr<ProgressSink> make_tty_progress() { return std::make_unique<TtyProgress>(); }

}  // namespace dray::cli
