// SPDX-License-Identifier: Apache-2.0
// A bounded queue of buffers between two threads. Buffers travel back, so that their memory is used again.
#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <optional>
#include <vector>

#include <dray/core/stream.hpp>
#include <dray/core/thread.hpp>

namespace dray {
namespace {

using Buffer = std::vector<std::byte>;

constexpr std::size_t kBuffer = 256 * 1024;
constexpr std::size_t kMostWaiting = 4;

/// One thread puts, another takes, either may close: after that nothing is put, and what waits may still be taken.
class Queue {
 public:
  /// Of the thread at the other end: what waits is dropped, and it ends.
  void stop(std::thread& thread) {
    if (!thread.joinable()) return;
    {
      const std::lock_guard lock(mutex_);
      waiting_.clear();
    }
    close();
    thread.join();
  }
  /// Waits for room. False: closed.
  bool put(Buffer buffer) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return closed_ || waiting_.size() < kMostWaiting; });
    if (closed_) return false;
    waiting_.push_back(std::move(buffer));
    changed_.notify_all();
    return true;
  }
  /// Waits for a buffer. nullopt: closed and empty.
  std::optional<Buffer> take() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return closed_ || !waiting_.empty(); });
    if (waiting_.empty()) return std::nullopt;
    Buffer buffer = std::move(waiting_.front());
    waiting_.pop_front();
    changed_.notify_all();
    return buffer;
  }
  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }
  void give_back(Buffer buffer) {
    const std::lock_guard lock(mutex_);
    unused_.push_back(std::move(buffer));
  }
  /// With capacity, of any size.
  Buffer unused() {
    const std::lock_guard lock(mutex_);
    if (unused_.empty()) return {};
    Buffer buffer = std::move(unused_.front());
    unused_.pop_front();
    return buffer;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Buffer> waiting_, unused_;
  bool closed_ = false;
};

}  // namespace

// -- sink -------------------------------------------------------------------------------------------------------------

struct PipelinedSink::State {
  explicit State(ByteSink& sink) : inner(sink) { filling.reserve(kBuffer); }

  ByteSink& inner;
  Buffer filling;  ///< the caller's
  Queue queue;
  Result<void> outcome;  ///< the thread's, to be read when it has closed the queue or ended
  std::thread thread;

  void run() {
    while (auto buffer = queue.take()) {
      outcome = inner.write(*buffer);
      if (!outcome) return queue.close();
      buffer->clear();
      queue.give_back(*std::move(buffer));
    }
  }
  Result<void> hand_over() {
    if (!thread.joinable()) thread = TRY(start_thread([this] { run(); }));
    if (!queue.put(std::move(filling))) return outcome;
    filling = queue.unused();
    filling.reserve(kBuffer);
    return {};
  }
};

PipelinedSink::PipelinedSink(ByteSink& inner) : state_(std::make_unique<State>(inner)) {}

PipelinedSink::~PipelinedSink() { state_->queue.stop(state_->thread); }

Result<void> PipelinedSink::write(std::span<const std::byte> bytes) {
  State& state = *state_;
  while (!bytes.empty()) {
    if (state.filling.size() == kBuffer) TRY(state.hand_over());
    const auto part = bytes.first(std::min(bytes.size(), kBuffer - state.filling.size()));
    state.filling.insert(state.filling.end(), part.begin(), part.end());
    bytes = bytes.subspan(part.size());
  }
  return {};
}

Result<void> PipelinedSink::finish() {
  State& state = *state_;
  if (state.thread.joinable()) {
    TRY(state.hand_over());
    state.queue.close();
    state.thread.join();
    TRY(state.outcome);
  } else {
    TRY(state.inner.write(state.filling));
    state.filling.clear();
  }
  return state.inner.finish();
}

// -- source -----------------------------------------------------------------------------------------------------------

struct PipelinedSource::State {
  explicit State(ByteSource& source) : inner(source) {}

  ByteSource& inner;
  Buffer current;  ///< the caller's
  std::size_t position = 0;
  bool begun = false;
  Queue queue;
  Result<void> outcome;  ///< of reading; the thread's, to be read when the queue is closed and empty
  std::thread thread;

  /// Less than a whole buffer: the end, or an error.
  Buffer fill(Buffer buffer) {
    buffer.resize(kBuffer);
    std::size_t used = 0;
    while (used < buffer.size()) {
      const auto count = inner.read(std::span(buffer).subspan(used));
      if (!count) outcome = Failure(count.error());
      if (!count || *count == 0) break;
      used += *count;
    }
    buffer.resize(used);
    return buffer;
  }
  void run() {
    for (;;) {
      Buffer buffer = fill(queue.unused());
      const bool ended = buffer.size() < kBuffer;
      if (!queue.put(std::move(buffer))) return;
      if (ended) return queue.close();
    }
  }
  void begin_reading() {
    auto started = start_thread([this] { run(); });
    if (started)
      thread = *std::move(started);
    else
      outcome = Failure(std::move(started).error());
  }
  /// False at the end.
  bool next() {
    position = 0;
    if (!begun) {
      begun = true;
      current = fill({});
      if (current.size() == kBuffer) begin_reading();
      return !current.empty();
    }
    if (!thread.joinable()) {
      current.clear();
      return false;
    }
    queue.give_back(std::move(current));
    auto taken = queue.take();
    current = taken ? *std::move(taken) : Buffer();
    if (!taken) thread.join();
    return !current.empty();
  }
};

PipelinedSource::PipelinedSource(ByteSource& inner) : state_(std::make_unique<State>(inner)) {}

PipelinedSource::~PipelinedSource() { state_->queue.stop(state_->thread); }

Result<std::size_t> PipelinedSource::read(std::span<std::byte> buffer) {
  State& state = *state_;
  while (state.position == state.current.size()) {
    if (state.next()) continue;
    if (state.thread.joinable()) continue;  // an empty last buffer; the end comes with the next
    if (!state.outcome) return Failure(state.outcome.error());
    return std::size_t{0};
  }
  const std::size_t count = std::min(buffer.size(), state.current.size() - state.position);
  std::memcpy(buffer.data(), state.current.data() + state.position, count);
  state.position += count;
  return count;
}

}  // namespace dray
