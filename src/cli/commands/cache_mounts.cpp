// SPDX-License-Identifier: Apache-2.0
// builder cache-mount ls, rm, export, import: the stores behind RUN --mount=type=cache.
#include <fcntl.h>
#include <unistd.h>

#include <charconv>

#include <dray/builder/cache_mounts.hpp>
#include <dray/flags/flags.hpp>

#include "../command.hpp"
#include "../table.hpp"

namespace dray::cli {
namespace {

constexpr std::size_t kIdLength = 25;

Result<int> list(Invocation& invocation) {
  bool quiet = false;
  std::string format;
  std::vector<std::string> operands;
  Flags flags("dray builder cache-mount ls", "[OPTIONS]", "List cache mounts");
  flags.option("--format", format, "Format output: table, 'table TEMPLATE', json, or a Go template");
  flags.flag("-q,--quiet", quiet, "Only display IDs");
  flags.operands(operands, 0, 0);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  engine::Context context = TRY(open_engine(invocation));
  std::vector<TableRow> rows;
  for (const auto& info : TRY(builder::list_cache_mounts(context.store->root()))) {
    const std::string id = info.directory.substr(0, kIdLength);
    if (quiet) print(id + "\n");
    rows.push_back({{{"ID", id},
                     {"Name", info.id},
                     {"Size", human_size(info.size)},
                     {"LastUsedAt", human_age(info.last_used_at)},
                     {"CreatedAt", info.created_at},
                     {"InUse", info.in_use ? "true" : "false"}}});
  }
  if (quiet) return 0;
  print(TRY(
      render_table({{"ID", "ID"}, {"Name", "NAME"}, {"Size", "SIZE"}, {"LastUsedAt", "LAST ACCESSED"}}, rows, format)));
  return 0;
}

Result<int> remove(Invocation& invocation) {
  std::vector<std::string> names;
  Flags flags("dray builder cache-mount rm", "NAME|ID [NAME|ID...]", "Remove cache mounts");
  flags.operands(names, 1, kAnyNumber);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  engine::Context context = TRY(open_engine(invocation));
  int code = 0;
  for (const std::string& name : names) {
    auto removed = [&]() -> Result<void> {
      const builder::CacheMountInfo info = TRY(builder::find_cache_mount(context.store->root(), name));
      return builder::remove_cache_mount(context.store->root(), info.directory);
    }();
    if (removed)
      print(printable(name) + "\n");
    else
      code = report(removed.error());
  }
  return code;
}

Result<int> save(Invocation& invocation) {
  std::string file;
  std::vector<std::string> names;
  Flags flags("dray builder cache-mount export", "[OPTIONS] NAME|ID",
              "Write the files of a cache mount as a tar archive");
  flags.option("-o,--output", file, "Write to a file, instead of STDOUT");
  flags.operands(names, 1, 1);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  if (file.empty() && ::isatty(1) == 1)
    return fail(ErrorCode::invalid_argument, "an archive is not written to a terminal: use -o or redirect");
  CancelToken& cancel = install_cancel_handlers();
  engine::Context context = TRY(open_engine(invocation));
  const builder::CacheMountInfo info = TRY(builder::find_cache_mount(context.store->root(), names[0]));
  if (file.empty()) {
    const auto sink = make_fd_sink(FdRef(1));
    TRY(builder::export_cache_mount(context.store->root(), info, *sink, cancel));
    TRY(sink->finish());
    return 0;
  }
  const std::string unfinished = file + ".part-" + random_hex(4);
  FileDescriptor out = TRY(open_file(unfinished, O_WRONLY | O_CREAT | O_EXCL, 0644));
  auto written = [&]() -> Result<void> {
    const auto sink = make_fd_sink(FdRef(out));
    TRY(builder::export_cache_mount(context.store->root(), info, *sink, cancel));
    TRY(sink->finish());
    TRY(out.close_checked());
    if (::rename(unfinished.c_str(), file.c_str()) != 0) return fail_errno("writing \"" + file + "\"");
    return {};
  }();
  if (!written) (void)::unlink(unfinished.c_str());
  TRY(std::move(written));
  return 0;
}

Result<std::uint32_t> number(const std::string& flag, const std::string& text, int base) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size())
    return fail(ErrorCode::invalid_argument, "invalid value for " + flag + ": \"" + text + "\"");
  return value;
}

Result<int> load(Invocation& invocation) {
  std::string file, mode = "755", uid = "0", gid = "0";
  std::vector<std::string> names;
  Flags flags("dray builder cache-mount import", "[OPTIONS] NAME",
              "Replace the files of a cache mount by those of a tar archive; NAME is its id (default: its target)");
  flags.option("--gid", gid, "As in the Dockerfile's mount");
  flags.option("-i,--input", file, "Read from a file, instead of STDIN");
  flags.option("--mode", mode, "As in the Dockerfile's mount");
  flags.option("--uid", uid, "As in the Dockerfile's mount");
  flags.operands(names, 1, 1);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  CancelToken& cancel = install_cancel_handlers();
  FileDescriptor opened;
  if (!file.empty()) opened = TRY(open_file(file, O_RDONLY));
  builder::CacheMountWish wish;
  wish.id = names[0];
  wish.mode = TRY(number("--mode", mode, 8));
  wish.uid = TRY(number("--uid", uid, 10));
  wish.gid = TRY(number("--gid", gid, 10));
  engine::Context context = TRY(open_engine(invocation));
  const auto source = make_fd_source(file.empty() ? FdRef(0) : FdRef(opened));
  TRY(builder::import_cache_mount(context.store->root(), wish, *source, cancel));
  return 0;
}

}  // namespace

int command_cache_mount(Invocation& invocation) {
  const std::string verb = invocation.arguments.empty() ? "" : invocation.arguments.front();
  if (!invocation.arguments.empty()) invocation.arguments.erase(invocation.arguments.begin());
  Result<int> result = 1;
  if (verb == "ls" || verb == "list") {
    result = list(invocation);
  } else if (verb == "rm") {
    result = remove(invocation);
  } else if (verb == "export") {
    result = save(invocation);
  } else if (verb == "import") {
    result = load(invocation);
  } else {
    const bool asked = verb.empty() || verb == "--help";
    const std::string usage =
        "\nUsage:  dray builder cache-mount COMMAND\n\nCommands:\n  export\n  import\n  ls\n  rm\n";
    asked ? print(usage)
          : print_error("dray: unknown command: dray builder cache-mount " + printable(verb) + "\n" + usage);
    return asked ? 0 : 1;
  }
  return result ? *result : report(result.error());
}

}  // namespace dray::cli
