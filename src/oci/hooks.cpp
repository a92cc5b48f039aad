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

namespace dray::oci {
namespace {

using Clock = std::chrono::steady_clock;

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (const auto& text : texts) result.push_back(const_cast<char*>(text.c_str()));
  result.push_back(nullptr);
  return result;
}

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

struct HookOutput {
  std::string text;
  bool timed_out = false;
};

// Reads what the hook says until it and its children have closed it or the process has ended.
Result<HookOutput> listen(FdRef output, FdRef process, std::optional<Clock::time_point> deadline) {
  HookOutput result;
  for (bool ended = false;;) {
    int wait = -1;
    if (ended) {
      wait = 0;
    } else if (deadline) {
      auto left = std::chrono::duration_cast<std::chrono::milliseconds>(*deadline - Clock::now()).count();
      if (left <= 0) {
        result.timed_out = true;
        return result;
      }
      wait = static_cast<int>(std::min<long long>(left + 1, 1 << 30));
    }
    struct pollfd waiting[2] = {{output.get(), POLLIN, 0}, {process.get(), POLLIN, 0}};
    const int count = ::poll(waiting, 2, wait);
    if (count < 0 && errno != EINTR) return fail_errno("waiting for the hook");
    if (count == 0 && ended) return result;
    if (waiting[1].revents != 0) ended = true;
    if ((waiting[0].revents & (POLLIN | POLLHUP)) == 0) {
      if (ended) return result;
      continue;
    }
    std::byte buffer[4096];
    std::size_t size = TRY(read_some(output, buffer));
    // The first lines say what is wrong; a hook that talks on must not fill our memory.
    if (result.text.size() < 64 * 1024) result.text.append(reinterpret_cast<const char*>(buffer), size);
    if (size == 0) {
      struct pollfd end{process.get(), POLLIN, 0};
      if (!ended && deadline) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(*deadline - Clock::now()).count();
        if (::poll(&end, 1, static_cast<int>(std::max<long long>(left, 0))) == 0) result.timed_out = true;
      }
      return result;
    }
  }
}

Result<void> run_hook(const runtime::Hook& hook, const HookPlace& place) {
  std::vector<std::string> arguments = hook.args;
  if (arguments.empty()) arguments.push_back(hook.path);
  auto argv = pointers(arguments), envp = pointers(hook.env);
  // A file, not a pipe: a hook need not read it.
  FileDescriptor input(static_cast<int>(::syscall(SYS_memfd_create, "state", 1u /* MFD_CLOEXEC */)));
  if (!input.valid()) return fail_errno("preparing the hook's input");
  TRY(write_all(input, place.state));
  if (::lseek(input.get(), 0, SEEK_SET) != 0) return fail_errno("preparing the hook's input");
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
  const long pid = ::syscall(SYS_clone3, &clone, sizeof clone);
  if (pid < 0) return fail_errno("starting the hook");
  if (pid == 0) run_child(plan);
  FileDescriptor process(pidfd);
  output.write_end.reset();
  outcome.write_end.reset();
  std::optional<Clock::time_point> deadline;
  if (hook.timeout) deadline = Clock::now() + std::chrono::seconds(*hook.timeout);
  int exec_error = 0;
  auto told = read_some(outcome.read_end, std::as_writable_bytes(std::span(&exec_error, 1)));
  auto said = listen(output.read_end, process, deadline);
  if (!said || said->timed_out) ::kill(static_cast<pid_t>(pid), SIGKILL);
  int status = 0;
  while (::waitpid(static_cast<pid_t>(pid), &status, 0) < 0 && errno == EINTR) {
  }
  if (!said) return Failure(std::move(said).error());
  if (told && *told == sizeof exec_error)
    return Failure(Error::from_errno(exec_error, "starting \"" + hook.path + "\""));
  if (said->timed_out)
    return fail(ErrorCode::unavailable, "hook ran past specified timeout of " +
                                            std::to_string(static_cast<double>(*hook.timeout)).substr(0, 3) + "s");
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return fail(ErrorCode::command_failed, describe_end(status) + ", stdout: , stderr: " + said->text);
}

}  // namespace

std::string describe_end(int status) {
  if (WIFEXITED(status)) return "exit status " + std::to_string(WEXITSTATUS(status));
  std::string name = ::strsignal(WTERMSIG(status));
  if (!name.empty()) name[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(name[0])));
  return "signal: " + name;
}

Result<void> run_hooks(const std::vector<runtime::Hook>& hooks, const HookPlace& place) {
  for (std::size_t i = 0; i < hooks.size(); ++i)
    TRY_CTX(run_hook(hooks[i], place), "error running " + std::string(place.kind) + " hook #" + std::to_string(i));
  return {};
}

}  // namespace dray::oci
