// SPDX-License-Identifier: Apache-2.0
#include <dray/engine/containers.hpp>

#include <dray/flags/flags.hpp>
#include "../command.hpp"
#include "../table.hpp"

namespace dray::cli {
namespace {

Result<int> create(Invocation& invocation) {
  std::vector<std::string> names;
  Flags flags("dray volume create", "[VOLUME]", "Create a volume");
  flags.operands(names, 0, 1);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  engine::Context context = TRY(open_engine(invocation));
  print(TRY(engine::create_volume(context, names.empty() ? "" : names[0])).name + "\n");
  return 0;
}

Result<int> list(Invocation& invocation) {
  bool quiet = false;
  std::string format;
  std::vector<std::string> operands;
  Flags flags("dray volume ls", "[OPTIONS]", "List volumes");
  flags.option("--format", format, "Format output: table, 'table TEMPLATE', json, or a Go template");
  flags.flag("-q,--quiet", quiet, "Only display volume names");
  flags.operands(operands, 0, 0);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  engine::Context context = TRY(open_engine(invocation));
  std::vector<TableRow> rows;
  for (const auto& volume : TRY(engine::list_volumes(context))) {
    if (quiet) print(volume.name + "\n");
    rows.push_back({{{"Driver", "local"},
                     {"Name", volume.name},
                     {"Mountpoint", volume.mountpoint},
                     {"CreatedAt", volume.created_at}}});
  }
  if (!quiet) print(TRY(render_table({{"Driver", "DRIVER"}, {"Name", "VOLUME NAME"}}, rows, format)));
  return 0;
}

Result<int> remove(Invocation& invocation) {
  bool force = false;
  std::vector<std::string> names;
  Flags flags("dray volume rm", "[OPTIONS] VOLUME [VOLUME...]",
              "Remove one or more volumes. You cannot remove a volume that is in use by a container.");
  flags.flag("-f,--force", force, "No error for a volume that does not exist");
  flags.operands(names, 1, kAnyNumber);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  engine::Context context = TRY(open_engine(invocation));
  int code = 0;
  for (const auto& name : names) {
    auto removed = engine::remove_volume(context, name);
    if (!removed && !(force && removed.error().code() == ErrorCode::not_found)) {
      code = report(removed.error());
    } else {
      print(name + "\n");
    }
  }
  return code;
}

}  // namespace

int command_volume_create(Invocation& invocation) { return finish(create(invocation)); }
int command_volume_list(Invocation& invocation) { return finish(list(invocation)); }
int command_volume_remove(Invocation& invocation) { return finish(remove(invocation)); }

}  // namespace dray::cli
