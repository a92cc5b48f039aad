// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include <dray/core/result.hpp>

namespace dray {

/// One step of long work (a build step, a layer being pulled). Reported through ProgressSink, drawn by the front end.
struct ProgressEvent {
  enum class Kind {
    started,    ///< `id` begins; `name` is its title
    output,     ///< text of a running step's stdout or stderr (`text`, raw bytes)
    status,     ///< `text` is a short state word ("Downloading"), with current/total in bytes (total 0 = unknown)
    completed,  ///< `id` is done
    cached,     ///< `id` was found in the cache and is done
    failed,     ///< `id` failed; `text` is the error
    message,    ///< a line for the user that belongs to no step
    warning,    ///< found in the input: `name` is the short text, `text` the explanation, `source` where it is
    excerpt     ///< `text` shows the lines of the input that the error is about; for the end of the output
  };
  Kind kind = Kind::message;
  int id = 0;  ///< step number, from 1, unique within one piece of work
  std::string name;
  std::string text;
  bool is_stderr = false;
  std::uint64_t current = 0, total = 0;
  struct Source {  ///< of a warning
    std::string file, url, excerpt;
    int line = 0, end_line = 0, level = 1;
  };
  Source source;
};

/// Takes events from any thread; implementations lock. Never fails: losing progress must not lose work.
class ProgressSink {
 public:
  virtual ~ProgressSink() = default;
  virtual void report(const ProgressEvent& event) = 0;
};

/// For work that nobody watches.
class SilentProgress : public ProgressSink {
 public:
  void report(const ProgressEvent&) override {}
};

/// Set once, from a signal handler or another thread; long work asks check() now and then, and returns its error.
class CancelToken {
 public:
  void cancel() { flag_.store(true, std::memory_order_relaxed); }
  bool cancelled() const { return flag_.load(std::memory_order_relaxed); }
  Result<void> check() const { return cancelled() ? fail(ErrorCode::cancelled, "cancelled") : Result<void>(); }

 private:
  std::atomic<bool> flag_{false};
};
/// For work that nobody ends early.
inline const CancelToken kNeverCancelled;

}  // namespace dray
