// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <dray/core/result.hpp>

namespace dray::cli::hcl {

/// What evaluating a file may take altogether, whichever of its expressions takes it. Whoever makes something spends
/// before it is made, so that no call can make much more than what is left.
class Budget {
 public:
  static constexpr std::size_t kMaxMade = 4u << 20;
  static constexpr std::size_t kMaxWork = 50'000'000;

  Budget() = default;
  Budget(std::size_t values, std::size_t steps) : max_made_(values), max_work_(steps) {}
  /// Values and bytes of text that will stay.
  Result<void> make(std::size_t amount) {
    return spend(made_, amount, max_made_, "the file's values take too much room");
  }
  /// Steps that leave nothing behind: comparisons, characters looked at.
  Result<void> work(std::size_t steps) {
    return spend(worked_, steps, max_work_, "evaluating the file takes too long");
  }
  /// Nothing can be evaluated any more: `try` must not go on.
  bool exhausted() const { return made_ > max_made_ || worked_ > max_work_; }

 private:
  static Result<void> spend(std::size_t& spent, std::size_t amount, std::size_t limit, const char* message) {
    spent = amount > limit ? limit + 1 : spent + amount;  // no overflow: what is beyond the limit is not added to
    if (spent <= limit) return {};
    spent = limit + 1;
    return fail(ErrorCode::invalid_argument, message);
  }

  std::size_t max_made_ = kMaxMade, max_work_ = kMaxWork;
  std::size_t made_ = 0, worked_ = 0;
};

}  // namespace dray::cli::hcl
