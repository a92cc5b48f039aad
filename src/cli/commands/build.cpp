// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>

#include <dray/core/output_file.hpp>
#include <dray/engine/images.hpp>

#include <dray/flags/flags.hpp>
#include "../command.hpp"
#include "../progress.hpp"
#include "../session.hpp"
#include "build_command.hpp"
#include "build_outputs.hpp"
#include "build_run_flags.hpp"

namespace dray::cli {
namespace {

constexpr std::size_t kMaxDockerfile = 16u << 20;  // as for a file

}  // namespace

Result<BuildCommand> parse_build_command(const std::vector<std::string>& arguments) {
  BuildCommand command;
  builder::BuildRequest& request = command.request;
  std::vector<std::string> build_args, labels, contexts, named_contexts;
  std::string shell_at, call = "build";
  bool check = false;
  BuildRunFlags run_flags;
  OutputFlags output_flags;
  Flags flags(
      "dray build", "[OPTIONS] PATH | URL | -",
      "Build an image from a Dockerfile. With '-', a tar archive (or a bare Dockerfile) is read from standard input.");
  flags.list("--build-arg", build_args, "Set build-time variables");
  flags.option("--call", call, "Ask instead of building: check, outline or targets (,format=json)");
  flags.flag("--check", check, "Check the Dockerfile instead of building it (--call=check)");
  flags.flag("-D,--debug", command.debug, "Explain warnings, with the lines they are about");
  flags.list(
      "--build-context", named_contexts,
      "Additional build contexts (NAME=DIRECTORY, docker-image://, oci-layout://, git or http URL, target:STAGE)");
  flags.option("-f,--file", request.dockerfile, "Name of the Dockerfile (default: PATH/Dockerfile)");
  flags.option("--iidfile", command.iidfile, "Write the image ID to a file");
  flags.list("--label", labels, "Set metadata for an image");
  flags.option("--metadata-file", command.metadata_file, "Write the build's digests and names to a file, as JSON");
  flags.flag("--no-cache", request.no_cache, "Do not use cache when building the image");
  flags.option("--progress", command.progress, "Type of progress output (auto, plain, tty, rawjson, quiet)");
  flags.flag("--pull", request.always_pull, "Always attempt to pull all referenced images");
  flags.flag("-q,--quiet", command.quiet, "Suppress the build output and print image ID on success");
  flags.list("-t,--tag", request.tags, "Name and optionally a tag (format: \"name:tag\")");
  flags.option("--shell-at", shell_at,
               "Open a shell instead of the RUN that begins at this line, with its mounts, environment and user");
  flags.flag("--shell-on-failure", request.shell_on_failure,
             "Open a shell in the step when a RUN fails, with its mounts, environment and user");
  flags.option("--target", request.target, "Set the target build stage to build");
  flags.flag("--trust-host-ca", command.options.trust_host_ca,
             "Let RUN steps trust the host's certificate authorities (leaves no trace in the image)");
  flags.flag("--verify-reproducible", request.verify_reproducible,
             "Build again without cache; fail if a step makes something else, and say in which file");
  run_flags.declare(flags);
  output_flags.declare(flags, request);
  flags.operands(contexts, 1, 1);
  if (TRY(flags.parse(arguments)) == Flags::Outcome::help_shown) {
    command.help_shown = true;
    return command;
  }
  if (!shell_at.empty()) {
    const auto [end, error] = std::from_chars(shell_at.data(), shell_at.data() + shell_at.size(), request.shell_at);
    if (error != std::errc() || end != shell_at.data() + shell_at.size() || request.shell_at < 1)
      return fail(ErrorCode::invalid_argument, "invalid --shell-at \"" + shell_at + "\": a line of the Dockerfile");
  }
  command.call = TRY(parse_call(check ? "check" : call));
  TRY(run_flags.apply(request));
  for (const auto& text : build_args) {
    std::size_t equals = text.find('=');
    std::string name = text.substr(0, equals);
    if (name.empty())
      return fail(ErrorCode::invalid_argument, "invalid --build-arg \"" + text + "\": expected NAME=VALUE or NAME");
    if (equals != std::string::npos) {
      request.build_args.emplace_back(name, text.substr(equals + 1));
    } else if (const char* value = std::getenv(name.c_str())) {
      request.build_args.emplace_back(name, value);  // as docker: a bare name takes our environment's value, or none
    }
  }
  for (const auto& text : named_contexts) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0)
      return fail(ErrorCode::invalid_argument, "invalid --build-context \"" + text + "\": expected NAME=VALUE");
    request.named_contexts.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  for (const auto& label : labels) {
    std::size_t equals = label.find('=');
    request.labels[label.substr(0, equals)] = equals == std::string::npos ? "" : label.substr(equals + 1);
  }
  TRY(output_flags.apply(request));
  if (request.dockerfile == "-") {
    if (contexts[0] == "-")
      return fail(ErrorCode::invalid_argument,
                  "invalid argument: can't use stdin for both build context and Dockerfile");
    request.dockerfile_text = TRY_CTX(read_all(FdRef(0), kMaxDockerfile), "reading the Dockerfile from standard input");
    request.dockerfile.clear();
  }
  if (contexts[0] == "-") {
    request.context_tar = FdRef(0);
  } else {
    // "github.com/x/y" may be a directory here; "git@host:path" may not.
    const bool is_url = contexts[0].find("://") != std::string::npos || contexts[0].starts_with("git@") ||
                        (contexts[0].starts_with("github.com/") && ::access(contexts[0].c_str(), F_OK) != 0);
    (is_url ? request.context_url : request.context_directory) = contexts[0];
  }
  return command;
}

