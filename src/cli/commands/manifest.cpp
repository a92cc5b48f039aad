// SPDX-License-Identifier: Apache-2.0
// manifest create, annotate, inspect, push, rm: Docker's words.
#include <dray/engine/manifests.hpp>

#include <dray/flags/flags.hpp>
#include "../command.hpp"
#include "../progress.hpp"
#include "../terminal.hpp"

namespace dray::cli {
namespace {

using Operands = std::vector<std::string>;

Result<int> create(Invocation& invocation) {
  bool amend = false;
  Operands names;
  Flags flags("dray manifest create", "MANIFEST_LIST MANIFEST [MANIFEST...]",
              "Create a local manifest list for annotating and pushing to a registry");
  flags.flag("-a,--amend", amend, "Amend an existing manifest list");
  flags.operands(names, 2, kAnyNumber);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  CancelToken& cancel = install_cancel_handlers();
  engine::Context context = TRY(open_engine(invocation));
  TRY(engine::create_manifest_list(context, names[0], Operands(names.begin() + 1, names.end()), amend, cancel));
  print("Created manifest list " + TRY(Reference::parse(names[0])).canonical() + "\n");
  return 0;
}

Result<int> annotate(Invocation& invocation) {
  engine::ManifestAnnotation annotation;
  Operands names;
  Flags flags("dray manifest annotate", "[OPTIONS] MANIFEST_LIST MANIFEST",
              "Say which platform an image of a local manifest list is for");
  flags.option("--arch", annotation.architecture, "Set architecture");
  flags.option("--os", annotation.os, "Set operating system");
  flags.option("--os-version", annotation.os_version, "Set operating system version");
  flags.option("--variant", annotation.variant, "Set architecture variant");
  flags.operands(names, 2, 2);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  engine::Context context = TRY(open_engine(invocation));
  TRY(engine::annotate_manifest_list(context, names[0], names[1], annotation));
  return 0;
}

Result<int> inspect(Invocation& invocation) {
  Operands names;
  Flags flags("dray manifest inspect", "MANIFEST_LIST|IMAGE",
              "Display a local manifest list, or a registry's manifest");
  flags.operands(names, 1, 1);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  CancelToken& cancel = install_cancel_handlers();
  engine::Context context = TRY(open_engine(invocation));
  print(TRY(engine::inspect_manifest(context, names[0], cancel)) + "\n");
  return 0;
}

Result<int> push(Invocation& invocation) {
  bool purge = false;
  Operands names;
  Flags flags("dray manifest push", "[OPTIONS] MANIFEST_LIST", "Push a manifest list to its registry");
  flags.flag("-p,--purge", purge, "Remove the local manifest list after push");
  flags.operands(names, 1, 1);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  CancelToken& cancel = install_cancel_handlers();
  engine::Context context = TRY(open_engine(invocation));
  auto progress = make_transfer_progress(2, is_terminal(2));
  const Digest digest = TRY(engine::push_manifest_list(context, names[0], *progress, cancel));
  progress.reset();
  if (purge) TRY(engine::remove_manifest_list(context, names[0]));
  print(digest.to_string() + "\n");
  return 0;
}

Result<int> remove(Invocation& invocation) {
  Operands names;
  Flags flags("dray manifest rm", "MANIFEST_LIST [MANIFEST_LIST...]", "Delete local manifest lists");
  flags.operands(names, 1, kAnyNumber);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  engine::Context context = TRY(open_engine(invocation));
  int code = 0;
  for (const std::string& name : names)
    if (auto removed = engine::remove_manifest_list(context, name); !removed) code = report(removed.error());
  return code;
}

}  // namespace

int command_manifest_create(Invocation& invocation) { return finish(create(invocation)); }
int command_manifest_annotate(Invocation& invocation) { return finish(annotate(invocation)); }
int command_manifest_inspect(Invocation& invocation) { return finish(inspect(invocation)); }
int command_manifest_push(Invocation& invocation) { return finish(push(invocation)); }
int command_manifest_remove(Invocation& invocation) { return finish(remove(invocation)); }

}  // namespace dray::cli
