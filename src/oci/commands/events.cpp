// SPDX-License-Identifier: Apache-2.0
#include <poll.h>

#include <cerrno>
#include <charconv>
#include <chrono>

#include "../command.hpp"
#include "../events_json.hpp"

namespace dray::oci {
namespace {

// Go's durations: "100ms", "5s", "1m30s".
Result<std::chrono::milliseconds> parse_duration(const std::string& text) {
  const Error wrong(ErrorCode::invalid_argument, "invalid duration \"" + text + "\" for --interval");
  double total = 0;
  std::size_t at = 0;
  while (at < text.size()) {
    double number = 0;
    auto [end, error] = std::from_chars(text.data() + at, text.data() + text.size(), number);
    if (error != std::errc() || number < 0) return Failure(wrong);
    at = static_cast<std::size_t>(end - text.data());
    std::size_t unit_end = at;
    while (unit_end < text.size() && (text[unit_end] < '0' || text[unit_end] > '9') && text[unit_end] != '.')
      ++unit_end;
    const std::string unit = text.substr(at, unit_end - at);
    const double factor = unit == "ns"   ? 1e-6
                          : unit == "us" ? 1e-3
                          : unit == "ms" ? 1
                          : unit == "s"  ? 1e3
                          : unit == "m"  ? 6e4
                          : unit == "h"  ? 3.6e6
                                         : 0;
    if (factor == 0) return Failure(wrong);
    total += number * factor;
    at = unit_end;
  }
  if (total <= 0 || total > 1e12) return fail(ErrorCode::invalid_argument, "duration interval must be greater than 0");
  return std::chrono::milliseconds(std::max<long long>(1, static_cast<long long>(total)));
}

Result<void> print_stats(const ContainerState& state) {
  const runtime::CgroupStats stats = TRY(runtime::read_cgroup_stats(state.cgroups_path));
  std::optional<runtime::RdtStats> rdt;
  if (state.rdt_group) rdt = TRY(runtime::read_rdt_stats(TRY(runtime::find_resctrl()), *state.rdt_group));
  return print(describe_stats(state.id, stats, rdt));
}

}  // namespace

Result<int> command_events(Invocation& invocation) {
  bool once = false;
  std::string interval_text = "5s";
  std::vector<std::string> operands;
  Flags flags = make_flags(invocation, "events", "[command options] <container-id>",
                           "display container events such as OOM notifications, cpu, memory, and IO usage "
                           "statistics\n\nBy default the information is displayed once every 5 seconds.\n");
  flags.option("--interval", interval_text, "set the stats collection interval (default: 5s)");
  flags.flag("--stats", once, "display the container's stats then exit");
  flags.operands(operands, 1, 1);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  const auto interval = TRY(parse_duration(interval_text));
  const Container container = TRY(find_container(invocation.settings.root, operands.front()));
  if (container.status == Status::stopped)
    return fail(ErrorCode::invalid_argument, "container with id " + container.state.id + " is not running");
  if (once) {
    TRY(print_stats(container.state));
    return 0;
  }
  FileDescriptor process = open_process(container.state);
  auto oom = runtime::OomEvents::open(container.state.cgroups_path);
  using Clock = std::chrono::steady_clock;
  auto next = Clock::now() + interval;
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(next - Clock::now()).count();
    struct pollfd waiting[2] = {{process.get(), POLLIN, 0}, {oom ? oom->fd().get() : -1, POLLIN, 0}};
    const int count = ::poll(waiting, 2, static_cast<int>(std::max<long long>(left, 0)));
    if (count < 0 && errno != EINTR) return fail_errno("waiting for events");
    if (count > 0 && waiting[1].revents != 0) {
      const auto news = TRY(oom->take());
      if (news.oom) TRY(print(describe_oom(container.state.id)));
      if (news.gone) return 0;
    }
    if (count > 0 && waiting[0].revents != 0) return 0;
    if (Clock::now() < next) continue;
    next += interval;
    auto printed = print_stats(container.state);
    if (!printed && printed.error().code() == ErrorCode::not_found) return 0;
    TRY(std::move(printed));
  }
}

}  // namespace dray::oci
