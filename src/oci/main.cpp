// SPDX-License-Identifier: Apache-2.0
// dray-runtime: an OCI runtime with runc's command line. Only the command that is run declares its flags.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>

#include <dray/runtime/launch.hpp>
#include <dray/runtime/user_namespace.hpp>

#include "command.hpp"
#include "log.hpp"

using namespace std::string_view_literals;

namespace dray::oci {
namespace {

struct Command {
  std::string_view name;
  CommandFunction function;
  std::string_view summary;
};

constexpr auto kCommands = std::to_array<Command>({
    {"checkpoint", command_checkpoint, "checkpoint a running container"},
    {"create", command_create, "create a container"},
    {"delete", command_delete, "delete any resources held by the container often used with detached container"},
    {"events", command_events,
     "display container events such as OOM notifications, cpu, memory, and IO usage statistics"},
    {"exec", command_exec, "execute new process inside the container"},
    {"kill", command_kill, "kill sends the specified signal (default: SIGTERM) to the container's init process"},
    {"list", command_list, "lists containers started with the given root"},
    {"pause", command_pause, "pause suspends all processes inside the container"},
    {"ps", command_ps, "ps displays the processes running inside a container"},
    {"restore", command_restore, "restore a container from a previous checkpoint"},
    {"resume", command_resume, "resumes all processes that have been previously paused"},
    {"run", command_run, "create and run a container"},
    {"spec", command_spec, "create a new specification file"},
    {"start", command_start, "executes the user defined process in a created container"},
    {"state", command_state, "output the state of a container"},
    {"update", command_update, "update container resource constraints"},
    {"features", command_features, "show the enabled features"},
});

constexpr const char* kSpecVersion = "1.2.1";

std::string describe_program(const std::string& program) {
  std::string text = "NAME:\n   " + program +
                     " - Open Container Initiative runtime\n\n"
                     "dray-runtime runs containers from OCI bundles: directories with a config.json and a root file\n"
                     "system. Its command line is runc's, so that container managers can use one for the other.\n\n"
                     "    # " +
                     program + " run [ -b bundle ] <container-id>\n\nUSAGE:\n   " + program +
                     " [global options] command [command options] [arguments...]\n\nVERSION:\n   " DRAY_VERSION
                     "\n\nCOMMANDS:\n";
  for (const Command& command : kCommands) {
    std::string name(command.name);
    name.resize(12, ' ');
    text += "   " + name + std::string(command.summary) + "\n";
  }
  return text +
         "   help, h     Shows a list of commands or help for one command\n\nGLOBAL OPTIONS:\n"
         "   --debug             enable debug logging\n"
         "   --log value         set the log file to write logs to (default is '/dev/stderr')\n"
         "   --log-format value  set the log format ('text' (default), or 'json') (default: \"text\")\n"
         "   --root value        root directory for storage of container state (this should be located in tmpfs) "
         "(default: \"/run/dray-runtime\")\n"
         "   --systemd-cgroup    enable systemd cgroup support, expects cgroupsPath to be of form "
         "\"slice:prefix:name\" for e.g. \"system.slice:dray:434234\"\n"
         "   --rootless value    ignore cgroup permission errors ('true', 'false', or 'auto') (default: \"auto\")\n"
         "   --help, -h          show help\n"
         "   --version, -v       print the version\n";
}

struct GlobalFlags {
  std::string log, log_format = "text", rootless = "auto";
  std::optional<std::string> root;
  bool debug = false, systemd_cgroup = false, help = false, version = false;
};

// The words before the command. Returns how many there are.
Result<std::size_t> read_globals(const std::vector<std::string>& words, GlobalFlags& flags) {
  std::string root;
  const std::pair<std::string_view, std::string*> options[] = {
      {"--log", &flags.log}, {"--log-format", &flags.log_format}, {"--root", &root}, {"--rootless", &flags.rootless}};
  const std::pair<std::string_view, bool*> switches[] = {
      {"--debug", &flags.debug},     {"--systemd-cgroup", &flags.systemd_cgroup},
      {"--help", &flags.help},       {"-h", &flags.help},
      {"--version", &flags.version}, {"-v", &flags.version}};
  std::size_t next = 0;
  for (; next < words.size() && words[next].starts_with('-'); ++next) {
    const std::string_view word = words[next], name = word.substr(0, word.find('='));
    bool known = false;
    for (const auto& [option, target] : options) {
      if (name != option) continue;
      known = true;
      if (name != word) {
        *target = word.substr(name.size() + 1);
      } else if (next + 1 < words.size()) {
        *target = words[++next];
      } else {
        return fail(ErrorCode::invalid_argument, "flag needs an argument: " + std::string(name));
      }
      if (target == &root) flags.root = root;
    }
    for (const auto& [option, target] : switches) {
      if (name != option) continue;
      known = true;
      *target = name == word || word.substr(name.size() + 1) != "false";
    }
    if (!known) return fail(ErrorCode::invalid_argument, "flag provided but not defined: " + std::string(name));
  }
  return next;
}

Result<Settings> make_settings(const GlobalFlags& flags) {
  Settings settings;
  if (flags.rootless != "true" && flags.rootless != "false" && flags.rootless != "auto")
    return fail(ErrorCode::invalid_argument, "invalid value for --rootless: \"" + flags.rootless + "\"");
  settings.rootless = flags.rootless == "auto" ? runtime::is_rootless() : flags.rootless == "true";
  settings.systemd_cgroup = flags.systemd_cgroup;
  const char* session = ::getenv("XDG_RUNTIME_DIR");
  // In a user namespace one is root, but the directory may still be the user's (runc's rule).
  const char* user = ::getenv("USER");
  const bool in_session = ::geteuid() != 0 || (runtime::is_rootless() && (user == nullptr || user != "root"sv));
  settings.root = !in_session || session == nullptr ? "/run/dray-runtime" : std::string(session) + "/dray-runtime";
  if (flags.root) {
    if (flags.root->empty()) return fail(ErrorCode::invalid_argument, "--root must not be empty");
    char* absolute = ::realpath(flags.root->c_str(), nullptr);
    settings.root = absolute != nullptr ? absolute : *flags.root;
    std::free(absolute);
    if (settings.root.front() != '/') {
      char* here = ::getcwd(nullptr, 0);
      if (here != nullptr) settings.root = std::string(here) + "/" + settings.root;
      std::free(here);
    }
    settings.root_is_default = false;
  }
  return settings;
}

const Command* find_command(std::string_view name) {
  auto found =
      std::find_if(kCommands.begin(), kCommands.end(), [&](const Command& command) { return command.name == name; });
  return found == kCommands.end() ? nullptr : &*found;
}

int report(const Error& error) {
  std::string message = error.message();
  if (!error.hint().empty()) message += " (" + error.hint() + ")";
  log_error(message);
  return 1;
}

int run(int argc, char** argv) {
  Invocation invocation;
  const char* slash = argc > 0 ? std::strrchr(argv[0], '/') : nullptr;
  invocation.program = slash != nullptr ? slash + 1 : argc > 0 ? argv[0] : "dray-runtime";
  std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
  GlobalFlags flags;
  auto read = read_globals(words, flags);
  if (!read) return report(read.error());
  const std::size_t next = *read;
  if (flags.version) {
    return print(invocation.program +
                 " version " DRAY_VERSION "\ncommit: v" DRAY_VERSION "\nspec: " + std::string(kSpecVersion) + "\n")
               ? 0
               : 1;
  }
  const bool asks_help = next < words.size() && (words[next] == "help" || words[next] == "h");
  if (flags.help || next == words.size() || (asks_help && next + 1 == words.size()))
    return print(describe_program(invocation.program)) ? 0 : 1;
  const std::string& name = words[asks_help ? next + 1 : next];
  const Command* command = find_command(name);
  if (command == nullptr) return report(Error(ErrorCode::invalid_argument, "No help topic for '" + name + "'")), 3;
  if (flags.log_format != "text" && flags.log_format != "json")
    return report(Error(ErrorCode::invalid_argument, "invalid log-format: " + flags.log_format));
  const LogFormat format = flags.log_format == "json" ? LogFormat::json : LogFormat::text;
  if (auto opened = open_log(flags.log, format, flags.debug); !opened) return report(opened.error());
  auto settings = make_settings(flags);
  if (!settings) return report(settings.error());
  invocation.settings = std::move(*settings);
  if (!invocation.settings.rootless) runtime::set_seccomp_cache_directory(invocation.settings.root);
  if (asks_help) {
    invocation.arguments = {"--help"};
  } else {
    invocation.arguments.assign(words.begin() + static_cast<std::ptrdiff_t>(next) + 1, words.end());
  }
  auto code = command->function(invocation);
  if (code) return *code;
  report(code.error());
  // The code of exec is its command's; what no command ends with says that it was us.
  return command->name == "exec" ? 255 : 1;
}

}  // namespace

Flags make_flags(const Invocation& invocation, const char* name, const char* usage, const char* description) {
  return Flags(invocation.program + " " + name, usage, description, HelpStyle::runc);
}

Result<void> print(std::string_view text) { return write_all(FdRef(1), text); }

}  // namespace dray::oci

int main(int argc, char** argv) {
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGCHLD, SIG_DFL);  // who ignores it, as our caller may, cannot learn how a child ended
  // Our children begin as copies of this process, some in namespaces that containers look into: such a container must
  // not trace them, not even between clone and their first instruction. (An ordinary user could not write the maps of
  // its own child then.)
  if (::geteuid() == 0) (void)::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  if (auto settled = dray::oci::settle_descriptors(); !settled) return dray::oci::report(settled.error());
  return dray::oci::run(argc, argv);
}
