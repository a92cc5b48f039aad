// SPDX-License-Identifier: Apache-2.0
#include "hooks.hpp"

#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>

#include <dray/core/fd.hpp>
#include <dray/core/process.hpp>
#include <dray/runtime/launch.hpp>

#include "container.hpp"

namespace dray::oci {
namespace {

using Clock = std::chrono::steady_clock;
using Deadline = std::optional<Clock::time_point>;

struct Plan {
  const char* path;
  char* const* argv;
  char* const* envp;
  const char* directory;  // or nullptr
  int container;          // pidfd, or -1
  int namespaces;
  int input, output, outcome;
};

// From here to execve only system calls; what fails is told by errno over `outcome`.
[[noreturn]] void fail_child(const Plan& plan) {
  const int error = errno;
  (void)!::write(plan.outcome, &error, sizeof error);
  ::_exit(127);
}

[[noreturn]] void run_child(const Plan& plan) {
  // Ours (SIGPIPE ignored; in the foreground all are blocked) are none of the hook's business.
  ::signal(SIGPIPE, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  // Until execve this is a copy of the runtime; a pid namespace that it joins may have others in it.
  if (plan.container >= 0 && ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) fail_child(plan);
  if (plan.container >= 0 && plan.namespaces != 0) {
    if (::setns(plan.container, plan.namespaces) != 0) fail_child(plan);
    // A pid namespace takes effect for children only. This process waits for its child and passes on how it ended; if
    // it is killed for the timeout, the child goes with it.
    const pid_t child = static_cast<pid_t>(::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
    if (child < 0) fail_child(plan);
    if (child > 0) {
      ::close(plan.outcome);
      int status = 0;
      while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
      }
      if (!WIFSIGNALED(status)) ::_exit(WEXITSTATUS(status));
      ::kill(::getpid(), WTERMSIG(status));
      ::_exit(128 + WTERMSIG(status));
    }
    ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  }
  if (plan.directory != nullptr && ::chdir(plan.directory) != 0) fail_child(plan);
  if (::dup2(plan.input, 0) < 0 || ::dup2(plan.output, 1) < 0 || ::dup2(plan.output, 2) < 0) fail_child(plan);
  ::syscall(SYS_close_range, 3u, ~0u, 4u /* CLOSE_RANGE_CLOEXEC */);
  ::execve(plan.path, plan.argv, plan.envp);
  fail_child(plan);
}

// By waitpid()'s status, in Go's words: "exit status 1", "signal: bad system call".
std::string describe_end(int status) {
  if (WIFEXITED(status)) return "exit status " + std::to_string(WEXITSTATUS(status));
  std::string name = ::strsignal(WTERMSIG(status));
  if (!name.empty()) name[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(name[0])));
  return "signal: " + name;
}

Deadline deadline_of(const runtime::Hook& hook) {
  if (!hook.timeout) return std::nullopt;
  return Clock::now() + std::chrono::seconds(*hook.timeout);
}

// A file, not a pipe: a hook need not read it.
Result<FileDescriptor> make_input(const std::string& state) {
  FileDescriptor input(static_cast<int>(::syscall(SYS_memfd_create, "state", 1u /* MFD_CLOEXEC */)));
  if (!input.valid()) return fail_errno("preparing the hook's input");
  TRY(write_all(input, state));
  if (::lseek(input.get(), 0, SEEK_SET) != 0) return fail_errno("preparing the hook's input");
  return input;
}

struct HookOutput {
  std::string text;
  bool timed_out = false;
};

// Reads what the hook says until it has ended. Its children may hold the pipe open, and talk, for ever.
Result<HookOutput> listen(FdRef output, FdRef process, const Deadline& deadline) {
  constexpr std::size_t kMost = 64 * 1024;  // the first lines say what is wrong; the rest must not fill our memory
  HookOutput result;
  bool ended = false, open = true;
  while (!ended || (open && result.text.size() < kMost)) {
    int wait = ended ? 0 : -1;
    if (!ended && deadline) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline - Clock::now()).count();
      result.timed_out = left <= 0;
      if (result.timed_out) break;
      wait = static_cast<int>(std::min<long long>(left, 1 << 30));
    }
    struct pollfd waiting[2] = {{open ? output.get() : -1, POLLIN, 0}, {process.get(), POLLIN, 0}};
    const int count = ::poll(waiting, 2, wait);
    if (count < 0 && errno != EINTR) return fail_errno("waiting for the hook");
    if (count == 0 && ended) break;
    if (count <= 0) continue;
    ended = ended || waiting[1].revents != 0;
    if (waiting[0].revents != 0) {
      std::byte buffer[4096];
      const std::size_t size = TRY(read_some(output, buffer));
      if (result.text.size() < kMost) result.text.append(reinterpret_cast<const char*>(buffer), size);
      open = size != 0;
    } else if (ended) {
      break;
    }
  }
  return result;
}

