// SPDX-License-Identifier: Apache-2.0
// builder du and builder prune, with buildx's columns.
#include <algorithm>
#include <cstdio>
#include <ctime>

#include <dray/engine/images.hpp>
#include <dray/flags/flags.hpp>

#include "../command.hpp"
#include "../moment.hpp"
#include "../table.hpp"

namespace dray::cli {
namespace {

using builder::CacheEntry;

/// Takes "until=…" and "unused-for=…" out of the filters.
Result<void> apply_filters(const std::vector<std::string>& texts, builder::CachePolicy& policy) {
  for (const std::string& text : texts) {
    const std::size_t equals = text.find('=');
    const std::string key = text.substr(0, equals);
    if ((key == "until" || key == "unused-for") && equals != std::string::npos)
      policy.unused_for = ::time(nullptr) - TRY(parse_moment(text.substr(equals + 1)));
    else
      policy.filters.push_back(text);
  }
  return builder::check_cache_filters(policy.filters);
}

bool reclaimable(const CacheEntry& entry) { return !entry.in_use && !entry.is_shared; }

std::vector<TableRow> rows_of(const std::vector<CacheEntry>& entries) {
  std::vector<TableRow> rows;
  for (const CacheEntry& entry : entries)
    rows.push_back({{{"ID", entry.id + (entry.type == CacheEntry::Type::cache_mount ? "*" : "")},
                     {"Reclaimable", reclaimable(entry) ? "true" : "false"},
                     {"Size", human_size(entry.size)},
                     {"LastUsedAt", entry.last_used_at.empty() ? "" : human_age(entry.last_used_at)},
                     {"Type", type_name(entry.type)},
                     {"Description", entry.description},
                     {"UsageCount", entry.uses > 0 ? std::to_string(entry.uses) : ""},
                     {"CreatedAt", entry.created_at},
                     {"Shared", entry.is_shared ? "true" : "false"},
                     {"Mutable", entry.type == CacheEntry::Type::cache_mount ? "true" : "false"},
                     {"InUse", entry.in_use ? "true" : "false"}}});
  return rows;
}

const std::vector<TableColumn> kColumns = {
    {"ID", "ID"}, {"Reclaimable", "RECLAIMABLE"}, {"Size", "SIZE"}, {"LastUsedAt", "LAST ACCESSED"}};

void print_entry(const CacheEntry& entry) {
  const auto line = [](const char* name, const std::string& value) {
    std::string label = std::string(name) + ":";
    label.resize(std::max<std::size_t>(label.size() + 1, 16), ' ');
    print(label + printable(value) + "\n");
  };
  line("ID", entry.id);
  line("Created at", entry.created_at);
  line("Mutable", entry.type == CacheEntry::Type::cache_mount ? "true" : "false");
  line("Reclaimable", reclaimable(entry) ? "true" : "false");
  line("Shared", entry.is_shared ? "true" : "false");
  line("Size", human_size(entry.size));
  line("Description", entry.description);
  if (entry.uses > 0) line("Usage count", std::to_string(entry.uses));
  line("Last used", entry.last_used_at.empty() ? "" : human_age(entry.last_used_at));
  line("Type", type_name(entry.type));
  print("\n");
}

Result<int> disk_usage(Invocation& invocation) {
  bool verbose = false;
  std::vector<std::string> filters, operands;
  std::string format;
  Flags flags("dray builder du", "[OPTIONS]", "Disk usage of the build cache. A star marks cache mounts.");
  flags.list("--filter", filters, "Provide filter values", "filter");
  flags.option("--format", format, "Format output: table, 'table TEMPLATE', json, or a Go template");
  flags.flag("--verbose", verbose, "Provide a more verbose output");
  flags.operands(operands, 0, 0);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  builder::CachePolicy policy;
  TRY(apply_filters(filters, policy));
  engine::Context context = TRY(open_engine(invocation));
  std::vector<CacheEntry> all = TRY(engine::list_build_cache(context)), entries;
  std::reverse(all.begin(), all.end());  // the latest first
  std::uint64_t total = 0, shared = 0, free = 0;
  for (CacheEntry& entry : all) {
    if (!TRY(builder::fits_filters(entry, policy.filters))) continue;
    if (policy.unused_for && !builder::is_unused_for(entry, *policy.unused_for)) continue;
    total += entry.size;
    if (entry.is_shared) shared += entry.size;
    if (reclaimable(entry)) free += entry.size;
    entries.push_back(std::move(entry));
  }
  if (verbose) {
    for (const CacheEntry& entry : entries) print_entry(entry);
  } else {
    print(TRY(render_table(kColumns, rows_of(entries), format)));
    if (!format.empty()) return 0;
  }
  if (shared > 0) print("Shared:\t\t" + human_size(shared) + "\nPrivate:\t" + human_size(total - shared) + "\n");
  print("Reclaimable:\t" + human_size(free) + "\nTotal:\t\t" + human_size(total) + "\n");
  return 0;
}

Result<std::uint64_t> size_of(const std::string& flag, const std::string& text) {
  if (text.empty() || text == "0") return std::uint64_t{0};
  const std::int64_t size = TRY_CTX(parse_size(text), flag);
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, size));
}

