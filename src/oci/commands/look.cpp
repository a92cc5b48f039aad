// SPDX-License-Identifier: Apache-2.0
// state, list, ps.

#include <algorithm>
#include <sstream>

#include <dray/core/process.hpp>
#include <dray/core/text.hpp>

#include "../command.hpp"
#include "../log.hpp"

namespace dray::oci {
Result<int> command_state(Invocation& invocation) {
  std::vector<std::string> operands;
  Flags flags = make_flags(invocation, "state", "<container-id>",
                           "output the state of a container\n\nWhere \"<container-id>\" is your name for the instance "
                           "of the container.\n");
  flags.operands(operands, 1, 1);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  const Container container = TRY(find_container(invocation.settings.root, operands.front()));
  TRY(print(describe(container.state, container.status)));
  return 0;
}

Result<int> command_list(Invocation& invocation) {
  bool quiet = false;
  std::string format = "table";
  std::vector<std::string> operands;
  Flags flags = make_flags(invocation, "list", "[command options]", "lists containers started with the given root\n");
  flags.option("--format,-f", format, "select one of: table or json");
  flags.flag("--quiet,-q", quiet, "display only container IDs");
  flags.operands(operands, 0, 0);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  if (format != "table" && format != "json") return fail(ErrorCode::invalid_argument, "invalid format option");
  std::vector<std::pair<ContainerState, Status>> containers;
  for (const auto& id : TRY(list_ids(invocation.settings.root, !invocation.settings.root_is_default))) {
    auto container = find_container(invocation.settings.root, id);
    if (container) {
      containers.emplace_back(std::move(container->state), container->status);
    } else if (container.error().code() != ErrorCode::not_found) {
      log_warning("load container " + id + ": " + container.error().message());
    }
  }
  if (quiet) {
    std::string text;
    for (const auto& [state, status] : containers) text += state.id + "\n";
    TRY(print(text));
    return 0;
  }
  if (format == "json") {
    TRY(print(describe_all(containers) + "\n"));
    return 0;
  }
  std::vector<std::vector<std::string>> rows = {{"ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"}};
  for (const auto& [state, status] : containers)
    rows.push_back({state.id, std::to_string(status == Status::stopped ? 0 : state.pid), name_of(status), state.bundle,
                    state.created, owner_name(state.owner)});
  TRY(print(align_columns(rows, 1, 12)));  // as Go's tabwriter with a minimal width of 12
  return 0;
}

Result<int> command_ps(Invocation& invocation) {
  std::string format = "table";
  std::vector<std::string> operands;
  Flags flags = make_flags(invocation, "ps", "[command options] <container-id> [ps options]",
                           "ps displays the processes running inside a container\n");
  flags.option("--format,-f", format, "select one of: table or json");
  flags.trailing(operands, 1);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  if (format != "table" && format != "json") return fail(ErrorCode::invalid_argument, "invalid format option");
  const Container container = TRY(find_container(invocation.settings.root, operands.front()));
  std::vector<pid_t> pids = TRY(runtime::cgroup_processes(container.state.cgroups_path));
  if (format == "json") {
    std::string text = "[";
    for (pid_t pid : pids) text += (text.size() > 1 ? "," : "") + std::to_string(pid);
    TRY(print(text + "]\n"));
    return 0;
  }
  SpawnRequest request;
  request.argv = {"ps"};
  request.argv.insert(request.argv.end(), operands.begin() + 1, operands.end());
  if (operands.size() == 1) request.argv.push_back("-ef");
  Pipe output = TRY(make_pipe());
  request.stdout_fd = output.write_end;
  ChildProcess program = TRY(ChildProcess::spawn(request));
  output.write_end.reset();
  const std::string text = TRY(read_all(output.read_end, 64u << 20));
  const ExitStatus ended = TRY(program.wait());
  if (ended.exit_code() != 0)
    return fail(ErrorCode::command_failed, "ps failed with exit code " + std::to_string(ended.exit_code()));
  std::istringstream lines(text);
  std::string line, out;
  std::size_t column = std::string::npos;
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::vector<std::string> fields;
    for (std::string word; words >> word;) fields.push_back(std::move(word));
    if (column == std::string::npos) {
      auto found = std::find(fields.begin(), fields.end(), "PID");
      if (found == fields.end()) return fail(ErrorCode::invalid_argument, "couldn't find PID field in ps output");
      column = static_cast<std::size_t>(found - fields.begin());
      out += line + "\n";
      continue;
    }
    if (column < fields.size() &&
        std::any_of(pids.begin(), pids.end(), [&](pid_t pid) { return std::to_string(pid) == fields[column]; }))
      out += line + "\n";
  }
  TRY(print(out));
  return 0;
}

}  // namespace dray::oci
