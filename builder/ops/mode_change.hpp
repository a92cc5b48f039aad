// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <optional>
#include <string_view>
#include <vector>

#include <dray/core/result.hpp>

namespace dray::builder {

/// --chmod: an octal mode, or clauses as of chmod(1) ("u+rwX,go-w", "a=r", "g=u", "+t") without a umask.
class ModeChange {
 public:
  /// "" changes nothing.
  static Result<ModeChange> parse(std::string_view text);

  /// The new permission bits of a file with mode `mode` (with its type: X looks at it).
  mode_t apply(mode_t mode) const;
  /// What directories get that are made on the way: the octal mode without set-id bits, else 0755.
  mode_t for_new_directories() const { return octal_ ? *octal_ & 0777 : 0755; }

 private:
  struct Clause {
    char operation = '+';        ///< + - =
    mode_t who = 0;              ///< bits that may change
    mode_t bits = 0;             ///< r w x s t, for all classes
    bool if_executable = false;  ///< X
    char copied_class = 0;       ///< u g o: its bits
  };
  std::optional<mode_t> octal_;
  std::vector<Clause> clauses_;
};

}  // namespace dray::builder
