// SPDX-License-Identifier: Apache-2.0
#include "source/git_command.hpp"

#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>

#include <dray/core/process.hpp>

namespace dray::builder {
namespace {

constexpr std::size_t kMaxOutput = 32u << 20;
constexpr std::size_t kShownOfErrors = 2000;
constexpr auto kGrace = std::chrono::seconds(3);

Result<FileDescriptor> memory_file() {
  FileDescriptor fd(::memfd_create("git", MFD_CLOEXEC));
  if (!fd.valid()) return fail_errno("memfd_create");
  return fd;
}

Result<std::string> content(FdRef file, std::size_t limit) {
  if (::lseek(file.get(), 0, SEEK_SET) < 0) return fail_errno("reading git's output");
  return read_all(file, limit);
}

/// Kills git when the build is cancelled; git takes its helpers with it.
Result<ExitStatus> wait_for(ChildProcess& child, const CancelToken& cancel) {
  std::optional<std::chrono::steady_clock::time_point> kill_at;
  while (true) {
    pollfd item{child.pidfd().get(), POLLIN, 0};
    if (::poll(&item, 1, 50) > 0) break;
    if (cancel.cancelled() && !kill_at) {
      child.signal(SIGTERM);
      kill_at = std::chrono::steady_clock::now() + kGrace;
    }
    if (kill_at && std::chrono::steady_clock::now() > *kill_at) child.signal(SIGKILL);
  }
  const ExitStatus status = TRY(child.wait());
  if (cancel.cancelled()) return fail(ErrorCode::cancelled, "build cancelled");
  return status;
}

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
             {"core.attributesFile", "/dev/null"},
             {"init.templateDir", ""},
             {"init.defaultBranch", "master"},
             {"advice.detachedHead", "false"},
             {"gc.auto", "0"},
             {"submodule.recurse", "false"},
             {"http.lowSpeedLimit", "1"},
             {"http.lowSpeedTime", "60"}};
}

Result<std::string> GitCommand::run(const std::string& directory, const std::vector<std::string>& arguments) const {
  SpawnRequest request;
  // Modes of a checkout are those of the umask.
  request.argv = {"sh", "-c", "umask 022 && exec \"$@\"", "sh", "git"};
  if (!directory.empty()) request.argv.insert(request.argv.end(), {"-C", directory});
  request.argv.insert(request.argv.end(), arguments.begin(), arguments.end());
  std::vector<std::string> env = env_;
  env.push_back("GIT_SSH_COMMAND=ssh -F /dev/null -o BatchMode=yes -o ConnectTimeout=30" + ssh_options_);
  env.push_back("GIT_CONFIG_COUNT=" + std::to_string(config_.size()));
  for (std::size_t i = 0; i < config_.size(); ++i) {
    env.push_back("GIT_CONFIG_KEY_" + std::to_string(i) + "=" + config_[i].first);
    env.push_back("GIT_CONFIG_VALUE_" + std::to_string(i) + "=" + config_[i].second);
  }
  request.env = std::move(env);
  const FileDescriptor out = TRY(memory_file()), errors = TRY(memory_file());
  request.stdout_fd = out;
  request.stderr_fd = errors;
  ChildProcess child = TRY_CTX(ChildProcess::spawn(request), "starting git");
  const ExitStatus status = TRY(wait_for(child, cancel_));
  if (status.exit_code() == 0) return content(out, kMaxOutput);
  if (status.exit_code() == 127)
    return fail(ErrorCode::unavailable, "git is not installed: a git repository as a source needs it");
  std::string text = TRY(content(errors, kMaxOutput));
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  if (text.size() > kShownOfErrors) text = "…" + text.substr(text.size() - kShownOfErrors);
  return fail(ErrorCode::unavailable, "git " + arguments.front() + ": " + text);
}

}  // namespace dray::builder
