// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include <dray/core/fd.hpp>
#include <dray/core/progress.hpp>

namespace dray::builder {

/// What stops git, whatever the other side does.
struct GitLimits {
  std::chrono::milliseconds total = std::chrono::hours(24);
  std::chrono::milliseconds stall = std::chrono::seconds(120);  ///< without reading, writing or computing
  std::size_t output = 32u << 20;                               ///< each of stdout and stderr
};

/// Runs the host's git on repositories nobody trusts: without the host's and the user's configuration, hooks,
/// templates, prompts; http, https, ssh and git are the only protocols, for submodules too.
class GitCommand {
 public:
  explicit GitCommand(const CancelToken& cancel);
  /// A configuration value, by the environment: nobody sees it on a command line.
  void configure(std::string key, std::string value) { config_.emplace_back(std::move(key), std::move(value)); }
  void set_environment(std::string name_and_value) { env_.push_back(std::move(name_and_value)); }
  /// How ssh is called: options for GIT_SSH_COMMAND, already quoted.
  void set_ssh_options(std::string options) { ssh_options_ = std::move(options); }

  /// Its standard output. `directory`: where it runs; "" = anywhere. On failure the message has what git said.
  Result<std::string> run(const std::string& directory, const std::vector<std::string>& arguments,
                          const GitLimits& limits = {}) const;

 private:
  const CancelToken& cancel_;
  std::vector<std::pair<std::string, std::string>> config_;
  std::vector<std::string> env_;
  std::string ssh_options_;
};

}  // namespace dray::builder
