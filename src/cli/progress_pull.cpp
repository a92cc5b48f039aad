// SPDX-License-Identifier: Apache-2.0
// docker pull's view: one line a layer. Not on a terminal, only changes of state are printed, never byte counts.
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
              "/" + human_size(event.total);
    }
    layer.state = state;
    if (is_new) write("\n", false);
    std::size_t up = rows_ - layer.row;
    write("\x1b[" + std::to_string(up) + "A\r\x1b[2K" + line + "\x1b[" + std::to_string(up) + "B\r", false);
  }

 private:
  struct Layer {
    std::string name, state;
    std::size_t row = 0;
  };
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
  int fd_;
  bool in_place_;
};

}  // namespace

std::unique_ptr<ProgressSink> make_transfer_progress(int fd, bool in_place) {
  return std::make_unique<TransferProgress>(fd, in_place);
}

}  // namespace dray::cli
