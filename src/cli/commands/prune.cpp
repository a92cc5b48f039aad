// SPDX-License-Identifier: Apache-2.0
// system prune, container prune, image prune, volume prune.
#include <cstdio>

#include <dray/engine/prune.hpp>
#include <dray/flags/flags.hpp>

#include "../command.hpp"
#include "../moment.hpp"
#include "../table.hpp"

namespace dray::cli {
namespace {

bool confirmed(bool force, const std::string& warning) {
  if (force) return true;
  print("WARNING! " + warning + "\nAre you sure you want to continue? [y/N] ");
  std::fflush(stdout);
  char answer[16] = "";
  return std::fgets(answer, sizeof answer, stdin) != nullptr && (answer[0] == 'y' || answer[0] == 'Y');
}

void print_list(const char* heading, const std::vector<std::string>& lines) {
  if (lines.empty()) return;
  print(std::string(heading) + ":\n");
  for (const auto& line : lines) print(printable(line) + "\n");
  print("\n");
}

int print_pruned(const char* heading, const engine::Pruned& pruned) {
  print_list(heading, pruned.names);
  if (pruned.is_deferred)
    print_error("dray: a build or pull is running: the space of layers is freed by the next prune\n");
  print("Total reclaimed space: " + human_size(pruned.bytes) + "\n");
  return 0;
}

/// until=, label= and label!=; `dangling` where that is a filter, too.
Result<engine::PruneFilters> parse_filters(const std::vector<std::string>& texts, bool* all) {
  engine::PruneFilters filters;
  for (const std::string& text : texts) {
    const std::size_t equals = text.find('=');
    const std::string key = text.substr(0, equals), value = equals == std::string::npos ? "" : text.substr(equals + 1);
    if (value.empty()) return fail(ErrorCode::invalid_argument, "invalid filter '" + text + "': expected key=value");
    if (key == "until") {
      filters.until = TRY(parse_moment(value));
    } else if (key == "label") {
      filters.labels.push_back(value);
    } else if (key == "label!") {
      filters.absent.push_back(value);
    } else if (key == "dangling" && all != nullptr) {
      *all = !TRY(parse_filter_flag(key, value));
    } else {
      return fail(ErrorCode::invalid_argument, "invalid filter '" + key + "' (there are: " +
                                                   (all != nullptr ? "dangling, " : "") + "label, label!, until)");
    }
  }
  return filters;
}

Result<int> prune_system(Invocation& invocation) {
  bool all = false, force = false;
  std::vector<std::string> operands;
  Flags flags("dray system prune", "[OPTIONS]",
              "Remove stopped containers, unused images, the build cache, and what killed processes left behind");
  flags.flag("-a,--all", all, "Remove all unused images not just dangling ones");
  flags.flag("-f,--force", force, "Do not prompt for confirmation");
  flags.operands(operands, 0, 0);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  if (!confirmed(force, "This will remove:\n  - all stopped containers\n  - " +
                            std::string(all ? "all images without at least one container associated to them"
                                            : "all dangling images") +
                            "\n  - the build cache\n"))
    return 1;
  engine::Context context = TRY(open_engine(invocation));
  const auto report = TRY(engine::prune(context, all ? engine::PruneImages::all : engine::PruneImages::dangling));
  print_list("Deleted Containers", report.containers);
  print_list("Deleted Images", report.images);
  print("Total reclaimed space: " + human_size(report.bytes) + "\n");
  return 0;
}

Result<int> prune_images(Invocation& invocation) {
  bool all = false, force = false;
  std::vector<std::string> texts, operands;
  Flags flags("dray image prune", "[OPTIONS]", "Remove unused images");
  flags.flag("-a,--all", all, "Remove all unused images, not just dangling ones");
  flags.list("--filter", texts, "Provide filter values (e.g. \"until=24h\", \"label=KEY=VALUE\")", "filter");
  flags.flag("-f,--force", force, "Do not prompt for confirmation");
  flags.operands(operands, 0, 0);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  const engine::PruneFilters filters = TRY(parse_filters(texts, &all));
  if (!confirmed(force, all ? "This will remove all images without at least one container associated to them."
                            : "This will remove all dangling images."))
    return 1;
  engine::Context context = TRY(open_engine(invocation));
  return print_pruned(
      "Deleted Images",
      TRY(engine::prune_images(context, all ? engine::PruneImages::all : engine::PruneImages::dangling, filters)));
}

Result<int> prune_containers(Invocation& invocation) {
  bool force = false;
  std::vector<std::string> texts, operands;
  Flags flags("dray container prune", "[OPTIONS]", "Remove all stopped containers");
  flags.list("--filter", texts, "Provide filter values (e.g. \"until=24h\", \"label=KEY=VALUE\")", "filter");
  flags.flag("-f,--force", force, "Do not prompt for confirmation");
  flags.operands(operands, 0, 0);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  const engine::PruneFilters filters = TRY(parse_filters(texts, nullptr));
  if (!confirmed(force, "This will remove all stopped containers.")) return 1;
  engine::Context context = TRY(open_engine(invocation));
  return print_pruned("Deleted Containers", TRY(engine::prune_containers(context, filters)));
}

Result<int> prune_volumes(Invocation& invocation) {
  bool all = false, force = false;
  std::vector<std::string> operands;
  Flags flags("dray volume prune", "[OPTIONS]", "Remove unused local volumes");
  flags.flag("-a,--all", all, "Remove all unused volumes, not just anonymous ones");
  flags.flag("-f,--force", force, "Do not prompt for confirmation");
  flags.operands(operands, 0, 0);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  if (!confirmed(force, std::string("This will remove ") + (all ? "all" : "anonymous") +
                            " local volumes not used by at least one container."))
    return 1;
  engine::Context context = TRY(open_engine(invocation));
  return print_pruned("Deleted Volumes", TRY(engine::prune_volumes(context, all)));
}

}  // namespace

int command_prune(Invocation& invocation) { return finish(prune_system(invocation)); }
int command_prune_containers(Invocation& invocation) { return finish(prune_containers(invocation)); }
int command_prune_images(Invocation& invocation) { return finish(prune_images(invocation)); }
int command_prune_volumes(Invocation& invocation) { return finish(prune_volumes(invocation)); }

}  // namespace dray::cli
