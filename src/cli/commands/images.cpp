// SPDX-License-Identifier: Apache-2.0
// images, history, tag, rmi.
#include <dray/engine/image_diff.hpp>
#include <dray/engine/images.hpp>

#include <dray/flags/flags.hpp>
#include "../command.hpp"
#include "../platform_flag.hpp"
#include "../table.hpp"

namespace dray::cli {
namespace {

Result<int> images(Invocation& invocation) {
  bool all = false, quiet = false, no_trunc = false, digests = false;
  std::string format;
  std::vector<std::string> filters, operands;
  Flags flags("dray images", "[OPTIONS] [REPOSITORY[:TAG]]", "List images");
  flags.flag("-a,--all", all, "Show all images (Dray has no hidden intermediate images)");
  flags.flag("--digests", digests, "Show digests");
  flags.list("-f,--filter", filters, "Filter output: dangling=true|false, reference=NAME", "filter");
  flags.option("--format", format, "Format output: table, 'table TEMPLATE', json, or a Go template");
  flags.flag("--no-trunc", no_trunc, "Don't truncate output");
  flags.flag("-q,--quiet", quiet, "Only show image IDs");
  flags.operands(operands, 0, 1);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  std::string wanted_name, wanted_tag;
  auto want = [&](const std::string& name) -> Result<void> {
    Reference reference = TRY(Reference::parse(name));
    wanted_name = reference.familiar_name();
    std::size_t slash = name.rfind('/');
    wanted_tag = name.find(':', slash == std::string::npos ? 0 : slash) == std::string::npos ? "" : reference.tag();
    return {};
  };
  if (!operands.empty()) TRY(want(operands[0]));
  std::optional<bool> dangling;
  for (const auto& filter : filters) {
    if (filter == "dangling=true" || filter == "dangling=false") {
      dangling = filter == "dangling=true";
    } else if (filter.starts_with("reference=")) {
      TRY(want(filter.substr(10)));
    } else {
      return fail(ErrorCode::invalid_argument, "invalid filter '" + filter + "' (there are: dangling, reference)");
    }
  }
  engine::Context context = TRY(open_engine(invocation));
  std::vector<TableRow> rows;
  std::vector<std::string> shown;
  for (const auto& image : TRY(engine::list_images(context))) {
    if (!wanted_name.empty() && (image.repository != wanted_name || (!wanted_tag.empty() && image.tag != wanted_tag)))
      continue;
    if (dangling && *dangling != (image.repository == "<none>")) continue;
    std::string id = no_trunc ? image.id.to_string() : image.id.short_hex();
    if (quiet) {
      if (std::find(shown.begin(), shown.end(), id) == shown.end()) print(id + "\n");
      shown.push_back(id);
      continue;
    }
    rows.push_back({{{"Repository", image.repository},
                     {"Tag", image.tag},
                     {"Digest", image.manifest.to_string()},
                     {"ID", id},
                     {"CreatedAt", image.created_at},
                     {"CreatedSince", human_age(image.created_at)},
                     {"Size", human_size(image.size)}}});
  }
  if (quiet) return 0;
  std::vector<TableColumn> columns = {{"Repository", "REPOSITORY"}, {"Tag", "TAG"}};
  if (digests) columns.push_back({"Digest", "DIGEST"});
  columns.insert(columns.end(), {{"ID", "IMAGE ID"}, {"CreatedSince", "CREATED"}, {"Size", "SIZE"}});
  print(TRY(render_table(columns, rows, format)));
  return 0;
}

Result<int> history(Invocation& invocation) {
  bool quiet = false, no_trunc = false, human = true;
  std::string format, platform;
  std::vector<std::string> names;
  Flags flags("dray history", "[OPTIONS] IMAGE", "Show the history of an image");
  flags.option("--format", format, "Format output: table, 'table TEMPLATE', json, or a Go template");
  flags.flag("-H,--human", human, "Print sizes and dates in human readable format (default true)");
  flags.flag("--no-trunc", no_trunc, "Don't truncate output");
  flags.option("--platform", platform, "Show that platform's image of the name, such as linux/arm64");
  flags.flag("-q,--quiet", quiet, "Only show image IDs");
  flags.operands(names, 1, 1);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  const std::optional<image::Platform> wanted = TRY(parse_platform(platform));
  engine::Context context = TRY(open_engine(invocation));
  std::vector<TableRow> rows;
  for (const auto& entry : TRY(engine::image_history(context, names[0], wanted))) {
    std::string id = entry.id;
    if (!no_trunc && id.starts_with("sha256:")) id = id.substr(7, 12);
    if (quiet) {
      print(id + "\n");
      continue;
    }
    std::string by = entry.created_by;
    if (!no_trunc && by.size() > 45) by = by.substr(0, 44) + "…";
    rows.push_back({{{"ID", id},
                     {"CreatedSince", human ? human_age(entry.created) : entry.created},
                     {"CreatedAt", entry.created},
                     {"CreatedBy", by},
                     {"Size", human ? human_size(entry.size) : std::to_string(entry.size)},
                     {"Comment", entry.comment}}});
  }
  if (!quiet)
    print(TRY(render_table({{"ID", "IMAGE"},
                            {"CreatedSince", "CREATED"},
                            {"CreatedBy", "CREATED BY"},
                            {"Size", "SIZE"},
                            {"Comment", "COMMENT"}},
                           rows, format)));
  return 0;
}

Result<int> tag(Invocation& invocation) {
  std::vector<std::string> names;
  Flags flags("dray tag", "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
              "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE");
  flags.operands(names, 2, 2);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  engine::Context context = TRY(open_engine(invocation));
  TRY(engine::tag_image(context, names[0], names[1]));
  return 0;
}

Result<int> rmi(Invocation& invocation) {
  bool force = false;
  std::vector<std::string> names;
  Flags flags("dray rmi", "[OPTIONS] IMAGE [IMAGE...]", "Remove one or more images");
  flags.flag("-f,--force", force, "Force removal of the image");
  flags.operands(names, 1, kAnyNumber);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  engine::Context context = TRY(open_engine(invocation));
  int code = 0;
  for (const auto& name : names) {
    auto lines = engine::remove_image(context, name, force);
    if (!lines) {
      if (!(force && lines.error().code() == ErrorCode::not_found)) code = report(lines.error());
      continue;
    }
    for (const auto& line : *lines) print(printable(line) + "\n");
  }
  return code;
}

Result<int> diff(Invocation& invocation) {
  std::vector<std::string> names;
  Flags flags("dray image diff", "IMAGE IMAGE",
              "Show which files differ between two images: A added, C changed, D deleted");
  flags.operands(names, 2, 2);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  CancelToken& cancel = install_cancel_handlers();
  engine::Context context = TRY(open_engine(invocation));
  for (const auto& change : TRY(engine::diff_images(context, names[0], names[1], cancel)))
    print(std::string(1, change.kind) + " " + printable(change.path) + "\n");
  return 0;
}

}  // namespace

int command_images(Invocation& invocation) { return finish(images(invocation)); }
int command_diff_images(Invocation& invocation) { return finish(diff(invocation)); }
int command_history(Invocation& invocation) { return finish(history(invocation)); }
int command_tag(Invocation& invocation) { return finish(tag(invocation)); }
int command_rmi(Invocation& invocation) { return finish(rmi(invocation)); }

}  // namespace dray::cli
