// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <dray/core/result.hpp>
#include <dray/flags/flags.hpp>

#include "container.hpp"

namespace dray::oci {

/// One run of the program: what the global flags say, and the command's own words.
struct Invocation {
  std::string program;  ///< as we were called: "runc" where we stand in for it
  Settings settings;
  std::vector<std::string> arguments;
};

/// `usage` and `description` are what --help shows; the description's first line is its summary.
Flags make_flags(const Invocation& invocation, const char* name, const char* usage, const char* description);

/// Exit code, or the error that main() logs.
using CommandFunction = Result<int> (*)(Invocation& invocation);

Result<int> command_checkpoint(Invocation&);
Result<int> command_create(Invocation&);
Result<int> command_delete(Invocation&);
Result<int> command_events(Invocation&);
Result<int> command_exec(Invocation&);
Result<int> command_features(Invocation&);
Result<int> command_kill(Invocation&);
Result<int> command_list(Invocation&);
Result<int> command_pause(Invocation&);
Result<int> command_ps(Invocation&);
Result<int> command_restore(Invocation&);
Result<int> command_resume(Invocation&);
Result<int> command_run(Invocation&);
Result<int> command_spec(Invocation&);
Result<int> command_start(Invocation&);
Result<int> command_state(Invocation&);
Result<int> command_update(Invocation&);

/// To standard output; a failure there (a full disk) is the command's.
Result<void> print(std::string_view text);

}  // namespace dray::oci
