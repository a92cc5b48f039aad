// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include <dray/engine/images.hpp>
#include <dray/runtime/launch.hpp>

namespace dray::engine {

/// Runs a build's RUN steps. Thread-safe.
class BuildExecutor : public builder::Executor {
 public:
  BuildExecutor(Context& context, const BuildOptions& options)
      : context_(context),
        options_(options),
        trust_host_ca_(options.trust_host_ca || context.configuration.trust_host_ca) {}
  Result<ExitStatus> run(const builder::RunRequest& request, const std::function<void(std::string_view, bool)>& output,
                         const CancelToken& cancel) override;

 private:
  struct Step;
  Result<void> write_network_files(const Step& step, const builder::RunRequest& request, const std::string& address,
                                   const std::string& gateway);
  Result<void> make_spec(Step& step, const builder::RunRequest& request);
  Result<runtime::Launched> start(Step& step, const builder::RunRequest& request);
  Result<ExitStatus> attend(Step& step, runtime::Launched launched);
  Result<ExitStatus> execute(Step& step, const builder::RunRequest& request,
                             const std::function<void(std::string_view, bool)>& output, const CancelToken& cancel);
  Context& context_;
  const BuildOptions& options_;
  bool trust_host_ca_;
  std::mutex launch_;  ///< descriptors are O_CLOEXEC, but launch() prefers no other clone at its side
};

/// The file in a build's state directory that names its cgroup, for `prune` after a kill.
inline constexpr const char* kCgroupFile = "cgroup";

}  // namespace dray::engine
