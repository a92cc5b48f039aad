// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <dray/builder/lint.hpp>
#include <dray/engine/images.hpp>

namespace dray::cli {

/// --call: build, check (also written lint), outline or targets; with ",format=json".
struct CallWords {
  std::string question = "build";
  bool json = false;
  bool is_build() const { return question == "build"; }
};

/// `dray build`, parsed.
struct BuildCommand {
  builder::BuildRequest request;
  engine::BuildOptions options;
  std::string progress, iidfile, metadata_file;
  CallWords call;
  bool quiet = false, debug = false, help_shown = false;
};

/// Also for `dray bake`, whose targets are written as the arguments that a build would be given.
Result<BuildCommand> parse_build_command(const std::vector<std::string>& arguments);

/// --call: what is asked instead of building.
struct CallAnswer {
  std::string text, error;  ///< for stdout, then for stderr; printable
  int exit_code = 0;
};
Result<CallAnswer> answer_call(engine::Context& context, const BuildCommand& command, ProgressSink& progress,
                               const CancelToken& cancel);
void print(const CallAnswer& answer);
Result<CallWords> parse_call(const std::string& call);

// The answers as BuildKit's JSON.
std::string check_json(const builder::LintReport& report);
std::string targets_json(const std::vector<builder::TargetDescription>& targets);
std::string outline_json(const builder::Outline& outline);

/// What --metadata-file holds.
std::string metadata_json(const builder::BuildResult& result);
std::string bake_metadata_json(const std::vector<std::pair<std::string, builder::BuildResult>>& results);

}  // namespace dray::cli