// To its end, or to that of our patience. Reaps it.
Result<void> wait_for_end(const runtime::Hook& hook, pid_t pid, FdRef process, FdRef output, const Deadline& deadline) {
  auto said = listen(output, process, deadline);
  if (!said || said->timed_out) ::kill(pid, SIGKILL);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!said) return Failure(std::move(said).error());
  if (said->timed_out)
    return fail(ErrorCode::unavailable, "hook ran past specified timeout of " +
                                            std::to_string(static_cast<double>(*hook.timeout)).substr(0, 3) + "s");
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return fail(ErrorCode::command_failed, describe_end(status) + ", stdout: , stderr: " + said->text);
}

Result<void> run_hook(const runtime::Hook& hook, const HookPlace& place) {
  std::vector<std::string> arguments = hook.args;
  if (arguments.empty()) arguments.push_back(hook.path);
  auto argv = string_pointers(arguments), envp = string_pointers(hook.env);
  FileDescriptor input = TRY(make_input(place.state));
  Pipe output = TRY(make_pipe()), outcome = TRY(make_pipe());
  Plan plan{hook.path.c_str(),
            argv.data(),
            hook.env.empty() ? environ : envp.data(),
            place.directory.empty() ? nullptr : place.directory.c_str(),
            -1,
            0,
            input.get(),
            output.write_end.get(),
            outcome.write_end.get()};
  FileDescriptor container;
  if (place.container != 0) {
    container = FileDescriptor(static_cast<int>(::syscall(SYS_pidfd_open, place.container, 0)));
    if (!container.valid()) return fail_errno("opening the container's process");
    plan.container = container.get();
    plan.namespaces = TRY(runtime::foreign_namespaces(place.container));
  }
  int pidfd = -1;
  struct clone_args clone{};
  clone.flags = CLONE_PIDFD;
  clone.pidfd = reinterpret_cast<std::uint64_t>(&pidfd);
  clone.exit_signal = SIGCHLD;
  const Deadline deadline = deadline_of(hook);
  const long pid = ::syscall(SYS_clone3, &clone, sizeof clone);
  if (pid < 0) return fail_errno("starting the hook");
  if (pid == 0) run_child(plan);
  FileDescriptor process(pidfd);
  output.write_end.reset();
  outcome.write_end.reset();
  auto ended = wait_for_end(hook, static_cast<pid_t>(pid), process, output.read_end, deadline);
  // It is dead: what it said of its execve lies there, or the pipe is at its end.
  int exec_error = 0;
  auto told = read_some(outcome.read_end, std::as_writable_bytes(std::span(&exec_error, 1)));
  if (told && *told == sizeof exec_error)
    return Failure(Error::from_errno(exec_error, "starting \"" + hook.path + "\""));
  return ended;
}

Result<void> run_start_hook(const runtime::Hook& hook, const ContainerState& state, const runtime::Spec& spec) {
  const FileDescriptor process = open_process(state);
  if (!process.valid()) return fail(ErrorCode::not_found, "container not running");
  FileDescriptor input = TRY(make_input(describe_for_hook(state, "created")));
  Pipe output = TRY(make_pipe());
  runtime::ExecRequest request = make_exec_request(state, process, spec, "created");
  request.process = spec.process;
  request.process.terminal = false;
  request.program = hook.path;
  request.process.args = hook.args.empty() ? std::vector<std::string>{hook.path} : hook.args;
  if (!hook.env.empty()) request.process.env = hook.env;
  request.stdio = {input, output.write_end, output.write_end};
  request.deadline = deadline_of(hook);
  const runtime::Launched launched = TRY(runtime::exec(request));
  output.write_end.reset();
  return wait_for_end(hook, launched.pid, launched.pidfd, output.read_end, request.deadline);
}

}  // namespace

Result<void> run_hooks(const std::vector<runtime::Hook>& hooks, const HookPlace& place) {
  for (std::size_t i = 0; i < hooks.size(); ++i)
    TRY_CTX(run_hook(hooks[i], place), "error running " + std::string(place.kind) + " hook #" + std::to_string(i));
  return {};
}

Result<void> run_start_hooks(const ContainerState& state, const runtime::Spec& spec) {
  const auto& hooks = spec.hooks.start_container;
  for (std::size_t i = 0; i < hooks.size(); ++i)
    TRY_CTX(run_start_hook(hooks[i], state, spec), "error running startContainer hook #" + std::to_string(i));
  return {};
}

}  // namespace dray::oci
