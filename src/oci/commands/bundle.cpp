// SPDX-License-Identifier: Apache-2.0
// spec and features.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include <dray/runtime/spec_json.hpp>

#include "../command.hpp"

namespace dray::oci {

Result<int> command_spec(Invocation& invocation) {
  bool rootless = false;
  std::string bundle;
  std::vector<std::string> operands;
  Flags flags = make_flags(
      invocation, "spec", "[command options]",
      "create a new specification file\n\nThe spec command creates the new specification file named \"config.json\" "
      "for\nthe bundle. The spec generated is just a starter file: edit it to achieve what\nyou want.\n");
  flags.option("--bundle,-b", bundle, "path to the root of the bundle directory");
  flags.flag("--rootless", rootless, "generate a configuration for a rootless container");
  flags.operands(operands, 0, 0);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  if (!bundle.empty() && ::chdir(bundle.c_str()) != 0) return fail_errno("entering \"" + bundle + "\"");
  auto file = open_file("config.json", O_WRONLY | O_CREAT | O_EXCL, 0666);
  if (!file && file.error().error_number() == EEXIST)
    return fail(ErrorCode::already_exists, "File config.json exists. Remove it first");
  FileDescriptor config = TRY(std::move(file));
  TRY(write_all(config, runtime::format_spec(runtime::make_bundle_template(rootless))));
  return 0;
}

Result<int> command_features(Invocation& invocation) {
  std::vector<std::string> operands;
  Flags flags =
      make_flags(invocation, "features", "",
                 "show the enabled features\n\nShow the enabled features. The result is parsable as a JSON.\n");
  flags.operands(operands, 0, 0);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  TRY(print(runtime::describe_features()));
  return 0;
}

}  // namespace dray::oci
