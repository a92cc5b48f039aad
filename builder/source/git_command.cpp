// SPDX-License-Identifier: Apache-2.0
#include "source/git_command.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <sstream>

#include <dray/core/process.hpp>

namespace dray::builder {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kShownOfErrors = 2000;
constexpr auto kGrace = std::chrono::seconds(3);
constexpr auto kTick = std::chrono::milliseconds(50);

/// A file in memory with room for `limit` bytes and never for more.
Result<FileDescriptor> memory_file(std::size_t limit) {
  FileDescriptor fd(::memfd_create("git", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return fail_errno("memfd_create");
  if (::ftruncate(fd.get(), static_cast<off_t>(limit)) != 0) return fail_errno("making room for git's output");
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_GROW) != 0) return fail_errno("limiting git's output");
  return fd;
}

/// How far git has written: it shares the position.
std::size_t written(FdRef file) {
  const off_t position = ::lseek(file.get(), 0, SEEK_CUR);
  return position < 0 ? 0 : static_cast<std::size_t>(position);
}

Result<std::string> content(FdRef file) {
  std::string text(written(file), '\0');
  if (::pread(file.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()))
    return fail_errno("reading git's output");
  return text;
}

std::uint64_t number_after(const std::string& text, std::string_view key) {
  const std::size_t at = text.find(key);
  return at == std::string::npos ? 0 : std::strtoull(text.c_str() + at + key.size(), nullptr, 10);
}

/// What a process and its children have read, written and computed. ssh does not count: it talks to the other side
/// also when that sends nothing.
std::uint64_t activity_of(const std::string& pid, int depth = 0) {
  const std::string base = "/proc/" + pid + "/";
  const std::string name = read_file(base + "comm").value_or("");
  if (name == "ssh\n" || depth > 16) return 0;
  const std::string io = read_file(base + "io").value_or(""), stat = read_file(base + "stat").value_or("");
  std::uint64_t sum = number_after(io, "rchar: ") + number_after(io, "wchar: ");
  std::istringstream fields(stat.substr(std::min(stat.rfind(')') + 1, stat.size())));
  std::string field;
  for (int i = 3; i <= 15 && fields >> field; ++i)
    if (i >= 14) sum += std::strtoull(field.c_str(), nullptr, 10);  // utime and stime
  std::istringstream children(read_file(base + "task/" + pid + "/children").value_or(""));
  while (children >> field) sum += activity_of(field, depth + 1);
  return sum;
}

/// Stops git when the build is cancelled and when a limit is passed; git takes its helpers with it.
class Watch {
 public:
  Watch(const GitLimits& limits, const CancelToken& cancel) : limits_(limits), cancel_(cancel) {}

  Result<ExitStatus> wait_for(ChildProcess& child, FdRef out, FdRef errors) {
    const std::string pid = std::to_string(child.pid());
    std::optional<Clock::time_point> kill_at;
    while (true) {
      pollfd item{child.pidfd().get(), POLLIN, 0};
      if (::poll(&item, 1, static_cast<int>(kTick.count())) > 0) break;
      const Clock::time_point now = Clock::now();
      if (!kill_at && (cancel_.cancelled() || over_limit(pid, out, errors, now))) {
        child.signal(SIGTERM);
        kill_at = now + kGrace;
      }
      if (kill_at && now > *kill_at) child.signal(SIGKILL);
    }
    const ExitStatus status = TRY(child.wait());
    TRY(cancel_.check());
    if (excess_.empty() && (full(out) || full(errors))) excess_ = "said too much";
    if (!excess_.empty()) return fail(ErrorCode::unavailable, excess_);
    return status;
  }

 private:
  bool full(FdRef file) const { return written(file) >= limits_.output; }

  bool over_limit(const std::string& pid, FdRef out, FdRef errors, Clock::time_point now) {
    if (full(out) || full(errors)) {
      excess_ = "said too much";
    } else if (now - start_ > limits_.total) {
      excess_ = "took too long";
    } else if (now - sampled_ > limits_.stall / 16) {
      sampled_ = now;
      const std::uint64_t activity = activity_of(pid);
      if (std::exchange(activity_, activity) != activity) active_ = now;
      if (now - active_ > limits_.stall) excess_ = "gave up: nothing comes from the other side";
    }
    return !excess_.empty();
  }

