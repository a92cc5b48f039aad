// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include <dray/core/progress.hpp>
#include <dray/core/result.hpp>

namespace dray::builder {

/// Hands out step numbers; thread-safe.
class StepNumbers {
 public:
  int reserve(int count = 1) { return next_.fetch_add(count); }

 private:
  std::atomic<int> next_{1};
};

/// Reports `work` as one step: begun, then done or failed. Returns what it returns.
template <typename Work>
auto as_step(ProgressSink& progress, int id, const std::string& title, Work&& work) {
  ProgressEvent event;
  event.kind = ProgressEvent::Kind::started;
  event.id = id;
  event.name = title;
  progress.report(event);
  auto result = work();
  event.kind = result ? ProgressEvent::Kind::completed : ProgressEvent::Kind::failed;
  if (!result) event.text = result.error().message();
  progress.report(event);
  return result;
}

/// Other work's own steps (a pull's, a push's), shown as the state of the one step that waits for it.
class StatusOf : public ProgressSink {
 public:
  StatusOf(ProgressSink& outer, int id) : outer_(outer), id_(id) {}
  void report(const ProgressEvent& event) override {
    if (event.kind == ProgressEvent::Kind::message) return outer_.report(event);
    if (event.kind != ProgressEvent::Kind::status) return;
    ProgressEvent copy = event;
    copy.id = id_;
    outer_.report(copy);
  }

 private:
  ProgressSink& outer_;
  int id_;
};

/// A line about a running step ("exporting layers").
void report_status(ProgressSink& progress, int id, const std::string& text);

/// "2B", "1.53kB", "20.1MB", as BuildKit writes sizes.
std::string short_size(std::uint64_t bytes);

}  // namespace dray::builder
