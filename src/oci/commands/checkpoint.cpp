// SPDX-License-Identifier: Apache-2.0
// checkpoint and restore.
#include <unistd.h>

#include <climits>

#include <dray/core/rooted_path.hpp>

#include "../command.hpp"
#include "../criu.hpp"
#include "../foreground.hpp"
#include "../log.hpp"

namespace dray::oci {
namespace {

constexpr const char* kUsage = "[command options] <container-id>";

// Flags of both commands.
void add_flags(Flags& flags, CriuOptions& options) {
  flags.flag("--tcp-established", options.tcp_established, "allow open tcp connections");
  flags.flag("--ext-unix-sk", options.external_unix_sockets, "allow external unix sockets");
  flags.flag("--shell-job", options.shell_job, "allow shell jobs");
  flags.flag("--file-locks", options.file_locks, "handle file locks, for safety");
  flags.option("--manage-cgroups-mode", options.cgroups_mode, "cgroups mode: soft|full|strict|ignore (default: soft)");
  flags.list("--empty-ns", options.empty_namespaces, "create a namespace, but don't restore its properties");
  flags.flag("--auto-dedup", options.auto_dedup, "enable auto deduplication of memory images");
}

// Before the bundle becomes the working directory.
Result<void> complete_paths(CriuOptions& options) {
  char here[PATH_MAX];
  if (::getcwd(here, sizeof here) == nullptr) return fail_errno("reading the working directory");
  options.image_path = join_path(here, options.image_path.empty() ? "checkpoint" : options.image_path);
  if (!options.work_path.empty()) options.work_path = join_path(here, options.work_path);
  return {};
}

void warn_of_rootless(const Invocation& invocation) {
  if (::geteuid() != 0 || invocation.settings.rootless)
    log_warning(invocation.program + " checkpoint is untested with rootless containers");
}

}  // namespace

Result<int> command_checkpoint(Invocation& invocation) {
  CriuOptions options;
  std::int64_t status_fd = -1;
  std::vector<std::string> operands;
  Flags flags = make_flags(
      invocation, "checkpoint", kUsage,
      "checkpoint a running container\n\nWhere \"<container-id>\" is the name for the instance of the container to "
      "be\ncheckpointed.\n\nThe checkpoint command saves the state of the container instance, by the program criu.\n");
  flags.option("--image-path", options.image_path, "path for saving criu image files");
  flags.option("--work-path", options.work_path, "path for saving work files and logs");
  flags.option("--parent-path", options.parent_path, "path for previous criu image files in pre-dump");
  flags.flag("--leave-running", options.leave_running, "leave the process running after checkpointing");
  flags.flag("--tcp-skip-in-flight", options.tcp_skip_in_flight, "skip in-flight tcp connections");
  flags.flag("--link-remap", options.link_remap, "allow one to link unlinked files back when possible");
  flags.flag("--lazy-pages", options.lazy_pages, "use userfaultfd to lazily restore memory pages");
  flags.option("--status-fd", status_fd, "criu writes \\0 to this FD once lazy-pages is ready (default: -1)");
  flags.option("--page-server", options.page_server, "ADDRESS:PORT of the page server");
  flags.flag("--pre-dump", options.pre_dump,
             "dump container's memory information only, leave the container running after this");
  add_flags(flags, options);
  flags.operands(operands, 1, 1);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  if (status_fd < -1 || status_fd > INT_MAX)
    return fail(ErrorCode::invalid_argument, "invalid value for --status-fd: " + std::to_string(status_fd));
  options.status_fd = static_cast<int>(status_fd);
  warn_of_rootless(invocation);
  TRY(complete_paths(options));
  Container container = TRY(find_container(invocation.settings.root, operands.front()));
  TRY(checkpoint_container(container, options));
  return 0;
}

Result<int> command_restore(Invocation& invocation) {
  CreateOptions create;
  CriuOptions options;
  bool detach = false, no_subreaper = false, no_pivot = false;
  std::vector<std::string> operands;
  Flags flags = make_flags(
      invocation, "restore", kUsage,
      "restore a container from a previous checkpoint\n\nWhere \"<container-id>\" is the name for the instance of the "
      "container to be\nrestored.\n\nRestores the saved state of the container instance that was previously "
      "saved\nusing the checkpoint command.\n");
  flags.option("--console-socket", create.console_socket,
               "path to an AF_UNIX socket which will receive a file descriptor referencing the master end of the "
               "console's pseudoterminal");
  flags.option("--image-path", options.image_path, "path to criu image files for restoring");
  flags.option("--work-path", options.work_path, "path for saving work files and logs");
  flags.option("--bundle,-b", create.bundle, "path to the root of the bundle directory");
  flags.flag("--detach,-d", detach, "detach from the container's process");
  flags.option("--pid-file", create.pid_file, "specify the file to write the process id to");
  // CRIU gives us the first process as our child, and changes the root by its own rules.
  flags.flag("--no-subreaper", no_subreaper, "disable the use of the subreaper used to reap reparented processes");
  flags.flag("--no-pivot", no_pivot,
             "do not use pivot root to jail process inside rootfs.  This should be used whenever the rootfs is on top "
             "of a ramdisk");
  flags.flag("--lazy-pages", options.lazy_pages, "use userfaultfd to lazily restore memory pages");
  flags.option("--lsm-profile", options.lsm_profile,
               "Specify an LSM profile to be used during restore in the form of TYPE:NAME.");
  flags.option("--lsm-mount-context", options.lsm_mount_context,
               "Specify an LSM mount context to be used during restore.");
  add_flags(flags, options);
  flags.operands(operands, 1, 1);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  create.id = operands.front();
  create.detach = detach;
  if (create.bundle.empty()) create.bundle = ".";
  warn_of_rootless(invocation);
  TRY(complete_paths(options));
  std::optional<Foreground> foreground;
  if (!detach) foreground = TRY(Foreground::start());
  Created container = TRY(restore_container(invocation.settings, create, options));
  if (detach) return 0;
  const int code = TRY(foreground->follow(container.launched));
  TRY(destroy_container(container.directory, container.state));
  return code;
}

}  // namespace dray::oci
