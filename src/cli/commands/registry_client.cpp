// SPDX-License-Identifier: Apache-2.0
// image copy, image tags, registry catalog, registry rm: what skopeo and regctl do.
#include <dray/engine/remote.hpp>

#include <dray/flags/flags.hpp>
#include "../command.hpp"
#include "../progress.hpp"
#include "../terminal.hpp"

namespace dray::cli {
namespace {

Result<int> copy(Invocation& invocation) {
  engine::CopyRequest request;
  bool quiet = false, preserve_digests = false;
  std::vector<std::string> operands;
  Flags flags("dray image copy", "[OPTIONS] SOURCE DESTINATION",
              "Copy an image as it is, digests included. Places: docker://NAME[:TAG|@DIGEST], oci:PATH[:TAG],\n"
              "oci-archive:FILE[:TAG], docker-archive:FILE[:NAME], dir:PATH, local:NAME (Dray's own store)");
  flags.flag("-a,--all", request.all_platforms, "Copy an index with the images for all platforms");
  flags.option("--platform", request.platform, "Copy the image for this platform (default: this host's)");
  flags.flag("--preserve-digests", preserve_digests, "Fail if a digest would change (none ever does)");
  flags.flag("-q,--quiet", quiet, "Only print the digest");
  flags.flag("--referrers", request.referrers, "Copy signatures, SBOMs and other artifacts that name the image, too");
  flags.operands(operands, 2, 2);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  if (request.all_platforms && !request.platform.empty())
    return fail(ErrorCode::invalid_argument, "--all and --platform exclude each other");
  if (!request.platform.empty()) TRY(image::Platform::parse(request.platform));
  request.source = operands[0];
  request.destination = operands[1];
  CancelToken& cancel = install_cancel_handlers();
  engine::Context context = TRY(open_engine(invocation));
  auto progress = quiet ? make_no_progress() : make_transfer_progress(1, is_terminal(1));
  const Digest digest = TRY(engine::copy_image(context, request, *progress, cancel));
  progress.reset();
  print((quiet ? "" : "Digest: ") + digest.to_string() + "\n");
  return 0;
}

Result<int> print_names(const std::vector<std::string>& names) {
  for (const std::string& name : names) print(printable(name) + "\n");
  return 0;
}

Result<int> tags(Invocation& invocation) {
  std::vector<std::string> names;
  Flags flags("dray image tags", "NAME", "List the tags of a repository in its registry");
  flags.operands(names, 1, 1);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  CancelToken& cancel = install_cancel_handlers();
  engine::Context context = TRY(open_engine(invocation));
  return print_names(TRY(engine::remote_tags(context, names[0], cancel)));
}

Result<int> catalog(Invocation& invocation) {
  std::vector<std::string> names;
  Flags flags("dray registry catalog", "REGISTRY", "List the repositories of a registry (many refuse to tell)");
  flags.operands(names, 1, 1);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  CancelToken& cancel = install_cancel_handlers();
  engine::Context context = TRY(open_engine(invocation));
  return print_names(TRY(engine::remote_repositories(context, names[0], cancel)));
}

Result<int> remove(Invocation& invocation) {
  std::vector<std::string> names;
  Flags flags(
      "dray registry rm", "NAME[:TAG|@DIGEST] [NAME...]",
      "Remove images from a registry. Where it cannot remove a tag alone, the manifest goes with all its tags.");
  flags.operands(names, 1, kAnyNumber);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  CancelToken& cancel = install_cancel_handlers();
  engine::Context context = TRY(open_engine(invocation));
  int code = 0;
  for (const std::string& name : names) {
    auto removed = engine::remove_remote(context, name, cancel);
    if (removed)
      print("Deleted: " + printable(*removed) + "\n");
    else
      code = report(removed.error());
  }
  return code;
}

}  // namespace

int command_copy(Invocation& invocation) { return finish(copy(invocation)); }
int command_registry_tags(Invocation& invocation) { return finish(tags(invocation)); }
int command_registry_catalog(Invocation& invocation) { return finish(catalog(invocation)); }
int command_registry_remove(Invocation& invocation) { return finish(remove(invocation)); }

}  // namespace dray::cli
