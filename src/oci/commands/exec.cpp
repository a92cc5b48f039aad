// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>

#include <fcntl.h>
#include <unistd.h>

#include <dray/runtime/sealed_program.hpp>
#include <dray/runtime/spec_json.hpp>

#include "../command.hpp"
#include "../foreground.hpp"
#include "../log.hpp"

namespace dray::oci {
namespace {

struct ExecOptions {
  Handover handover;
  std::string cwd, user, process_file, label, apparmor;
  std::vector<std::string> env, gids, capabilities, cgroups, operands;
  bool terminal = false, detach = false, no_new_privileges = false, ignore_paused = false;
  std::int64_t preserved = 0;
};

Result<std::uint32_t> parse_id(std::string_view text, const char* what) {
  std::uint32_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number > INT32_MAX)
    return fail(ErrorCode::invalid_argument,
                std::string("parsing ") + what + " \"" + std::string(text) + "\" as a number");
  return number;
}

void add(std::vector<std::string>& list, const std::string& word) {
  if (std::find(list.begin(), list.end(), word) == list.end()) list.push_back(word);
}

// runc's rule: to ambient only what is inheritable already.
void add_capability(runtime::Capabilities& sets, const std::string& name) {
  add(sets.bounding, name);
  add(sets.effective, name);
  add(sets.permitted, name);
  if (std::find(sets.inheritable.begin(), sets.inheritable.end(), name) != sets.inheritable.end())
    add(sets.ambient, name);
}

Result<runtime::Process> make_process(const ExecOptions& options, const runtime::Spec& spec) {
  if (!options.process_file.empty()) {
    FileDescriptor file = TRY(open_file(options.process_file, O_RDONLY));
    const std::string text = TRY(read_all(file, 16u << 20));
    runtime::Process process = TRY_CTX(runtime::parse_process(text), options.process_file);
    if (!process.io_priority) process.io_priority = spec.process.io_priority;
    return process;
  }
  runtime::Process process = spec.process;
  process.args.assign(options.operands.begin() + 1, options.operands.end());
  if (process.args.empty()) return fail(ErrorCode::invalid_argument, "exec args cannot be empty");
  process.terminal = options.terminal;
  process.console_rows = process.console_columns = 0;
  if (!options.cwd.empty()) process.cwd = options.cwd;
  process.env.insert(process.env.end(), options.env.begin(), options.env.end());
  if (!options.label.empty()) process.selinux_label = options.label;
  if (!options.apparmor.empty()) process.apparmor_profile = options.apparmor;
  process.no_new_privileges = process.no_new_privileges || options.no_new_privileges;
  const auto known = runtime::all_capabilities();
  for (const auto& name : options.capabilities) {
    if (std::find(known.begin(), known.end(), name) != known.end()) {
      add_capability(process.capabilities, name);
    } else {
      log_warning("ignoring unknown or unavailable capabilities: [" + name + "]");
    }
  }
  if (!options.user.empty()) {
    const std::size_t colon = options.user.find(':');
    process.user.uid = TRY(parse_id(std::string_view(options.user).substr(0, colon), "user"));
    if (colon != std::string::npos)
      process.user.gid = TRY(parse_id(std::string_view(options.user).substr(colon + 1), "group"));
  }
  for (const auto& gid : options.gids) process.user.additional_gids.push_back(TRY(parse_id(gid, "group")));
  return process;
}

// "0-1" as "0x3", for those who read runc's debug log.
std::string format_mask(const std::string& cpus) {
  std::uint64_t mask = 0;
  for (unsigned cpu : runtime::parse_number_list(cpus).value_or(std::vector<unsigned>{}))
    if (cpu < 64) mask |= std::uint64_t{1} << cpu;
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(mask));
  return text;
}

// --cgroup PATH or CONTROLLER[,…]:PATH, below the container's own.
Result<runtime::SubCgroups> read_sub_cgroups(const std::vector<std::string>& wishes) {
  runtime::SubCgroups found;
  for (const auto& wish : wishes) {
    const std::size_t colon = wish.find(':');
    if (colon == std::string::npos) {
      if (wishes.size() > 1)
        return fail(ErrorCode::invalid_argument, "--cgroup without a controller must be the only one");
      found[""] = wish;
      continue;
    }
    const std::string path = wish.substr(colon + 1);
    for (std::size_t start = 0; start <= colon;) {
      const std::size_t end = std::min(wish.find(',', start), colon);
      found[wish.substr(start, end - start)] = path;
      start = end + 1;
    }
  }
  return found;
}