Result<int> prune(Invocation& invocation) {
  bool force = false, verbose = false;
  std::vector<std::string> filters, operands;
  std::string keep, reserved, maximum, free;
  builder::CachePolicy policy;
  Flags flags("dray builder prune", "[OPTIONS]", "Remove build cache");
  flags.flag("-a,--all", policy.all, "Include what images or containers share");
  flags.list("--filter", filters, "Provide filter values (e.g., \"until=24h\")", "filter");
  flags.flag("-f,--force", force, "Do not prompt for confirmation");
  flags.option("--keep-storage", keep, "Amount of disk space to keep for cache (older name of --reserved-space)",
               "bytes");
  flags.option("--max-used-space", maximum, "Maximum amount of disk space allowed to keep for cache", "bytes");
  flags.option("--min-free-space", free, "Target amount of free disk space after pruning", "bytes");
  flags.option("--reserved-space", reserved, "Amount of disk space always allowed to keep for cache", "bytes");
  flags.flag("--verbose", verbose, "Provide a more verbose output");
  flags.operands(operands, 0, 0);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  TRY(apply_filters(filters, policy));
  policy.reserved_space = TRY(size_of("--reserved-space", reserved));
  if (!keep.empty()) policy.reserved_space = TRY(size_of("--keep-storage", keep));
  policy.max_used_space = TRY(size_of("--max-used-space", maximum));
  policy.min_free_space = TRY(size_of("--min-free-space", free));
  if (!force) {
    print(std::string("WARNING! This will remove all ") + (policy.all ? "" : "dangling ") +
          "build cache. Are you sure you want to continue? [y/N] ");
    std::fflush(stdout);
    char answer[16] = "";
    if (std::fgets(answer, sizeof answer, stdin) == nullptr || (answer[0] != 'y' && answer[0] != 'Y')) return 1;
  }
  engine::Context context = TRY(open_engine(invocation));
  const builder::CachePruned pruned = TRY(engine::prune_build_cache(context, policy));
  if (verbose) {
    for (const CacheEntry& entry : pruned.removed) print_entry(entry);
  } else if (!pruned.removed.empty()) {
    print(TRY(render_table(kColumns, rows_of(pruned.removed), "")));
  }
  if (pruned.is_deferred)
    print_error("dray: a build or pull is running: the space of layers is freed by the next prune\n");
  print("Total:\t" + human_size(pruned.bytes) + "\n");
  return 0;
}

}  // namespace

int command_builder_du(Invocation& invocation) {
  auto result = disk_usage(invocation);
  return result ? *result : report(result.error());
}

int command_builder_prune(Invocation& invocation) {
  auto result = prune(invocation);
  return result ? *result : report(result.error());
}

}  // namespace dray::cli
