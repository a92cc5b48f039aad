// SPDX-License-Identifier: Apache-2.0
// Walks the graph: a few threads take vertices whose inputs are done, in the plan's order. Our own token
// stops them all, after an error or when the caller's token is set (a watcher carries that over).
#include "solve/solver.hpp"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>

#include <dray/core/thread.hpp>

#include "solve/step.hpp"

namespace dray::builder {
namespace {

constexpr std::size_t kMinThreads = 4;  // steps that wait for a network need no processor
constexpr auto kCancelPoll = std::chrono::milliseconds(20);

class Solver {
 public:
  Solver(const Plan& plan, const SolveRequest& request, ProgressSink& progress, const CancelToken& cancel)
      : plan_(plan),
        cancel_(cancel),
        runner_(request, progress, stop_),
        states_(plan.vertices.size()),
        results_(plan.vertices.size()) {}

  Result<std::vector<StepResult>> run() {
    left_ = plan_.vertices.size();
    std::vector<std::thread> threads;
    const std::size_t most = std::max<std::size_t>(kMinThreads, std::thread::hardware_concurrency());
    const std::size_t count = std::min(most, plan_.vertices.size());
    for (std::size_t i = 0; i < count; ++i) {
      auto thread = start_thread([this] { work(); });
      if (!thread && threads.empty()) return Failure(std::move(thread).error());
      if (!thread) break;  // fewer do as well
      threads.push_back(*std::move(thread));
    }
    {
      std::unique_lock lock(mutex_);
      while (left_ > 0 && !error_) {
        if (cancel_.cancelled()) stop_.cancel();
        changed_.wait_for(lock, kCancelPoll);
        if (stop_.cancelled() && running_ == 0) break;
      }
    }
    if (cancel_.cancelled() || error_) stop_.cancel();
    changed_.notify_all();
    for (std::thread& thread : threads) thread.join();
    if (error_ && !cancel_.cancelled()) {
      auto shell = runner_.open_shell(cancel_);
      if (!shell) error_ = std::move(*error_).with_cleanup_failure(shell.error());
    }
    if (error_ && !cancel_.cancelled()) return Failure(std::move(*error_));
    if (left_ > 0) return fail(ErrorCode::cancelled, "build cancelled");
    return std::move(results_);
  }

 private:
  enum class State { waiting, running, done };

  /// The next vertex all inputs of which are done; -1 if there is none now.
  int next_ready() const {
    for (std::size_t i = 0; i < states_.size(); ++i) {
      if (states_[i] != State::waiting) continue;
      const auto& inputs = plan_.vertices[i].inputs;
      const bool ready = std::all_of(inputs.begin(), inputs.end(), [&](int input) {
        return states_[static_cast<std::size_t>(input)] == State::done;
      });
      if (ready) return static_cast<int>(i);
    }
    return -1;
  }

  void work() {
    std::unique_lock lock(mutex_);
    while (left_ > 0 && !stop_.cancelled()) {
      const int id = next_ready();
      if (id < 0) {
        changed_.wait_for(lock, kCancelPoll);
        continue;
      }
      const auto index = static_cast<std::size_t>(id);
      states_[index] = State::running;
      ++running_;
      std::vector<const StepResult*> inputs;
      for (const int input : plan_.vertices[index].inputs) inputs.push_back(&results_[static_cast<std::size_t>(input)]);
      lock.unlock();
      Result<StepResult> result = runner_.run(plan_.vertices[index], inputs);
      lock.lock();
      --running_;
      if (result) {
        results_[index] = std::move(*result);
        states_[index] = State::done;
        --left_;
      } else {
        if (!error_) error_ = std::move(result).error();
        stop_.cancel();
      }
      changed_.notify_all();
    }
  }

  const Plan& plan_;
  const CancelToken& cancel_;
  CancelToken stop_;
  StepRunner runner_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<State> states_;
  std::vector<StepResult> results_;
  std::size_t left_ = 0, running_ = 0;
  std::optional<Error> error_;
};

}  // namespace

Result<std::vector<StepResult>> solve(const Plan& plan, const SolveRequest& request, ProgressSink& progress,
                                      const CancelToken& cancel) {
  return Solver(plan, request, progress, cancel).run();
}

}  // namespace dray::builder
