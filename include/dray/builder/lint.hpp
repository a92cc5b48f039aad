// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <dray/builder/builder.hpp>

// Build checks: BuildKit's rules for Dockerfiles, by their names.

namespace dray::builder {

struct LintWarning {
  std::string rule, description;
  std::string url;     ///< "" for the one rule that has no page
  std::string detail;  ///< what was found
  int line = 0, end_line = 0;
  int level = 1;
  /// "RULE: DETAIL (line N)".
  std::string to_string() const;
};

/// What `build --check` finds.
struct LintReport {
  std::vector<LintWarning> warnings;  ///< as they were found: while reading, in the FROMs, in the stages
  std::optional<Error> error;         ///< why this Dockerfile cannot be built, or that error=true was asked for
  int error_line = 0;                 ///< 0: not known
  std::string file, text;             ///< the Dockerfile, for excerpts
};

/// The lines with a few around them, marked ">>>", as BuildKit shows them; "" where there are no such lines.
std::string source_excerpt(std::string_view text, const std::string& file, int first_line, int last_line);

/// `build --check`: all stages, or what `request.target` needs. Reads the Dockerfile and resolves its base images.
Result<LintReport> check_build(store::Store& store, ImageSource& images, const BuildRequest& request,
                               ProgressSink& progress, const CancelToken& cancel);

/// `build --call=targets`.
struct TargetDescription {
  std::string name, description, base, platform;
  bool is_default = false;
  int line = 0;
};
/// `build --call=outline`: what can be given to the build of a target.
struct Outline {
  struct Argument {
    std::string name, description, value;
    int line = 0;
  };
  struct Mount {
    std::string id;
    bool required = false;
    int line = 0;
  };
  std::string name, description;
  std::vector<Argument> arguments;
  std::vector<Mount> secrets, ssh, caches;
};
Result<std::vector<TargetDescription>> list_targets(store::Store& store, const BuildRequest& request,
                                                    const CancelToken& cancel);
Result<Outline> outline_build(store::Store& store, ImageSource& images, const BuildRequest& request,
                              ProgressSink& progress, const CancelToken& cancel);

}  // namespace dray::builder
