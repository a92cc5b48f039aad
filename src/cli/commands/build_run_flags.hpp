// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <dray/builder/builder.hpp>
#include <dray/flags/flags.hpp>

namespace dray::cli {

/// The flags of `dray build` that say how RUN steps are run and what they are given.
class BuildRunFlags {
 public:
  void declare(Flags& flags);
  Result<void> apply(builder::BuildRequest& request) const;

 private:
  std::vector<std::string> secrets_, ssh_, allow_, add_host_, ulimits_, no_cache_filter_;
  std::string network_ = "default", shm_size_, cgroup_parent_;
};

}  // namespace dray::cli
