// SPDX-License-Identifier: Apache-2.0
// docker pull's view: one line a layer, with the rate and the time left while bytes move, and one line of sum at the
// end. Not on a terminal, only changes of state are printed, never byte counts.
#include <chrono>
#include <cstdio>

#include <dray/core/fd.hpp>

#include "command.hpp"
#include "progress.hpp"
#include "table.hpp"

namespace dray::cli {
namespace {

class TransferProgress : public ProgressSink {
 public:
  TransferProgress(int fd, bool in_place) : fd_(fd), in_place_(in_place) {}
  ~TransferProgress() override {
    if (!in_place_ || moved_ == 0) return;
    const std::chrono::duration<double> elapsed = Clock::now() - began_;
    write(human_size(moved_) + " in " + seconds(elapsed.count()) + ", " +
              human_size(static_cast<std::uint64_t>(static_cast<double>(moved_) / std::max(elapsed.count(), 0.001))) +
              "/s\n",
          false);
  }

  void report(const ProgressEvent& event) override {
    std::lock_guard lock(mutex_);
    if (event.kind == ProgressEvent::Kind::message) {
      write("\r" + printable(event.text) + "\n", true);
      return;
    }
    auto [found, is_new] = layers_.try_emplace(event.id);
    Layer& layer = found->second;
    if (!event.name.empty()) layer.name = event.name;
    if (is_new) layer.row = rows_++;
    std::string state = event.text;
    if (event.kind == ProgressEvent::Kind::failed) state = "Error: " + event.text;
    if (state.empty()) {
      if (is_new && in_place_) write("\n", false);
      return;
    }
    std::string line = layer.name.empty() ? printable(state) : printable(layer.name) + ": " + printable(state);
    if (!in_place_) {
      if (layer.state != state) write(line + "\n", false);
      layer.state = state;
      return;
    }
    if (event.kind == ProgressEvent::Kind::status && event.total > 0 && event.current < event.total) {
      std::size_t filled =
          static_cast<std::size_t>(40.0 * static_cast<double>(event.current) / static_cast<double>(event.total));
      line += " [" + std::string(filled, '=') + ">" + std::string(40 - filled, ' ') + "] " + human_size(event.current) +
              "/" + human_size(event.total) + rate(layer, event);
    }
    layer.state = state;
    if (is_new) write("\n", false);
    std::size_t up = rows_ - layer.row;
    write("\x1b[" + std::to_string(up) + "A\r\x1b[2K" + line + "\x1b[" + std::to_string(up) + "B\r", false);
  }

 private:
  using Clock = std::chrono::steady_clock;
  struct Layer {
    std::string name, state;
    std::size_t row = 0;
    std::uint64_t first = 0, last = 0;  ///< bytes when they began to move, and now
    Clock::time_point since;
  };
  static std::string seconds(double count) {
    if (count >= 60)
      return std::to_string(static_cast<int>(count) / 60) + "m" + std::to_string(static_cast<int>(count) % 60) + "s";
    const int tenths = static_cast<int>(count * 10);
    return std::to_string(tenths / 10) + (count < 10 ? "." + std::to_string(tenths % 10) : "") + "s";
  }
  /// " 31MB/s 4s left", once there is something to go by.
  std::string rate(Layer& layer, const ProgressEvent& event) {
    const auto now = Clock::now();
    if (layer.since == Clock::time_point()) {
      layer.since = now;
      layer.first = layer.last = event.current;
    }
    if (event.current > layer.last) moved_ += event.current - layer.last;
    layer.last = event.current;
    const std::chrono::duration<double> elapsed = now - layer.since;
    if (elapsed.count() < 0.5 || event.current <= layer.first) return "";
    const double speed = static_cast<double>(event.current - layer.first) / elapsed.count();
    return " " + human_size(static_cast<std::uint64_t>(speed)) + "/s " +
           seconds(static_cast<double>(event.total - event.current) / speed) + " left";
  }
  /// A message breaks the block of rows: later layers are drawn below it.
  void write(const std::string& text, bool is_message) {
    if (is_message) {
      layers_.clear();
      rows_ = 0;
    }
    (void)write_all(FdRef(fd_), is_message && text.starts_with('\r') && !in_place_ ? text.substr(1) : text);
  }

  std::mutex mutex_;
  std::map<int, Layer> layers_;
  std::size_t rows_ = 0;
  std::uint64_t moved_ = 0;
  const Clock::time_point began_ = Clock::now();
  int fd_;
  bool in_place_;
};

}  // namespace

std::unique_ptr<ProgressSink> make_transfer_progress(int fd, bool in_place) {
  return std::make_unique<TransferProgress>(fd, in_place);
}

}  // namespace dray::cli
