// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "builder/plan/planner.hpp"

namespace dray::builder::test {

/// What each base image is.
inline image::ImageConfig stub() {
  image::ImageConfig config;
  config.config.env = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"};
  config.config.cmd = {"/bin/sh"};
  config.config.working_dir = "/";
  config.platform.architecture = "amd64";
  config.platform.variant = "";
  return config;
}

inline PlanOptions options(bool all_stages = false) {
  PlanOptions options;
  options.platform.architecture = options.build_platform.architecture = "amd64";
  options.platform.variant = options.build_platform.variant = "";
  options.all_stages = all_stages;
  return options;
}

}  // namespace dray::builder::test