Flags make_exec_flags(const Invocation& invocation, ExecOptions& options) {
  Flags flags = make_flags(
      invocation, "exec",
      "[command options] <container-id> <command> [command options]  || -p process.json <container-id>",
      "execute new process inside the container\n\nWhere \"<container-id>\" is the name for the instance of the "
      "container and\n\"<command>\" is the command to be executed in the container.\n\"<command>\" can't be empty "
      "unless a \"-p\" flag provided.\n");
  flags.option("--console-socket", options.handover.console_socket,
               "path to an AF_UNIX socket which will receive a file descriptor referencing the master end of the "
               "console's pseudoterminal");
  flags.option("--pidfd-socket", options.handover.pidfd_socket,
               "path to an AF_UNIX socket which will receive a file descriptor referencing the exec process");
  flags.option("--cwd", options.cwd, "current working directory in the container");
  flags.list("--env,-e", options.env, "set environment variables");
  flags.flag("--tty,-t", options.terminal, "allocate a pseudo-TTY");
  flags.option("--user,-u", options.user, "UID (format: <uid>[:<gid>])");
  flags.list("--additional-gids,-g", options.gids, "additional gids");
  flags.option("--process,-p", options.process_file, "path to the process.json");
  flags.flag("--detach,-d", options.detach, "detach from the container's process");
  flags.option("--pid-file", options.handover.pid_file, "specify the file to write the process id to");
  flags.option("--process-label", options.label,
               "set the asm process label for the process commonly used with selinux");
  flags.option("--apparmor", options.apparmor, "set the apparmor profile for the process");
  flags.flag("--no-new-privs", options.no_new_privileges, "set the no new privileges value for the process");
  flags.list("--cap,-c", options.capabilities, "add a capability to the bounding set for the process");
  flags.option("--preserve-fds", options.preserved,
               "Pass N additional file descriptors to the container (stdio + $LISTEN_FDS + N in total)");
  flags.list("--cgroup", options.cgroups,
             "run the process in an (existing) sub-cgroup(s). Format is [<controller>:]<cgroup>.");
  flags.flag("--ignore-paused", options.ignore_paused, "allow exec in a paused container");
  flags.trailing(options.operands, 1);
  return flags;
}

// Of a user namespace's processes none may look into ours.
Result<void> seal_if_seen(const Container& container, const runtime::Spec& spec) {
  if (spec.namespaces.user.is_own()) return {};
  if (!runtime::is_seen_inside(container.directory.path(), spec.process.capabilities.bounding)) return {};
  log_debug("exeseal: running from a read-only mount of /proc/self/exe");
  return runtime::run_sealed();
}

Result<void> check_status(const Container& container, bool ignore_paused) {
  if (container.status == Status::stopped || container.status == Status::creating)
    return fail(ErrorCode::invalid_argument, "cannot exec in a stopped container");
  if (container.status == Status::paused && !ignore_paused)
    return fail(ErrorCode::invalid_argument, "cannot exec in a paused container (use --ignore-paused to override)");
  return {};
}

}  // namespace

Result<int> command_exec(Invocation& invocation) {
  ExecOptions options;
  Flags flags = make_exec_flags(invocation, options);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  if (options.preserved < 0 || options.preserved > 1024)
    return fail(ErrorCode::invalid_argument, "invalid value for --preserve-fds: " + std::to_string(options.preserved));
  const Container container = TRY(find_container(invocation.settings.root, options.operands.front()));
  TRY(check_status(container, options.ignore_paused));
  const runtime::Spec spec = TRY(container.directory.read_spec());
  TRY(seal_if_seen(container, spec));
  const FileDescriptor process = open_process(container.state);
  if (!process.valid()) return fail(ErrorCode::invalid_argument, "cannot exec in a stopped container");
  runtime::ExecRequest request = make_exec_request(container.state, process, spec, name_of(container.status));
  request.process = TRY(make_process(options, spec));
  TRY(runtime::validate_process(request.process));
  TRY(runtime::note_who_sees(container.directory.path(), request.process.capabilities.bounding));
  TRY(check_terminal(request.process.terminal, options.detach, options.handover.console_socket));
  request.plain_newlines = !options.detach;
  request.may_stay_outside = invocation.settings.rootless;
  request.sub_cgroups = TRY(read_sub_cgroups(options.cgroups));
  request.stdio = {FdRef(0), FdRef(1), FdRef(2)};
  request.preserved_descriptors = TRY(count_preserved(static_cast<unsigned>(options.preserved), request.process));
  FileDescriptor rootfs =
      TRY(open_file("/proc/" + std::to_string(container.state.pid) + "/root", O_PATH | O_DIRECTORY));
  complete_environment(request.process, rootfs);
  std::optional<Foreground> foreground;
  if (!options.detach) Foreground::adopt_window_size(request.process);
  if (!options.detach) foreground = TRY(Foreground::start());
  log_debug("nsexec container setup");
  if (const std::string& cpus = request.process.cpu_affinity.initial; !cpus.empty())
    log_debug("nsexec: affinity: " + format_mask(cpus));
  runtime::Launched launched = TRY_CTX(runtime::exec(request), "exec failed: unable to start container process");
  log_debug("child process in init()");
  log_seccomp_flags(spec.seccomp);
  log_debug("setns_init: about to exec");
  if (auto handed = hand_over(options.handover, launched); !handed) {
    ::kill(launched.pid, SIGKILL);
    return Failure(std::move(handed).error());
  }
  if (options.detach) return 0;
  return foreground->follow(launched);
}

}  // namespace dray::oci
