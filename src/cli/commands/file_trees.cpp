// SPDX-License-Identifier: Apache-2.0
// export and import.
#include <fcntl.h>

#include <dray/core/output_file.hpp>
#include <dray/engine/file_trees.hpp>
#include <dray/flags/flags.hpp>

#include "../command.hpp"
#include "../platform_flag.hpp"
#include "../progress.hpp"
#include "../terminal.hpp"

namespace dray::cli {
namespace {

Result<int> export_files(Invocation& invocation) {
  std::string output;
  std::vector<std::string> names;
  Flags flags("dray export", "[OPTIONS] CONTAINER", "Export a container's filesystem as a tar archive");
  flags.option("-o,--output", output, "Write to a file, instead of STDOUT");
  flags.operands(names, 1, 1);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  if (output.empty() && is_terminal(1))
    return fail(ErrorCode::invalid_argument, "cowardly refusing to save to a terminal. Use the -o flag or redirect");
  CancelToken& cancel = install_cancel_handlers();
  engine::Context context = TRY(open_engine(invocation));
  OutputFile file = output.empty() ? OutputFile::standard_output() : TRY(OutputFile::create(output, 0600));
  TRY(engine::export_container(context, names[0], file.sink(), cancel));
  TRY(file.commit());
  return 0;
}

Result<int> import_files(Invocation& invocation) {
  engine::ImportRequest request;
  std::string platform;
  std::vector<std::string> operands;
  Flags flags("dray import", "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
              "Import the contents from a tarball to create a filesystem image");
  flags.list("-c,--change", request.changes, "Apply Dockerfile instruction to the created image");
  flags.option("-m,--message", request.message, "Set commit message for imported image");
  flags.option("--platform", platform, "Set platform of the image (default: DOCKER_DEFAULT_PLATFORM, this host's)");
  flags.operands(operands, 1, 2);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  if (const auto wanted = TRY(parse_platform_or_default(platform))) request.platform = *wanted;
  request.source = operands[0];
  if (operands.size() > 1) request.reference = operands[1];
  CancelToken& cancel = install_cancel_handlers();
  engine::Context context = TRY(open_engine(invocation));
  auto progress = make_no_progress();
  if (request.source.starts_with("http://") || request.source.starts_with("https://")) {
    print(TRY(engine::import_url(context, request, *progress, cancel)).to_string() + "\n");
    return 0;
  }
  const auto tar =
      request.source == "-" ? make_fd_source(FdRef(0)) : make_fd_source(TRY(open_file(request.source, O_RDONLY)));
  print(TRY(engine::import_image(context, request, *tar, *progress, cancel)).to_string() + "\n");
  return 0;
}

}  // namespace

int command_export(Invocation& invocation) { return finish(export_files(invocation)); }
int command_import(Invocation& invocation) { return finish(import_files(invocation)); }

}  // namespace dray::cli
