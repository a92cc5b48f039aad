// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <dray/engine/containers.hpp>

#include "../command.hpp"
#include <dray/flags/flags.hpp>
#include "../session.hpp"
#include "container_flags.hpp"

namespace dray::cli {
namespace {

Result<int> exec(Invocation& invocation) {
  engine::ExecOptions options;
  std::vector<std::string> words, env_files;
  std::string detach_keys = "ctrl-p,ctrl-q";
  Flags flags("dray exec", "[OPTIONS] CONTAINER COMMAND [ARG...]", "Execute a command in a running container");
  flags.flag("-d,--detach", options.detach, "Detached mode: run command in the background");
  flags.option("--detach-keys", detach_keys, "Override the key sequence for detaching a container");
  flags.list("-e,--env", options.env, "Set environment variables");
  flags.list("--env-file", env_files, "Read in a file of environment variables");
  flags.flag("-i,--interactive", options.open_stdin, "Keep STDIN open even if not attached");
  flags.flag("--privileged", options.privileged, "Give extended privileges to the command");
  flags.flag("-t,--tty", options.terminal, "Allocate a pseudo-TTY");
  flags.option("-u,--user", options.user, "Username or UID (format: \"<name|uid>[:<group|gid>]\")");
  flags.option("-w,--workdir", options.working_dir, "Working directory inside the container");
  flags.trailing(words, 2);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  if (options.terminal && options.open_stdin && !options.detach && !is_terminal(0))
    return fail(ErrorCode::invalid_argument,
                "the input device is not a TTY (leave out -t when standard input is a pipe or file)");
  for (const auto& path : env_files) {
    auto lines = TRY(read_list_file(path));
    options.env.insert(options.env.begin(), lines.begin(), lines.end());
  }
  options.command.assign(words.begin() + 1, words.end());
  TerminalSize size = terminal_size(is_terminal(0) ? 0 : 1);
  options.rows = size.rows;
  options.columns = size.columns;
  SessionOptions session;
  session.detach_keys = TRY(DetachKeys::parse(detach_keys));
  engine::Context context = TRY(open_engine(invocation));
  if (!options.detach) block_session_signals();
  engine::Exec process = TRY(engine::exec_in_container(context, words[0], options));
  if (options.detach) return 0;
  session.terminal = options.terminal;
  session.forward_stdin = options.open_stdin;
  FileDescriptor target = TRY(process.pidfd.duplicate());
  session.deliver_signal = [&target](int number) {
    ::syscall(SYS_pidfd_send_signal, target.get(), number, nullptr, 0);
  };
  return run_exec_session(std::move(process), session);
}

}  // namespace

int command_exec(Invocation& invocation) {
  auto result = exec(invocation);
  if (result) return *result;
  int code = report(result.error(), Kind::runs_container);
  // docker exec: 1 for what docker itself refuses (no such container, not running), 126/127 for the command.
  bool of_engine = result.error().code() == ErrorCode::not_found || result.error().code() == ErrorCode::in_use;
  return of_engine ? 1 : code;
}

}  // namespace dray::cli