namespace {

bool wants_shell(const builder::BuildRequest& request) { return request.shell_on_failure || request.shell_at > 0; }

/// The user at a shell in a step. Signals are the session's while it lasts.
Result<int> attend_shell(engine::Exec shell, bool terminal) {
  sigset_t before;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &before);
  block_session_signals();
  SessionOptions session;
  session.terminal = terminal;
  session.forward_stdin = true;
  const FileDescriptor target = TRY(shell.pidfd.duplicate());
  session.deliver_signal = [&target](int number) {
    ::syscall(SYS_pidfd_send_signal, target.get(), number, nullptr, 0);
  };
  auto end = run_exec_session(std::move(shell), session);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return end;
}

void prepare_shell(BuildCommand& command) {
  // A view that is redrawn and a shell cannot share a terminal.
  if (command.progress.empty() || command.progress == "auto" || command.progress == "tty") command.progress = "plain";
  engine::BuildOptions& options = command.options;
  options.terminal = is_terminal(0) && is_terminal(1);
  const TerminalSize size = terminal_size(0);
  options.rows = size.rows;
  options.columns = size.columns;
  options.session = [terminal = options.terminal](engine::Exec shell) {
    return attend_shell(std::move(shell), terminal);
  };
}

Result<int> build(Invocation& invocation) {
  BuildCommand command = TRY(parse_build_command(invocation.arguments));
  if (command.help_shown) return 0;
  if (wants_shell(command.request)) prepare_shell(command);
  CancelToken& cancel = install_cancel_handlers();
  if (!command.call.is_build()) {
    engine::Context context = TRY(open_engine(invocation));
    auto progress = TRY(make_progress(command.quiet ? "quiet" : command.progress));
    auto answer = answer_call(context, command, *progress, cancel);
    progress.reset();
    if (!answer) return Failure(std::move(answer).error());
    print(*answer);
    return answer->exit_code;
  }
  auto progress = TRY(make_progress(command.quiet ? "quiet" : command.progress, {.expand_warnings = command.debug}));
  engine::Context context = TRY(open_engine(invocation));
  auto result = engine::build_image(context, command.request, command.options, *progress, cancel);
  progress.reset();
  if (!result) return Failure(std::move(result).error());
  const std::string id = result->image_id.to_string();
  if (!command.iidfile.empty()) TRY(write_output_file(command.iidfile, id));
  if (!command.metadata_file.empty()) TRY(write_output_file(command.metadata_file, metadata_json(*result)));
  if (command.quiet && !writes_to_stdout(command.request)) print(id + "\n");
  return 0;
}

}  // namespace

int command_build(Invocation& invocation) {
  auto result = build(invocation);
  return result ? *result : report(result.error());
}

}  // namespace dray::cli
