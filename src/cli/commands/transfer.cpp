// SPDX-License-Identifier: Apache-2.0
// pull, push, image bootstrap: images coming and going.
#include <cstdio>

#include <dray/engine/images.hpp>
#include <dray/engine/remote.hpp>

#include <dray/flags/flags.hpp>
#include "../command.hpp"
#include "../platform_flag.hpp"
#include "../progress.hpp"
#include "../terminal.hpp"

namespace dray::cli {
namespace {

bool is_repository(const std::string& name, const Reference& reference) {
  return name == reference.familiar_name() || name == reference.domain() + "/" + reference.repository();
}

Result<int> pull(Invocation& invocation) {
  bool quiet = false, all_tags = false, all_platforms = false;
  std::string platform_text;
  std::vector<std::string> names;
  Flags flags("dray pull", "[OPTIONS] NAME[:TAG|@DIGEST]", "Download an image from a registry");
  flags.flag("--all-platforms", all_platforms,
             "Download the images for all platforms, to push or save them as one (run and build use this host's)");
  flags.flag("-a,--all-tags", all_tags, "Download all tagged images in the repository");
  flags.option("--platform", platform_text,
               "Set platform if the registry has the image for several (default: DOCKER_DEFAULT_PLATFORM)");
  flags.flag("-q,--quiet", quiet, "Suppress verbose output");
  flags.operands(names, 1, 1);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  if (all_platforms && !platform_text.empty())
    return fail(ErrorCode::invalid_argument, "--all-platforms and --platform exclude each other");
  const auto extent = all_platforms ? engine::PullExtent::all_platforms : engine::PullExtent::one_platform;
  Reference reference = TRY(Reference::parse(names[0]));
  const image::Platform platform =
      all_platforms ? image::Platform::host()
                    : TRY(parse_platform_or_default(platform_text)).value_or(image::Platform::host());
  CancelToken& cancel = install_cancel_handlers();
  engine::Context context = TRY(open_engine(invocation));
  std::vector<Reference> wanted = {reference};
  if (all_tags) {
    if (!is_repository(names[0], reference))
      return fail(ErrorCode::invalid_argument, "tag can't be used with --all-tags/-a");
    wanted.clear();
    for (const std::string& tag : TRY(engine::remote_tags(context, names[0], cancel)))
      wanted.push_back(TRY(Reference::parse(reference.familiar_name() + ":" + tag)));
  }
  for (const Reference& one : wanted) {
    auto progress = quiet ? make_no_progress() : make_transfer_progress(1, is_terminal(1));
    auto summary = TRY(engine::pull_image(context, one.familiar(), platform, *progress, cancel, extent));
    progress.reset();
    if (!quiet) {
      print("Digest: " + summary.digest.to_string() + "\n");
      print("Status: " + std::string(summary.up_to_date ? "Image is up to date for " : "Downloaded newer image for ") +
            one.familiar() + "\n");
    }
    if (!all_tags) print(one.canonical() + "\n");
  }
  if (all_tags) print(reference.domain() + "/" + reference.repository() + "\n");
  return 0;
}

Result<int> push(Invocation& invocation) {
  bool quiet = false, all_tags = false;
  std::string platform_text;
  std::vector<std::string> names;
  Flags flags("dray push", "[OPTIONS] NAME[:TAG]", "Upload an image to a registry");
  flags.flag("-a,--all-tags", all_tags, "Push all tags of an image to the repository");
  flags.option("--platform", platform_text, "Push one platform's image alone, if there are several");
  flags.flag("-q,--quiet", quiet, "Suppress verbose output");
  flags.operands(names, 1, 1);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  const Reference reference = TRY(Reference::parse(names[0]));
  const std::optional<image::Platform> platform = TRY(parse_platform(platform_text));
  if (all_tags && !is_repository(names[0], reference))
    return fail(ErrorCode::invalid_argument, "tag can't be used with --all-tags/-a");
  CancelToken& cancel = install_cancel_handlers();
  engine::Context context = TRY(open_engine(invocation));
  std::vector<std::string> pushed = {names[0]};
  if (all_tags) pushed = TRY(engine::tags_in_store(context, reference));
  if (pushed.empty())
    return fail(ErrorCode::not_found, "an image does not exist locally with the tag: " + reference.familiar_name());
  for (const std::string& name : pushed) {
    const Reference one = TRY(Reference::parse(name));
    auto progress = quiet ? make_no_progress() : make_transfer_progress(1, is_terminal(1));
    const auto descriptor = TRY(engine::push_image(context, name, platform, *progress, cancel));
    progress.reset();
    print(quiet ? one.canonical() + "\n"
                : one.tag_or_digest() + ": digest: " + descriptor.digest.to_string() +
                      " size: " + std::to_string(descriptor.size) + "\n");
  }
  return 0;
}

Result<int> bootstrap(Invocation& invocation) {
  engine::BootstrapRequest request;
  bool quiet = false;
  std::vector<std::string> names, include;
  Flags flags(
      "dray image bootstrap", "[OPTIONS] NAME[:SUITE]",
      "Make a base image from Debian's own signed packages (through mmdebstrap), where no registry can be reached.\n"
      "The tag names the suite: dray image bootstrap debian:bookworm");
  flags.list("--include", include, "Further packages, comma-separated");
  flags.option("--mirror", request.mirror, "Package mirror (default: the host's own sources)");
  flags.flag("-q,--quiet", quiet, "Only print the image ID");
  flags.option("--suite", request.suite, "Suite, when the tag is something else");
  flags.option("--variant", request.variant, "mmdebstrap variant: minbase, apt, essential, buildd, standard…");
  flags.operands(names, 1, 1);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  request.reference = names[0];
  for (const auto& list : include) {
    for (std::size_t start = 0; start <= list.size();) {
      std::size_t end = std::min(list.find(',', start), list.size());
      if (end > start) request.include.push_back(list.substr(start, end - start));
      start = end + 1;
    }
  }
  CancelToken& cancel = install_cancel_handlers();
  engine::Context context = TRY(open_engine(invocation));
  auto progress = quiet ? make_no_progress() : is_terminal(2) ? make_tty_progress() : make_plain_progress();
  Digest id = TRY(engine::bootstrap_image(context, request, *progress, cancel));
  progress.reset();
  print(id.to_string() + "\n");
  return 0;
}

}  // namespace

int command_pull(Invocation& invocation) { return finish(pull(invocation)); }
int command_push(Invocation& invocation) { return finish(push(invocation)); }
int command_bootstrap(Invocation& invocation) { return finish(bootstrap(invocation)); }

}  // namespace dray::cli
