// SPDX-License-Identifier: Apache-2.0
// registry serve and registry gc: this process becomes dray-registry-server, which has their flags.
#include <unistd.h>

#include <dray/core/process.hpp>

#include "../command.hpp"

namespace dray::cli {
namespace {

Result<int> become(Invocation& invocation, const char* command) {
  const std::string program = TRY(executable_directory()) + "/dray-registry-server";
  const engine::Configuration configuration = TRY(read_configuration(invocation));
  std::vector<std::string> words{program, configuration.root + "/registry", command};
  words.insert(words.end(), invocation.arguments.begin(), invocation.arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::execv(program.c_str(), argv.data());
  return Failure(fail_errno("executing \"" + program + "\"").error().with_hint("it belongs beside the program dray"));
}

}  // namespace

int command_registry_serve(Invocation& invocation) { return report(become(invocation, "serve").error()); }
int command_registry_gc(Invocation& invocation) { return report(become(invocation, "gc").error()); }

}  // namespace dray::cli
