// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>

#include <dray/engine/images.hpp>

#include <dray/flags/flags.hpp>
#include "../command.hpp"
#include "../progress.hpp"
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
  bool check = false;
  BuildRunFlags run_flags;
  OutputFlags output_flags;
  Flags flags(
      "dray build", "[OPTIONS] PATH | URL | -",
      "Build an image from a Dockerfile. With '-', a tar archive (or a bare Dockerfile) is read from standard input.");
  flags.list("--build-arg", build_args, "Set build-time variables");
  flags.option("--call", command.call, "Ask instead of building: check, outline or targets (,format=json)");
  flags.flag("--check", check, "Check the Dockerfile instead of building it (--call=check)");
  flags.flag("-D,--debug", command.debug, "Explain warnings, with the lines they are about");
  flags.list("--build-context", named_contexts,
             "Additional build contexts (NAME=DIRECTORY, docker-image://, git or http URL, target:STAGE)");
  flags.option("-f,--file", request.dockerfile, "Name of the Dockerfile (default: PATH/Dockerfile)");
  flags.option("--iidfile", command.iidfile, "Write the image ID to a file");
  flags.list("--label", labels, "Set metadata for an image");
  flags.option("--metadata-file", command.metadata_file, "Write the build's digests and names to a file, as JSON");
  flags.flag("--no-cache", request.no_cache, "Do not use cache when building the image");
  flags.option("--progress", command.progress, "Type of progress output (auto, plain, tty, rawjson, quiet)");
  flags.flag("--pull", request.always_pull, "Always attempt to pull all referenced images");
  flags.flag("-q,--quiet", command.quiet, "Suppress the build output and print image ID on success");
  flags.list("-t,--tag", request.tags, "Name and optionally a tag (format: \"name:tag\")");
  flags.option("--target", request.target, "Set the target build stage to build");
  flags.flag("--trust-host-ca", command.options.trust_host_ca,
             "Let RUN steps trust the host's certificate authorities (leaves no trace in the image)");
  run_flags.declare(flags);
  output_flags.declare(flags, request);
  flags.operands(contexts, 1, 1);
  if (TRY(flags.parse(arguments)) == Flags::Outcome::help_shown) {
    command.help_shown = true;
    return command;
  }
  if (check) command.call = "check";
  TRY(check_call(command.call));
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

Result<int> build(Invocation& invocation) {
  const BuildCommand command = TRY(parse_build_command(invocation.arguments));
  if (command.help_shown) return 0;
  CancelToken& cancel = install_cancel_handlers();
  if (!command.call.starts_with("build")) {
    engine::Context context = TRY(open_engine(invocation));
    return call_build(context, command, cancel);
  }
  auto progress = TRY(make_progress(command.quiet ? "quiet" : command.progress, {.expand_warnings = command.debug}));
  engine::Context context = TRY(open_engine(invocation));
  auto result = engine::build_image(context, command.request, command.options, *progress, cancel);
  progress.reset();
  if (!result) return Failure(std::move(result).error());
  const std::string id = result->image_id.to_string();
  if (!command.iidfile.empty()) TRY(write_file_atomically(command.iidfile, id, 0644, Durability::none));
  if (!command.metadata_file.empty())
    TRY(write_file_atomically(command.metadata_file, metadata_json(*result), 0644, Durability::none));
  if (command.quiet && !writes_to_stdout(command.request)) print(id + "\n");
  return 0;
}

}  // namespace

int command_build(Invocation& invocation) {
  auto result = build(invocation);
  return result ? *result : report(result.error());
}

}  // namespace dray::cli
