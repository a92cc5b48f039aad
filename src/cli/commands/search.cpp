// SPDX-License-Identifier: Apache-2.0
// search: Docker's flags and columns, over what the registry found.
#include <charconv>

#include <dray/engine/remote.hpp>

#include <dray/flags/flags.hpp>
#include "../command.hpp"
#include "../table.hpp"

namespace dray::cli {
namespace {

constexpr std::size_t kShownDescription = 45;

struct Filters {
  std::optional<bool> official;
  std::uint64_t stars = 0;
};

Result<Filters> parse_filters(const std::vector<std::string>& texts) {
  Filters filters;
  for (const std::string& text : texts) {
    const std::size_t equals = std::min(text.find('='), text.size());
    const std::string key = text.substr(0, equals), value = text.substr(std::min(equals + 1, text.size()));
    if (key == "is-official") {
      filters.official = TRY(parse_filter_flag(key, value));
    } else if (key == "stars") {
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), filters.stars);
      if (value.empty() || error != std::errc() || end != value.data() + value.size())
        return fail(ErrorCode::invalid_argument, "invalid filter 'stars=" + value + "': a number");
    } else {
      return fail(ErrorCode::invalid_argument, "invalid filter '" + key + "' (there are: is-official, stars)");
    }
  }
  return filters;
}

/// One line of at most so many characters (not bytes), the last one "…".
std::string shortened(const std::string& text, std::size_t limit) {
  std::size_t characters = 0, cut = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xc0) == 0x80) continue;
    if (++characters == limit) cut = i;
  }
  return characters <= limit ? text : text.substr(0, cut) + "…";
}

Result<int> search(Invocation& invocation) {
  std::string format;
  std::optional<int> limit;
  bool no_trunc = false;
  std::vector<std::string> texts, operands;
  Flags flags("dray search", "[OPTIONS] TERM",
              "Search Docker Hub for images, or with HOST/TERM another registry (where it has no search: its catalog)");
  flags.list("-f,--filter", texts, "Filter output: is-official=true|false, stars=NUMBER", "filter");
  flags.option("--format", format, "Format output: table, 'table TEMPLATE', json, or a Go template");
  flags.option("--limit", limit, "Max number of search results (1 to 100, default 25)");
  flags.flag("--no-trunc", no_trunc, "Don't truncate output");
  flags.operands(operands, 1, 1);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  const Filters filters = TRY(parse_filters(texts));
  const int most = limit.value_or(25);
  if (most < 1 || most > 100)
    return fail(ErrorCode::invalid_argument, "limit " + std::to_string(most) + " is outside the range of [1, 100]");
  CancelToken& cancel = install_cancel_handlers();
  engine::Context context = TRY(open_engine(invocation));
  std::vector<TableRow> rows;
  for (const auto& result :
       TRY(engine::search_registry(context, operands[0], static_cast<std::size_t>(most), cancel))) {
    if (result.stars < filters.stars || (filters.official && *filters.official != result.is_official)) continue;
    rows.push_back({{{"Name", result.name},
                     {"Description", no_trunc ? result.description : shortened(result.description, kShownDescription)},
                     {"StarCount", std::to_string(result.stars)},
                     {"IsOfficial", result.is_official ? "[OK]" : ""}}});
  }
  print(TRY(render_table(
      {{"Name", "NAME"}, {"Description", "DESCRIPTION"}, {"StarCount", "STARS"}, {"IsOfficial", "OFFICIAL"}}, rows,
      format)));
  return 0;
}

}  // namespace

int command_search(Invocation& invocation) {
  auto result = search(invocation);
  return result ? *result : report(result.error());
}

}  // namespace dray::cli
