// SPDX-License-Identifier: Apache-2.0
// A bounded queue of buffers between two threads. Buffers travel back, so that their memory is used again.
#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include <dray/core/stream.hpp>

namespace dray {
namespace {

constexpr std::size_t kBuffer = 256 * 1024;
constexpr std::size_t kMostWaiting = 4;

}  // namespace

struct PipelinedSink::State {
  explicit State(ByteSink& sink) : inner(sink) {}

  ByteSink& inner;
  std::vector<std::byte> filling;  ///< the caller's
  std::thread thread;
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::vector<std::byte>> waiting, empty;
  bool ended = false;
  Result<void> outcome;

  void run() {
    std::unique_lock lock(mutex);
    for (;;) {
      changed.wait(lock, [&] { return ended || !waiting.empty(); });
      if (waiting.empty()) return;
      std::vector<std::byte> buffer = std::move(waiting.front());
      waiting.pop_front();
      lock.unlock();
      auto written = inner.write(buffer);
      buffer.clear();
      lock.lock();
      empty.push_back(std::move(buffer));
      if (!written) outcome = std::move(written);
      changed.notify_all();
      if (!outcome) return;
    }
  }

  /// Gives the filled buffer away, as soon as there is room.
  Result<void> hand_over() {
    if (!thread.joinable()) thread = std::thread([this] { run(); });
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return !outcome || waiting.size() < kMostWaiting; });
    if (!outcome) return outcome;
    waiting.push_back(std::move(filling));
    filling = {};
    if (!empty.empty()) {
      filling = std::move(empty.front());
      empty.pop_front();
    }
    changed.notify_all();
    return {};
  }

  Result<void> join() {
    if (!thread.joinable()) return {};
    {
      const std::lock_guard lock(mutex);
      ended = true;
    }
    changed.notify_all();
    thread.join();
    return outcome;
  }
};

PipelinedSink::PipelinedSink(ByteSink& inner) : state_(std::make_unique<State>(inner)) {}

PipelinedSink::~PipelinedSink() {
  if (state_->thread.joinable()) {
    const std::lock_guard lock(state_->mutex);
    state_->waiting.clear();
  }
  (void)state_->join();
}

Result<void> PipelinedSink::write(std::span<const std::byte> bytes) {
  State& state = *state_;
  while (!bytes.empty()) {
    if (state.filling.size() == kBuffer) TRY(state.hand_over());
    if (state.filling.capacity() < kBuffer) state.filling.reserve(kBuffer);
    const std::size_t count = std::min(bytes.size(), kBuffer - state.filling.size());
    const auto part = bytes.first(count);
    state.filling.insert(state.filling.end(), part.begin(), part.end());
    bytes = bytes.subspan(count);
  }
  return {};
}

Result<void> PipelinedSink::finish() {
  State& state = *state_;
  if (state.thread.joinable()) {
    TRY(state.hand_over());
    TRY(state.join());
  } else {
    TRY(state.inner.write(state.filling));
    state.filling.clear();
  }
  return state.inner.finish();
}

}  // namespace dray
