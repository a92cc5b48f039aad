// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <ctime>

#include <dray/core/process.hpp>
#include <dray/engine/containers.hpp>

#include <dray/flags/flags.hpp>
#include "../command.hpp"
#include "../moment.hpp"

namespace dray::cli {
namespace {

Result<int> logs(Invocation& invocation) {
  engine::LogOptions options;
  std::string tail = "all";
  std::optional<std::string> since, until;
  std::vector<std::string> names;
  Flags flags("dray logs", "[OPTIONS] CONTAINER", "Fetch the logs of a container");
  flags.flag("-f,--follow", options.follow, "Follow log output");
  flags.option("--since", since, "Show logs since timestamp (2013-01-02T13:23:37Z) or relative (42m)");
  flags.option("-n,--tail", tail, "Number of lines to show from the end of the logs");
  flags.flag("-t,--timestamps", options.timestamps, "Show timestamps");
  flags.option("--until", until, "Show logs before a timestamp or relative (42m)");
  flags.operands(names, 1, 1);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  if (tail != "all") {
    auto [end, error] = std::from_chars(tail.data(), tail.data() + tail.size(), options.tail);
    // Docker takes a negative or unreadable number for "all"; a word that is no number is more likely a typo.
    if (error != std::errc() || end != tail.data() + tail.size())
      return fail(ErrorCode::invalid_argument, "invalid value for --tail: \"" + tail + "\"");
  }
  if (since) options.since = TRY(parse_moment(*since));
  if (until) options.until = TRY(parse_moment(*until));
  CancelToken& cancel = install_cancel_handlers();
  engine::Context context = TRY(open_engine(invocation));
  auto info = TRY(engine::find_container(context, names[0]));
  bool one_stream = info.options.terminal;
  auto result = engine::read_logs(
      context, names[0], options,
      [&](std::string_view text, bool is_stderr, std::string_view time) {
        std::string line = options.timestamps ? std::string(time) + " " : "";
        line += text;
        auto written = write_all(FdRef(is_stderr && !one_stream ? 2 : 1), line);
        if (written) return;
        // A reader that has gone (dray logs -f | head) gets no more; without it this would go on for ever.
        if (written.error().error_number() != EPIPE) report(written.error());
        ::_exit(1);
      },
      cancel);
  if (!result && result.error().code() == ErrorCode::cancelled) return 130;
  TRY(std::move(result));
  return 0;
}

}  // namespace

int command_logs(Invocation& invocation) {
  auto result = logs(invocation);
  return result ? *result : report(result.error());
}

}  // namespace dray::cli
