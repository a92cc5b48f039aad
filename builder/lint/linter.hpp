// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dray/builder/lint.hpp>

#include "lint/rules.hpp"

namespace dray::builder {

/// "skip=A,B;error=true;experimental=C"; "all" for every rule.
struct CheckOptions {
  bool skip_all = false, experimental_all = false, error = false;
  std::set<std::string, std::less<>> skip, experimental;
};
/// Of a build: the argument BUILDKIT_DOCKERFILE_CHECK, else the directive "# check=" of the Dockerfile.
Result<CheckOptions> check_options(std::string_view dockerfile,
                                   const std::vector<std::pair<std::string, std::string>>& build_args);

struct LineRange {
  int first = 0, last = 0;
};

/// Takes what the rules find. Copies share the findings; one made without options drops them.
class Linter {
 public:
  Linter() = default;
  explicit Linter(CheckOptions options);

  /// With the options that a comment above an instruction adds ("# check=skip=UndefinedVar").
  Linter with_comments(const std::vector<std::string>& comments) const;
  bool active() const { return found_ != nullptr; }
  void report(Rule rule, std::string detail, LineRange lines) const;

  /// In the order in which they were found: reading, then FROMs, then stages.
  std::vector<LintWarning> warnings() const;
  /// The error that error=true makes of warnings.
  Result<void> verdict(const std::string& file) const;

 private:
  CheckOptions options_;
  std::shared_ptr<std::vector<LintWarning>> found_;
};

}  // namespace dray::builder
