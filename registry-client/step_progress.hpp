// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>

#include <dray/core/progress.hpp>

namespace dray::registry {

/// The events of one layer; byte counts at most ten times a second. Used by one thread at a time.
class StepProgress {
 public:
  StepProgress(ProgressSink& sink, int id, std::string name) : sink_(sink), id_(id), name_(std::move(name)) {}

  void started() { report(ProgressEvent::Kind::started, ""); }
  void status(std::string text) { report(ProgressEvent::Kind::status, std::move(text)); }
  void bytes(const char* text, std::uint64_t current, std::uint64_t total) {
    const auto now = std::chrono::steady_clock::now();
    if (current < total && now - last_ < std::chrono::milliseconds(100)) return;
    last_ = now;
    report(ProgressEvent::Kind::status, text, current, total);
  }
  /// The last status and the end of the step in one.
  void end(ProgressEvent::Kind kind, const std::string& text) {
    if (kind != ProgressEvent::Kind::failed) report(ProgressEvent::Kind::status, text);
    report(kind, text);
  }

 private:
  void report(ProgressEvent::Kind kind, std::string text, std::uint64_t current = 0, std::uint64_t total = 0) {
    ProgressEvent event;
    event.kind = kind;
    event.id = id_;
    event.name = name_;
    event.text = std::move(text);
    event.current = current;
    event.total = total;
    sink_.report(event);
  }

  ProgressSink& sink_;
  const int id_;
  const std::string name_;
  std::chrono::steady_clock::time_point last_{};
};

inline void report_message(ProgressSink& sink, std::string text) {
  ProgressEvent event;
  event.text = std::move(text);
  sink.report(event);
}

}  // namespace dray::registry