  const GitLimits& limits_;
  const CancelToken& cancel_;
  const Clock::time_point start_ = Clock::now();
  Clock::time_point sampled_ = start_, active_ = start_;
  std::uint64_t activity_ = 0;
  std::string excess_;
};

}  // namespace

GitCommand::GitCommand(const CancelToken& cancel) : cancel_(cancel) {
  const char* path = std::getenv("PATH");
  env_ = {std::string("PATH=") + (path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin"),
          "LC_ALL=C",
          "HOME=/nonexistent",
          "GIT_CONFIG_NOSYSTEM=1",
          "GIT_CONFIG_GLOBAL=/dev/null",
          "GIT_ATTR_NOSYSTEM=1",
          "GIT_TERMINAL_PROMPT=0",
          "GIT_ALLOW_PROTOCOL=http:https:ssh:git",
          "GIT_LFS_SKIP_SMUDGE=1"};
  for (const char* name :
       {"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy"})
    if (const char* value = std::getenv(name)) env_.push_back(std::string(name) + "=" + value);
  if (const char* bundle = std::getenv("SSL_CERT_FILE")) env_.push_back(std::string("GIT_SSL_CAINFO=") + bundle);
  config_ = {{"core.hooksPath", "/dev/null"},
             {"core.fsmonitor", "false"},
             {"core.logAllRefUpdates", "false"},  // they have the host's name and time
             {"core.attributesFile", "/dev/null"},
             {"init.templateDir", ""},
             {"init.defaultBranch", "master"},
             {"advice.detachedHead", "false"},
             {"gc.auto", "0"},
             {"submodule.recurse", "false"},
             {"http.lowSpeedLimit", "1"},
             {"http.lowSpeedTime", "60"}};
}

Result<std::string> GitCommand::run(const std::string& directory, const std::vector<std::string>& arguments,
                                    const GitLimits& limits) const {
  SpawnRequest request;
  // Modes of a checkout are those of the umask.
  request.argv = {"sh", "-c", "umask 022 && exec \"$@\"", "sh", "git"};
  if (!directory.empty()) request.argv.insert(request.argv.end(), {"-C", directory});
  request.argv.insert(request.argv.end(), arguments.begin(), arguments.end());
  std::vector<std::string> env = env_;
  env.push_back("GIT_SSH_COMMAND=ssh -F /dev/null -o BatchMode=yes -o ConnectTimeout=30 -o ServerAliveInterval=15" +
                ssh_options_);
  env.push_back("GIT_CONFIG_COUNT=" + std::to_string(config_.size()));
  for (std::size_t i = 0; i < config_.size(); ++i) {
    env.push_back("GIT_CONFIG_KEY_" + std::to_string(i) + "=" + config_[i].first);
    env.push_back("GIT_CONFIG_VALUE_" + std::to_string(i) + "=" + config_[i].second);
  }
  request.env = std::move(env);
  const FileDescriptor out = TRY(memory_file(limits.output)), errors = TRY(memory_file(limits.output));
  request.stdout_fd = out;
  request.stderr_fd = errors;
  ChildProcess child = TRY_CTX(ChildProcess::spawn(request), "starting git");
  const ExitStatus status = TRY_CTX(Watch(limits, cancel_).wait_for(child, out, errors), "git " + arguments.front());
  if (status.exit_code() == 0) return content(out);
  if (status.exit_code() == 127)
    return fail(ErrorCode::unavailable, "git is not installed: a git repository as a source needs it");
  std::string text = TRY(content(errors));
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  if (text.size() > kShownOfErrors) text = "…" + text.substr(text.size() - kShownOfErrors);
  return fail(ErrorCode::unavailable, "git " + arguments.front() + ": " + text);
}

}  // namespace dray::builder
