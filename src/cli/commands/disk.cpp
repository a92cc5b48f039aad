// SPDX-License-Identifier: Apache-2.0
// system df and system check.
#include <dray/engine/disk.hpp>
#include <dray/flags/flags.hpp>

#include "../command.hpp"
#include "../table.hpp"

namespace dray::cli {
namespace {

std::string with_share(std::uint64_t part, std::uint64_t whole) {
  return human_size(part) + (whole > 0 ? " (" + std::to_string(part * 100 / whole) + "%)" : "");
}

TableRow summary_row(const char* type, std::size_t total, std::size_t active, std::uint64_t size,
                     const std::string& reclaimable) {
  return {{{"Type", type},
           {"TotalCount", std::to_string(total)},
           {"Active", std::to_string(active)},
           {"Size", human_size(size)},
           {"Reclaimable", reclaimable}}};
}

bool is_active(const engine::ContainerInfo& info) {
  return info.status == engine::Status::running || info.status == engine::Status::restarting;
}

std::vector<TableRow> summary_rows(const engine::DiskUsage& usage) {
  std::vector<TableRow> rows;
  std::map<Digest, bool> images;
  for (const auto& image : usage.images) images[image.summary.id] = image.containers > 0;
  std::size_t active = 0;
  for (const auto& [id, used] : images) active += used ? 1 : 0;
  rows.push_back(summary_row("Images", images.size(), active, usage.image_bytes,
                             with_share(usage.reclaimable_image_bytes, usage.image_bytes)));
  std::uint64_t size = 0, free = 0;
  active = 0;
  for (const auto& container : usage.containers) {
    size += container.size;
    free += is_active(container.info) ? 0 : container.size;
    active += is_active(container.info) ? 1 : 0;
  }
  rows.push_back(summary_row("Containers", usage.containers.size(), active, size, with_share(free, size)));
  size = free = active = 0;
  for (const auto& volume : usage.volumes) {
    size += volume.size;
    free += volume.links > 0 ? 0 : volume.size;
    active += volume.links > 0 ? 1 : 0;
  }
  rows.push_back(summary_row("Local Volumes", usage.volumes.size(), active, size, with_share(free, size)));
  size = free = active = 0;
  for (const auto& entry : usage.cache) {
    size += entry.is_shared ? 0 : entry.size;  // the image's already
    free += entry.is_shared || entry.in_use ? 0 : entry.size;
    active += entry.in_use ? 1 : 0;
  }
  rows.push_back(summary_row("Build Cache", usage.cache.size(), active, size, human_size(free)));
  return rows;
}

std::string container_status(const engine::ContainerInfo& info) {
  switch (info.status) {
    case engine::Status::created:
      return "Created";
    case engine::Status::running:
      return "Up";
    case engine::Status::restarting:
      return "Restarting";
    case engine::Status::exited:
      return "Exited (" + std::to_string(info.exit_code) + ")";
    case engine::Status::dead:
      break;
  }
  return "Dead";
}

Result<void> print_images(const engine::DiskUsage& usage) {
  std::vector<TableRow> rows;
  for (const auto& image : usage.images)
    rows.push_back({{{"Repository", image.summary.repository},
                     {"Tag", image.summary.tag},
                     {"ID", image.summary.id.short_hex()},
                     {"CreatedSince", human_age(image.summary.created_at)},
                     {"Size", human_size(image.summary.size)},
                     {"SharedSize", human_size(image.shared)},
                     {"UniqueSize", human_size(image.summary.size - std::min(image.summary.size, image.shared))},
                     {"Containers", std::to_string(image.containers)}}});
  print("Images space usage:\n\n" + TRY(render_table({{"Repository", "REPOSITORY"},
                                                      {"Tag", "TAG"},
                                                      {"ID", "IMAGE ID"},
                                                      {"CreatedSince", "CREATED"},
                                                      {"Size", "SIZE"},
                                                      {"SharedSize", "SHARED SIZE"},
                                                      {"UniqueSize", "UNIQUE SIZE"},
                                                      {"Containers", "CONTAINERS"}},
                                                     rows, "")));
  return {};
}

Result<void> print_containers(const engine::DiskUsage& usage) {
  std::vector<TableRow> rows;
  for (const auto& container : usage.containers) {
    std::string command;
    for (const auto& word : container.info.command) command += (command.empty() ? "" : " ") + word;
    if (command.size() > 20) command = command.substr(0, 19) + "…";
    rows.push_back({{{"ID", container.info.id.substr(0, 12)},
                     {"Image", container.info.image},
                     {"Command", "\"" + command + "\""},
                     {"LocalVolumes", std::to_string(container.local_volumes)},
                     {"Size", human_size(container.size)},
                     {"RunningFor", human_age(container.info.created_at)},
                     {"Status", container_status(container.info)},
                     {"Names", container.info.name}}});
  }
  print("\nContainers space usage:\n\n" + TRY(render_table({{"ID", "CONTAINER ID"},
                                                            {"Image", "IMAGE"},
                                                            {"Command", "COMMAND"},
                                                            {"LocalVolumes", "LOCAL VOLUMES"},
                                                            {"Size", "SIZE"},
                                                            {"RunningFor", "CREATED"},
                                                            {"Status", "STATUS"},
                                                            {"Names", "NAMES"}},
                                                           rows, "")));
  return {};
}

Result<void> print_volumes(const engine::DiskUsage& usage) {
  std::vector<TableRow> rows;
  for (const auto& volume : usage.volumes)
    rows.push_back(
        {{{"Name", volume.info.name}, {"Links", std::to_string(volume.links)}, {"Size", human_size(volume.size)}}});
  print("\nLocal Volumes space usage:\n\n" +
        TRY(render_table({{"Name", "VOLUME NAME"}, {"Links", "LINKS"}, {"Size", "SIZE"}}, rows, "")));
  return {};
}

Result<void> print_cache(const engine::DiskUsage& usage) {
  std::vector<TableRow> rows;
  std::uint64_t total = 0;
  for (const auto& entry : usage.cache) {
    total += entry.is_shared ? 0 : entry.size;
    rows.push_back({{{"ID", entry.id},
                     {"CacheType", type_name(entry.type)},
                     {"Size", human_size(entry.size)},
                     {"CreatedSince", human_age(entry.created_at)},
                     {"LastUsedSince", entry.last_used_at.empty() ? "" : human_age(entry.last_used_at)},
                     {"Shared", entry.is_shared ? "true" : "false"}}});
  }
  print("\nBuild cache usage: " + human_size(total) + "\n\n" +
        TRY(render_table({{"ID", "CACHE ID"},
                          {"CacheType", "CACHE TYPE"},
                          {"Size", "SIZE"},
                          {"CreatedSince", "CREATED"},
                          {"LastUsedSince", "LAST USED"},
                          {"Shared", "SHARED"}},
                         rows, "")));
  return {};
}

Result<int> disk_usage(Invocation& invocation) {
  bool verbose = false;
  std::string format;
  std::vector<std::string> operands;
  Flags flags("dray system df", "[OPTIONS]", "Show disk usage");
  flags.option("--format", format, "Format output: table, 'table TEMPLATE', json, or a Go template");
  flags.flag("-v,--verbose", verbose, "Show detailed information on space usage");
  flags.operands(operands, 0, 0);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  if (verbose && !format.empty())
    return fail(ErrorCode::invalid_argument, "the verbose and the format options conflict");
  CancelToken& cancel = install_cancel_handlers();
  engine::Context context = TRY(open_engine(invocation));
  const engine::DiskUsage usage = TRY(engine::disk_usage(context, cancel));
  if (!verbose) {
    print(TRY(render_table({{"Type", "TYPE"},
                            {"TotalCount", "TOTAL"},
                            {"Active", "ACTIVE"},
                            {"Size", "SIZE"},
                            {"Reclaimable", "RECLAIMABLE"}},
                           summary_rows(usage), format)));
    return 0;
  }
  TRY(print_images(usage));
  TRY(print_containers(usage));
  TRY(print_volumes(usage));
  TRY(print_cache(usage));
  return 0;
}

Result<int> check(Invocation& invocation) {
  bool repair = false, quiet = false;
  std::vector<std::string> operands;
  Flags flags(
      "dray system check", "[OPTIONS]",
      "Hash every blob and look whether images, layers, containers and build cache are complete. Exit code 1 if "
      "something is wrong.");
  flags.flag("--repair", repair, "Remove what is damaged or refers to nothing, unpack again what can be");
  flags.flag("-q,--quiet", quiet, "Only show what is wrong");
  flags.operands(operands, 0, 0);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  CancelToken& cancel = install_cancel_handlers();
  engine::Context context = TRY(open_engine(invocation));
  const store::CheckReport report = TRY(engine::check_store(context, repair, cancel));
  std::size_t left = 0;
  for (const store::Problem& problem : report.problems) {
    left += problem.repaired ? 0 : 1;
    print(printable(problem.subject) + ": " + printable(problem.what) +
          "\n  this means: " + printable(problem.meaning) + "\n  " +
          (problem.repaired ? "repaired: " : "what to do: ") + printable(problem.advice) + "\n");
  }
  if (report.repair_deferred)
    print_error(
        "dray: another dray process works in the store: nothing was repaired; try again when it has finished\n");
  if (quiet) return left > 0 ? 1 : 0;
  print("Checked " + std::to_string(report.blobs) + " blobs (" + human_size(report.bytes) + "), " +
        std::to_string(report.layers) + " layers, " + std::to_string(report.images) + " images, " +
        std::to_string(report.containers) + " containers, " + std::to_string(report.cache_records) +
        " build-cache records: " +
        (report.problems.empty() ? "nothing is wrong"
                                 : std::to_string(report.problems.size()) + " found wrong, " +
                                       std::to_string(report.problems.size() - left) + " repaired") +
        "\n");
  if (const auto& orphans = report.orphans; orphans.total() > 0)
    print("Nothing refers to " + std::to_string(orphans.blobs) + " blobs, " + std::to_string(orphans.layers) +
          " layers, " + std::to_string(orphans.snapshots) + " snapshot directories, " +
          std::to_string(orphans.partial_files) +
          " partial files: a running command's, or left by one that ended; `dray system prune` removes the latter\n");
  return left > 0 ? 1 : 0;
}

}  // namespace

int command_disk_usage(Invocation& invocation) { return finish(disk_usage(invocation)); }
int command_check(Invocation& invocation) { return finish(check(invocation)); }

}  // namespace dray::cli
