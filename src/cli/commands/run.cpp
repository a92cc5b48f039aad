// SPDX-License-Identifier: Apache-2.0
// run, create, start, attach: the commands that may end in a session with a container.
#include <csignal>

#include <dray/engine/containers.hpp>
#include <dray/runtime/launch.hpp>

#include <dray/flags/flags.hpp>
#include "../command.hpp"
#include "../session.hpp"
#include "container_flags.hpp"

namespace dray::cli {
namespace {

constexpr const char* kDefaultDetachKeys = "ctrl-p,ctrl-q";

std::string signal_name(int number) {
  switch (number) {
    case SIGINT:
      return "INT";
    case SIGTERM:
      return "TERM";
    case SIGHUP:
      return "HUP";
    case SIGQUIT:
      return "QUIT";
    case SIGUSR1:
      return "USR1";
    case SIGUSR2:
      return "USR2";
    default:
      return std::to_string(number);
  }
}

/// Stays with the container until it ends; the process's exit code.
Result<int> follow(engine::Context& context, const std::string& id, FileDescriptor connection, bool terminal,
                   bool forward_stdin, bool forward_signals, const std::string& detach_keys) {
  SessionOptions options;
  options.terminal = terminal;
  options.forward_stdin = forward_stdin;
  options.forward_signals = forward_signals;
  options.detach_keys = TRY(DetachKeys::parse(detach_keys));
  options.deliver_signal = [&](int number) { (void)engine::kill_container(context, id, signal_name(number)); };
  options.clean_up = [&] { return engine::clean_up_container(context, id); };
  SessionEnd end = TRY(run_attach_session(std::move(connection), options));
  if (end.exit_code) return *end.exit_code;
  if (end.detached) {
    if (terminal) print_error("read escape sequence\r\n");
    return 0;
  }
  // The monitor was killed: what it left on disk says how the container ended.
  CancelToken never;
  return engine::wait_container(context, id, never);
}

Result<int> run(Invocation& invocation) {
  ContainerFlags container;
  bool detach = false;
  std::string detach_keys = kDefaultDetachKeys;
  Flags flags("dray run", "[OPTIONS] IMAGE [COMMAND] [ARG...]", "Create and run a new container from an image");
  flags.flag("-d,--detach", detach, "Run container in background and print container ID");
  flags.option("--detach-keys", detach_keys, "Override the key sequence for detaching a container");
  bool proxy_signals = true;
  flags.flag("--sig-proxy", proxy_signals, "Proxy received signals to the process (default true)");
  container.declare(flags);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  if (container.terminal && container.interactive && !detach && !is_terminal(0))
    return fail(ErrorCode::invalid_argument,
                "the input device is not a TTY (leave out -t when standard input is a pipe or file)");
  TRY(DetachKeys::parse(detach_keys));
  engine::Context context = TRY(open_engine(invocation));
  // Until it has started: a prune beside us would take it for one that nobody needs.
  std::optional<store::Store::Lease> lease = TRY(context.store->lease());
  std::string id = TRY(create_with_pull(context, container));
  if (!detach) block_session_signals();
  engine::StartOptions start;
  start.attach = !detach;
  auto started = engine::start_container(context, id, start);
  lease.reset();
  if (!started) {
    if (container.remove) (void)engine::remove_container(context, id, true, true);
    return Failure(std::move(started).error());
  }
  if (detach) {
    print(id + "\n");
    return 0;
  }
  return follow(context, id, std::move(started->connection), container.terminal, container.interactive,
                proxy_signals && !container.terminal, detach_keys);
}

Result<int> create(Invocation& invocation) {
  ContainerFlags container;
  Flags flags("dray create", "[OPTIONS] IMAGE [COMMAND] [ARG...]", "Create a new container");
  container.declare(flags);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  engine::Context context = TRY(open_engine(invocation));
  print(TRY(create_with_pull(context, container)) + "\n");
  return 0;
}

Result<int> start(Invocation& invocation) {
  bool attach = false, interactive = false;
  std::string detach_keys = kDefaultDetachKeys;
  std::vector<std::string> names;
  Flags flags("dray start", "[OPTIONS] CONTAINER [CONTAINER...]", "Start one or more stopped containers");
  flags.flag("-a,--attach", attach, "Attach STDOUT/STDERR and forward signals");
  flags.flag("-i,--interactive", interactive, "Attach container's STDIN");
  flags.option("--detach-keys", detach_keys, "Override the key sequence for detaching a container");
  flags.operands(names, 1, kAnyNumber);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  engine::Context context = TRY(open_engine(invocation));
  attach = attach || interactive;
  if (attach && names.size() > 1)
    return fail(ErrorCode::invalid_argument, "you cannot start and attach multiple containers at once");
  int code = 0;
  for (const auto& name : names) {
    if (attach) block_session_signals();
    auto started = engine::start_container(context, name, engine::StartOptions{attach});
    if (!started) {
      code = report(started.error());
      continue;
    }
    if (!attach) {
      print(name + "\n");
      continue;
    }
    auto info = TRY(engine::find_container(context, name));
    FileDescriptor connection =
        started->connection.valid() ? std::move(started->connection) : TRY(engine::attach_container(context, name));
    return TRY(follow(context, info.id, std::move(connection), info.options.terminal,
                      interactive && info.options.open_stdin, !info.options.terminal, detach_keys));
  }
  return code;
}

Result<int> attach(Invocation& invocation) {
  bool no_stdin = false, proxy_signals = true;
  std::string detach_keys = kDefaultDetachKeys;
  std::vector<std::string> names;
  Flags flags("dray attach", "[OPTIONS] CONTAINER",
              "Attach local standard input, output, and error streams to a running container");
  flags.option("--detach-keys", detach_keys, "Override the key sequence for detaching a container");
  flags.flag("--no-stdin", no_stdin, "Do not attach STDIN");
  flags.flag("--sig-proxy", proxy_signals, "Proxy received signals to the process (default true)");
  flags.operands(names, 1, 1);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  engine::Context context = TRY(open_engine(invocation));
  auto info = TRY(engine::find_container(context, names[0]));
  block_session_signals();
  FileDescriptor connection = TRY(engine::attach_container(context, names[0]));
  return follow(context, info.id, std::move(connection), info.options.terminal, !no_stdin && info.options.open_stdin,
                proxy_signals && !info.options.terminal, detach_keys);
}

}  // namespace

int command_run(Invocation& invocation) { return finish(run(invocation), Kind::runs_container); }
int command_create(Invocation& invocation) { return finish(create(invocation), Kind::plain); }
int command_start(Invocation& invocation) { return finish(start(invocation), Kind::plain); }
int command_attach(Invocation& invocation) { return finish(attach(invocation), Kind::plain); }

}  // namespace dray::cli
