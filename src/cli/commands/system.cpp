// SPDX-License-Identifier: Apache-2.0
// version and system prune.
#include <cstdio>

#include <dray/engine/images.hpp>

#include "../command.hpp"
#include <dray/flags/flags.hpp>
#include "../table.hpp"
#include "../terminal.hpp"

namespace dray::cli {
namespace {

Result<int> prune(Invocation& invocation) {
  bool all = false, force = false;
  std::vector<std::string> operands;
  Flags flags("dray system prune", "[OPTIONS]",
              "Remove stopped containers, unused images, the build cache, and what killed processes left behind");
  flags.flag("-a,--all", all, "Remove all unused images not just dangling ones");
  flags.flag("-f,--force", force, "Do not prompt for confirmation");
  flags.operands(operands, 0, 0);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  if (!force) {
    print("WARNING! This will remove:\n  - all stopped containers\n  - " +
          std::string(all ? "all images without at least one container associated to them" : "all dangling images") +
          "\n  - the build cache\n\nAre you sure you want to continue? [y/N] ");
    std::fflush(stdout);
    char answer[16] = "";
    if (std::fgets(answer, sizeof answer, stdin) == nullptr || (answer[0] != 'y' && answer[0] != 'Y')) return 1;
  }
  engine::Context context = TRY(open_engine(invocation));
  auto report = TRY(engine::prune(context, all ? engine::PruneImages::all : engine::PruneImages::dangling));
  if (!report.containers.empty()) {
    print("Deleted Containers:\n");
    for (const auto& id : report.containers) print(id + "\n");
    print("\n");
  }
  if (!report.images.empty()) {
    print("Deleted Images:\n");
    for (const auto& line : report.images) print(printable(line) + "\n");
    print("\n");
  }
  print("Total reclaimed space: " + human_size(report.bytes) + "\n");
  return 0;
}

}  // namespace

int command_version(Invocation&) {
  print("Dray version " DRAY_VERSION "\n");
  return 0;
}

int command_prune(Invocation& invocation) {
  auto result = prune(invocation);
  return result ? *result : report(result.error());
}

}  // namespace dray::cli
