// SPDX-License-Identifier: Apache-2.0
// dray: global flags, then a table of commands. Only the command that is run declares its flags, so that starting costs
// nothing for the others.
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <string_view>

#include "command.hpp"

namespace dray::cli {
namespace {

struct Command {
  std::string_view name;  ///< "run", or "container run"
  CommandFunction function;
  std::string_view summary;  ///< empty = not listed in help (aliases, internal)
};

constexpr auto kCommands = std::to_array<Command>({
    {"run", command_run, "Create and run a new container from an image"},
    {"exec", command_exec, "Execute a command in a running container"},
    {"ps", command_ps, "List containers"},
    {"build", command_build, "Build an image from a Dockerfile"},
    {"bake", command_bake, "Build the targets of a bake or compose file"},
    {"pull", command_pull, "Download an image from a registry"},
    {"push", command_push, "Upload an image to a registry"},
    {"images", command_images, "List images"},
    {"attach", command_attach, "Attach standard input, output and error to a running container"},
    {"create", command_create, "Create a new container"},
    {"export", command_export, "Export a container's filesystem as a tar archive"},
    {"history", command_history, "Show the history of an image"},
    {"import", command_import, "Import the contents from a tarball to create a filesystem image"},
    {"info", command_info, "Show what the host and the store are"},
    {"inspect", command_inspect, "Return low-level information on containers and images"},
    {"kill", command_kill, "Kill one or more running containers"},
    {"load", command_load, "Load images from a tar archive or standard input"},
    {"login", command_login, "Authenticate to a registry"},
    {"logout", command_logout, "Log out from a registry"},
    {"logs", command_logs, "Fetch the logs of a container"},
    {"restart", command_restart, "Restart one or more containers"},
    {"rm", command_rm, "Remove one or more containers"},
    {"rmi", command_rmi, "Remove one or more images"},
    {"save", command_save, "Save one or more images to a tar archive"},
    {"search", command_search, "Search a registry for images"},
    {"start", command_start, "Start one or more stopped containers"},
    {"stop", command_stop, "Stop one or more running containers"},
    {"tag", command_tag, "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE"},
    {"wait", command_wait, "Block until containers stop, then print their exit codes"},
    {"version", command_version, "Show the version"},
    {"container prune", command_prune_containers, "Remove all stopped containers"},
    {"image bootstrap", command_bootstrap, "Make a Debian base image from Debian's signed packages"},
    {"image copy", command_copy, "Copy an image between registries, layouts, archives and the local store"},
    {"image diff", command_diff_images, "Show which files differ between two images"},
    {"image prune", command_prune_images, "Remove unused images"},
    {"image tags", command_registry_tags, "List the tags of a repository in its registry"},
    {"manifest annotate", command_manifest_annotate, "Say which platform an image of a local manifest list is for"},
    {"manifest create", command_manifest_create, "Create a local manifest list"},
    {"manifest inspect", command_manifest_inspect, "Display a local manifest list, or a registry's manifest"},
    {"manifest push", command_manifest_push, "Push a manifest list to its registry"},
    {"manifest rm", command_manifest_remove, "Delete local manifest lists"},
    {"registry catalog", command_registry_catalog, "List the repositories of a registry"},
    {"registry rm", command_registry_remove, "Remove images from a registry"},
    {"registry serve", command_registry_serve, "Serve a registry of one's own"},
    {"registry gc", command_registry_gc, "Remove what no manifest of that registry names"},
    {"volume create", command_volume_create, "Create a volume"},
    {"volume ls", command_volume_list, "List volumes"},
    {"volume prune", command_prune_volumes, "Remove unused local volumes"},
    {"volume rm", command_volume_remove, "Remove one or more volumes"},
    {"system check", command_check, "Look whether the store is whole, and repair it"},
    {"system df", command_disk_usage, "Show disk usage"},
    {"system info", command_info, ""},
    {"system prune", command_prune, "Remove unused data and leftovers of killed processes"},
    {"system start-containers", command_start_containers, "Start what restart policies want to run (for boot)"},
    {"container attach", command_attach, ""},
    {"container cleanup", command_cleanup, ""},
    {"container create", command_create, ""},
    {"container exec", command_exec, ""},
    {"container export", command_export, ""},
    {"container inspect", command_inspect_container, ""},
    {"container kill", command_kill, ""},
    {"container logs", command_logs, ""},
    {"container ls", command_ps, ""},
    {"container list", command_ps, ""},
    {"container ps", command_ps, ""},
    {"container restart", command_restart, ""},
    {"container restart-by-policy", command_restart_by_policy, ""},
    {"container rm", command_rm, ""},
    {"container run", command_run, ""},
    {"container start", command_start, ""},
    {"container stop", command_stop, ""},
    {"container wait", command_wait, ""},
    {"image build", command_build, ""},
    {"image history", command_history, ""},
    {"image import", command_import, ""},
    {"image inspect", command_inspect_image, ""},
    {"image load", command_load, ""},
    {"image ls", command_images, ""},
    {"image list", command_images, ""},
    {"image pull", command_pull, ""},
    {"image push", command_push, ""},
    {"image rm", command_rmi, ""},
    {"image save", command_save, ""},
    {"image tag", command_tag, ""},
    {"registry tags", command_registry_tags, ""},
    {"builder ast", command_builder_ast, "Show how a Dockerfile is read"},
    {"builder build", command_build, ""},
    {"builder cache-mount", command_cache_mount, "Manage the stores of RUN --mount=type=cache"},
    {"builder du", command_builder_du, "Disk usage of the build cache"},
    {"builder plan", command_builder_plan, "Show as JSON what a build would do"},
    {"builder prune", command_builder_prune, "Remove build cache"},
    {"buildx build", command_build, ""},
    {"buildx du", command_builder_du, ""},
    {"buildx prune", command_builder_prune, ""},
    {"buildx bake", command_bake, ""},
});

void show_help() {
  std::string text =
      "\nUsage:  dray [GLOBAL OPTIONS] COMMAND\n\nBuild, run and ship containers on this host, without a "
      "daemon.\n\nCommands:\n";
  for (const Command& command : kCommands) {
    if (command.summary.empty()) continue;
    std::string name(command.name);
    name.resize(std::max<std::size_t>(name.size(), 23), ' ');
    text += "  " + name + " " + std::string(command.summary) + "\n";
  }
  text +=
      "\nThe forms of docker's management commands (dray container ls, dray image rm, …) work too.\n"
      "\nGlobal Options:\n"
      "      --root DIR     Where images, containers and volumes are kept (default /var/lib/dray, or $DRAY_ROOT)\n"
      "      --state DIR    Where the state of running containers is kept (default /run/dray, or $DRAY_STATE)\n"
      "      --storage-driver NAME\n"
      "                     Of a new store: overlay, or vfs (copies; the default where overlayfs can't write; or "
      "$DRAY_STORAGE_DRIVER)\n"
      "      --config FILE  Configuration file (default /etc/dray/daemon.json)\n"
      "  -v, --version      Print version information and quit\n"
      "\nRun 'dray COMMAND --help' for more information on a command.\n"
      "\nA first container:  dray image bootstrap debian:bookworm && dray run --rm debian:bookworm echo hello\n";
  print(text);
}

int run(int argc, char** argv) {
  Invocation invocation;
  int next = 1;
  for (; next < argc && argv[next][0] == '-'; ++next) {
    std::string_view word = argv[next];
    auto value_of = [&](std::string_view name, std::string& target) {
      if (word == name && next + 1 < argc) {
        target = argv[++next];
        return true;
      }
      if (word.starts_with(name) && word.size() > name.size() && word[name.size()] == '=') {
        target = word.substr(name.size() + 1);
        return true;
      }
      return false;
    };
    if (word == "--help" || word == "-h") return show_help(), 0;
    if (word == "--version" || word == "-v") return command_version(invocation);
    if (value_of("--root", invocation.root) || value_of("--state", invocation.state) ||
        value_of("--storage-driver", invocation.storage_driver) || value_of("--config", invocation.configuration_path))
      continue;
    print_error("unknown flag: " + printable(word) + "\nSee 'dray --help'.\n");
    return 125;
  }
  if (next >= argc || std::string_view(argv[next]) == "help") return show_help(), 0;

  std::string_view first = argv[next];
  for (const Command& command : kCommands) {
    auto space = command.name.find(' ');
    if (space == std::string_view::npos) {
      if (command.name != first) continue;
      invocation.arguments.assign(argv + next + 1, argv + argc);
      return command.function(invocation);
    }
    if (command.name.substr(0, space) != first || next + 1 >= argc || command.name.substr(space + 1) != argv[next + 1])
      continue;
    invocation.arguments.assign(argv + next + 2, argv + argc);
    return command.function(invocation);
  }

  std::string listing;
  for (const Command& command : kCommands) {
    auto space = command.name.find(' ');
    if (space != std::string_view::npos && command.name.substr(0, space) == first)
      listing += "  " + std::string(command.name.substr(space + 1)) + "\n";
  }
  if (!listing.empty()) {
    bool asked = next + 1 >= argc || std::string_view(argv[next + 1]) == "--help";
    if (!asked) print_error("dray: unknown command: dray " + printable(first) + " " + printable(argv[next + 1]) + "\n");
    std::string text = "\nUsage:  dray " + std::string(first) + " COMMAND\n\nCommands:\n" + listing;
    asked ? print(text) : print_error(text);
    return asked ? 0 : 1;
  }
  print_error("dray: '" + printable(first) + "' is not a dray command.\nSee 'dray --help'.\n");
  return 1;
}

}  // namespace
}  // namespace dray::cli

int main(int argc, char** argv) {
  // A closed pipe is an error of write(), handled where it is written.
  std::signal(SIGPIPE, SIG_IGN);
  // Containers' processes begin as copies of this one: nobody who is in a container already shall look into them.
  if (::geteuid() == 0) (void)::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  int code = dray::cli::run(argc, argv);
  if (std::fflush(stdout) != 0 && code == 0) code = 1;
  return code;
}
