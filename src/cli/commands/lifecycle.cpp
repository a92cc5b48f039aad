// SPDX-License-Identifier: Apache-2.0
// stop, kill, restart, rm, wait: one verb over several containers. Each container is tried; the exit code says whether
// all went well.
#include <dray/engine/containers.hpp>

#include "../command.hpp"
#include <dray/flags/flags.hpp>

namespace dray::cli {
namespace {

template <typename Action>
int for_each_name(engine::Context& context, const std::vector<std::string>& names, Action action) {
  int code = 0;
  for (const auto& name : names) {
    Result<std::string> line = action(context, name);
    if (!line) {
      code = report(line.error());
    } else if (!line->empty()) {
      print(*line + "\n");
    }
  }
  return code;
}

/// Parses, opens the engine and runs the action on each operand.
template <typename Action>
int run_verb(Invocation& invocation, Flags& flags, std::vector<std::string>& names, Action action) {
  flags.operands(names, 1, kAnyNumber);
  auto outcome = flags.parse(invocation.arguments);
  if (!outcome) return report(outcome.error());
  if (*outcome == Flags::Outcome::help_shown) return 0;
  auto context = open_engine(invocation);
  if (!context) return report(context.error());
  return for_each_name(*context, names, action);
}

}  // namespace

int command_stop(Invocation& invocation) {
  std::optional<int> timeout;
  std::vector<std::string> names;
  Flags flags("dray stop", "[OPTIONS] CONTAINER [CONTAINER...]", "Stop one or more running containers");
  flags.option("-t,--timeout,--time", timeout, "Seconds to wait before killing the container (-1: wait for ever)");
  return run_verb(invocation, flags, names,
                  [&](engine::Context& context, const std::string& name) -> Result<std::string> {
                    TRY(engine::stop_container(context, name, timeout));
                    return name;
                  });
}

int command_kill(Invocation& invocation) {
  std::string signal = "KILL";
  std::vector<std::string> names;
  Flags flags("dray kill", "[OPTIONS] CONTAINER [CONTAINER...]", "Kill one or more running containers");
  flags.option("-s,--signal", signal, "Signal to send to the container");
  return run_verb(invocation, flags, names,
                  [&](engine::Context& context, const std::string& name) -> Result<std::string> {
                    TRY(engine::kill_container(context, name, signal));
                    return name;
                  });
}

int command_restart(Invocation& invocation) {
  std::optional<int> timeout;
  std::vector<std::string> names;
  Flags flags("dray restart", "[OPTIONS] CONTAINER [CONTAINER...]", "Restart one or more containers");
  flags.option("-t,--timeout,--time", timeout, "Seconds to wait before killing the container");
  return run_verb(invocation, flags, names,
                  [&](engine::Context& context, const std::string& name) -> Result<std::string> {
                    TRY(engine::restart_container(context, name, timeout));
                    return name;
                  });
}

int command_rm(Invocation& invocation) {
  bool force = false, volumes = false;
  std::vector<std::string> names;
  Flags flags("dray rm", "[OPTIONS] CONTAINER [CONTAINER...]", "Remove one or more containers");
  flags.flag("-f,--force", force, "Force the removal of a running container (uses SIGKILL)");
  flags.flag("-v,--volumes", volumes, "Remove anonymous volumes associated with the container");
  return run_verb(invocation, flags, names,
                  [&](engine::Context& context, const std::string& name) -> Result<std::string> {
                    auto removed = engine::remove_container(context, name, force, volumes);
                    // As docker: rm -f of what is not there is success.
                    if (!removed && !(force && removed.error().code() == ErrorCode::not_found))
                      return Failure(std::move(removed).error());
                    return name;
                  });
}

int command_wait(Invocation& invocation) {
  std::vector<std::string> names;
  Flags flags("dray wait", "CONTAINER [CONTAINER...]",
              "Block until one or more containers stop, then print their exit codes");
  CancelToken& cancel = install_cancel_handlers();
  return run_verb(invocation, flags, names,
                  [&](engine::Context& context, const std::string& name) -> Result<std::string> {
                    int code = TRY(engine::wait_container(context, name, cancel));
                    return std::to_string(code);
                  });
}

int command_cleanup(Invocation& invocation) {
  std::vector<std::string> ids;
  Flags flags("dray container cleanup", "ID", "Internal: what the monitor runs when a container has ended");
  return run_verb(invocation, flags, ids, [&](engine::Context& context, const std::string& id) -> Result<std::string> {
    TRY(engine::clean_up_container(context, id));
    return std::string();
  });
}

int command_restart_by_policy(Invocation& invocation) {
  std::vector<std::string> ids;
  Flags flags("dray container restart-by-policy", "ID", "Internal: what the monitor becomes when a restart is due");
  return run_verb(invocation, flags, ids, [&](engine::Context& context, const std::string& id) -> Result<std::string> {
    TRY(engine::restart_by_policy(context, id));
    return std::string();
  });
}

int command_start_containers(Invocation& invocation) {
  std::vector<std::string> operands;
  Flags flags("dray system start-containers", "[OPTIONS]",
              "Start the containers that a restart policy wants to run and that do not run: those with policy always,\n"
              "and those with unless-stopped that were not stopped by the user. There is no daemon: call this at boot");
  flags.operands(operands, 0, 0);
  auto outcome = flags.parse(invocation.arguments);
  if (!outcome) return report(outcome.error());
  if (*outcome == Flags::Outcome::help_shown) return 0;
  auto context = open_engine(invocation);
  if (!context) return report(context.error());
  auto wanted = engine::start_wanted_containers(*context);
  if (!wanted) return report(wanted.error());
  for (const auto& name : wanted->started) print(name + "\n");
  int code = 0;
  for (auto& [name, error] : wanted->failures) code = report(std::move(error).with_context("starting " + name));
  return code;
}

}  // namespace dray::cli
