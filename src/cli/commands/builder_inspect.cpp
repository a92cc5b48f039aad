// SPDX-License-Identifier: Apache-2.0
// builder ast and builder plan: what a Dockerfile says, and what a build of it would do. Nothing is run or written.
#include <sys/stat.h>

#include <cstdlib>

#include <dray/builder/inspect.hpp>
#include <dray/core/fd.hpp>
#include <dray/core/rooted_path.hpp>
#include <dray/engine/images.hpp>
#include <dray/flags/flags.hpp>

#include "../command.hpp"
#include "../platform_flag.hpp"
#include "../terminal.hpp"

namespace dray::cli {
namespace {

constexpr std::size_t kMaxDockerfile = 16u << 20;

Result<std::string> read_dockerfile(const std::string& path) {
  if (path == "-") return TRY_CTX(read_all(FdRef(0), kMaxDockerfile), "reading the Dockerfile from standard input");
  return read_file(path, kMaxDockerfile);
}

std::string file_name(const std::string& path) { return path == "-" ? "Dockerfile" : split_path(path).second; }

int report_with_excerpt(const Error& error, const std::string& text, const std::string& file) {
  const int code = report(error);
  print_error(printable(builder::dockerfile_excerpt(text, error, file)));
  return code;
}

Result<int> ast(Invocation& invocation) {
  std::vector<std::string> operands;
  Flags flags("dray builder ast", "FILE | -",
              "Show how a Dockerfile is read: one instruction per line, split and joined");
  flags.operands(operands, 1, 1);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  const std::string text = TRY(read_dockerfile(operands[0]));
  const auto tree = builder::dockerfile_ast(text, file_name(operands[0]));
  if (!tree) return report_with_excerpt(tree.error(), text, file_name(operands[0]));
  print(*tree);
  return 0;
}

Result<int> plan(Invocation& invocation) {
  builder::InspectRequest request;
  std::vector<std::string> operands, build_args;
  std::string platform;
  Flags flags("dray builder plan", "[OPTIONS] FILE [CONTEXT]",
              "Show as JSON what a build would do: stages, warnings, the image's config and history, operations");
  flags.list("--build-arg", build_args, "Set build-time variables");
  flags.option("--platform", platform, "Set target platform for build");
  flags.flag("--stub-bases", request.stub_bases,
             "Take an empty image with PATH and CMD /bin/sh for every base image, instead of the images here");
  flags.option("--target", request.target, "Set the target build stage to build");
  flags.operands(operands, 1, 2);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  for (const std::string& argument : build_args) {
    const std::size_t equals = argument.find('=');
    const std::string name = argument.substr(0, equals);
    if (name.empty())
      return fail(ErrorCode::invalid_argument, "invalid --build-arg \"" + argument + "\": expected NAME=VALUE or NAME");
    if (equals != std::string::npos)
      request.build_args.emplace_back(name, argument.substr(equals + 1));
    else if (const char* value = std::getenv(name.c_str()))
      request.build_args.emplace_back(name, value);
  }
  if (const auto wanted = TRY(parse_platform_or_default(platform))) request.platform = *wanted;
  struct stat status{};
  if (operands.size() == 2 && (::stat(operands[1].c_str(), &status) != 0 || !S_ISDIR(status.st_mode)))
    return fail(ErrorCode::invalid_argument, "the context \"" + operands[1] + "\" is not a directory");
  request.text = TRY(read_dockerfile(operands[0]));
  request.file = file_name(operands[0]);
  if (operands.size() == 2) {
    for (const std::string& path : {operands[0] + ".dockerignore", operands[1] + "/.dockerignore"}) {
      auto patterns = read_file(path, kMaxDockerfile);
      if (!patterns) continue;
      request.dockerignore = std::move(*patterns);
      break;
    }
  }

  std::optional<engine::Context> engine;
  const auto resolve = [&](const Reference& reference, const image::Platform& wanted) -> Result<image::ImageConfig> {
    if (!engine) {
      engine::Context opened = TRY(open_engine(invocation));
      engine.emplace(std::move(opened));
    }
    const auto record = TRY(engine->store->find_image(reference));
    if (record) {
      store::LoadedImage image = TRY(engine->store->load_image(*record));
      if (image.config.platform.matches(wanted)) return std::move(image.config);
    }
    Error error(ErrorCode::not_found, "No such image: " + reference.familiar());
    return Failure(std::move(error).with_hint("pull it first, or use --stub-bases"));
  };
  const builder::Inspection inspection = builder::inspect_dockerfile(request, resolve);
  print(inspection.json);
  return inspection.error ? report_with_excerpt(*inspection.error, request.text, request.file) : 0;
}

}  // namespace

int command_builder_ast(Invocation& invocation) {
  auto result = ast(invocation);
  return result ? *result : report(result.error());
}

int command_builder_plan(Invocation& invocation) {
  auto result = plan(invocation);
  return result ? *result : report(result.error());
}

}  // namespace dray::cli
