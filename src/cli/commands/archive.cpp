// SPDX-License-Identifier: Apache-2.0
// save and load.
#include <fcntl.h>

#include <dray/core/output_file.hpp>
#include <dray/core/text.hpp>
#include <dray/engine/images.hpp>
#include <dray/store/store.hpp>

#include <dray/flags/flags.hpp>
#include "../command.hpp"
#include "../platform_flag.hpp"
#include "../progress.hpp"
#include "../terminal.hpp"

namespace dray::cli {
namespace {

Result<int> save(Invocation& invocation) {
  std::string output;
  std::vector<std::string> names, platforms;
  Flags flags("dray save", "[OPTIONS] IMAGE [IMAGE...]",
              "Save one or more images to a tar archive (streamed to STDOUT by default)");
  flags.option("-o,--output", output, "Write to a file, instead of STDOUT");
  flags.list("--platform", platforms, "Save only these platforms' images (linux/arm64,...), if a name has several");
  flags.operands(names, 1, kAnyNumber);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  if (output.empty() && is_terminal(1))
    return fail(ErrorCode::invalid_argument, "cowardly refusing to save to a terminal. Use the -o flag or redirect");
  const std::vector<image::Platform> wanted = TRY(parse_platforms(platforms));
  CancelToken& cancel = install_cancel_handlers();
  engine::Context context = TRY(open_engine(invocation));
  OutputFile file = output.empty() ? OutputFile::standard_output() : TRY(OutputFile::create(output, 0600));
  TRY(store::save_archive(*context.store, names, wanted, file.sink(), cancel));
  TRY(file.commit());
  return 0;
}

Result<int> load(Invocation& invocation) {
  std::string input;
  bool quiet = false;
  std::vector<std::string> operands, platforms;
  Flags flags("dray load", "[OPTIONS]", "Load an image from a tar archive or STDIN");
  flags.option("-i,--input", input, "Read from tar archive file, instead of STDIN");
  flags.flag("-q,--quiet", quiet, "Suppress the load output");
  flags.list("--platform", platforms, "Load only these platforms' images (linux/arm64,...), if a name has several");
  flags.operands(operands, 0, 0);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  if (input.empty() && is_terminal(0))
    return fail(ErrorCode::invalid_argument,
                "requested load from stdin, but stdin is empty. Use the -i flag or redirect");
  const std::vector<image::Platform> wanted = TRY(parse_platforms(platforms));
  CancelToken& cancel = install_cancel_handlers();
  engine::Context context = TRY(open_engine(invocation));
  auto progress = quiet ? make_no_progress() : make_transfer_progress(2, is_terminal(2));
  std::unique_ptr<ByteSource> source =
      input.empty() ? make_fd_source(FdRef(0)) : make_fd_source(TRY(open_file(input, O_RDONLY)));
  for (const auto& line : TRY(store::load_archive(*context.store, *source, wanted, *progress, cancel)))
    print(printable(line) + "\n");
  return 0;
}

}  // namespace

int command_save(Invocation& invocation) { return finish(save(invocation)); }
int command_load(Invocation& invocation) { return finish(load(invocation)); }

}  // namespace dray::cli
