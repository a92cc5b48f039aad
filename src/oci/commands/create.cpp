// SPDX-License-Identifier: Apache-2.0
// create and run.
#include "../command.hpp"
#include "../foreground.hpp"

namespace dray::oci {
namespace {

constexpr const char* kUsage = "[command options] <container-id>";
constexpr const char* kBundleText =
    "\n\nWhere \"<container-id>\" is your name for the instance of the container that you\n"
    "are starting. The name you provide for the container instance must be unique on\n"
    "your host. The bundle is a directory with a specification file named \"config.json\"\n"
    "and a root filesystem; see \"spec --help\".\n";

void add_flags(Flags& flags, CreateOptions& options, bool& no_pivot, bool& no_keyring, std::int64_t& preserved,
               std::vector<std::string>& operands) {
  flags.option("--bundle,-b", options.bundle,
               "path to the root of the bundle directory, defaults to the current directory");
  flags.option("--console-socket", options.console_socket,
               "path to an AF_UNIX socket which will receive a file descriptor referencing the master end of the "
               "console's pseudoterminal");
  flags.option("--pidfd-socket", options.pidfd_socket,
               "path to an AF_UNIX socket which will receive a file descriptor referencing the init process");
  flags.option("--pid-file", options.pid_file, "specify the file to write the process id to");
  flags.flag("--no-pivot", no_pivot,
             "do not use pivot root to jail process inside rootfs.  This should be used whenever the rootfs is on top "
             "of a ramdisk");
  flags.flag("--no-new-keyring", no_keyring,
             "do not create a new session keyring for the container.  This will cause the container to inherit the "
             "calling processes session key");
  flags.option("--preserve-fds", preserved,
               "Pass N additional file descriptors to the container (stdio + $LISTEN_FDS + N in total)");
  flags.operands(operands, 1, 1);
}

Result<CreateOptions> finish(CreateOptions options, bool no_pivot, bool no_keyring, std::int64_t preserved,
                             const std::vector<std::string>& operands) {
  if (preserved < 0 || preserved > 1024)
    return fail(ErrorCode::invalid_argument, "invalid value for --preserve-fds: " + std::to_string(preserved));
  options.id = operands.front();
  options.pivot_root = !no_pivot;
  options.new_keyring = !no_keyring;
  options.preserved_descriptors = static_cast<unsigned>(preserved);
  return options;
}

}  // namespace

Result<int> command_create(Invocation& invocation) {
  CreateOptions options;
  bool no_pivot = false, no_keyring = false;
  std::int64_t preserved = 0;
  std::vector<std::string> operands;
  Flags flags = make_flags(invocation, "create", kUsage, (std::string("create a container") + kBundleText).c_str());
  add_flags(flags, options, no_pivot, no_keyring, preserved, operands);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  options = TRY(finish(std::move(options), no_pivot, no_keyring, preserved, operands));
  TRY_CTX(create_container(invocation.settings, options), invocation.program + " create failed");
  return 0;
}

Result<int> command_run(Invocation& invocation) {
  CreateOptions options;
  bool no_pivot = false, no_keyring = false, detach = false, keep = false;
  std::int64_t preserved = 0;
  std::vector<std::string> operands;
  Flags flags =
      make_flags(invocation, "run", kUsage, (std::string("create and run a container") + kBundleText).c_str());
  add_flags(flags, options, no_pivot, no_keyring, preserved, operands);
  flags.flag("--detach,-d", detach, "detach from the container's process");
  flags.flag("--keep", keep, "do not delete the container after it exits");
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  options = TRY(finish(std::move(options), no_pivot, no_keyring, preserved, operands));
  options.detach = detach;
  const std::string failed = invocation.program + " run failed";
  std::optional<Foreground> foreground;
  if (!detach) foreground = TRY(Foreground::start());
  Created container = TRY_CTX(create_container(invocation.settings, options), failed);
  auto started = start_container(container.directory, container.state, container.spec);
  if (!started) {
    (void)destroy_container(container.directory, container.state);
    const ErrorCode code = started.error().code();
    if (code == ErrorCode::command_not_found || code == ErrorCode::not_executable) {
      // runc's process says it itself, over its own standard error; so tests and people look for it there.
      (void)write_all(FdRef(2), started.error().message() + "\n");
      return 255;
    }
    return Failure(std::move(started).error().with_context("unable to start container process").with_context(failed));
  }
  if (detach) return 0;
  const int code = TRY(foreground->follow(container.launched));
  if (!keep) TRY(destroy_container(container.directory, container.state));
  return code;
}

}  // namespace dray::oci
