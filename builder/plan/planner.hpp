// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "context/ignore.hpp"
#include "dockerfile/dockerfile.hpp"
#include "plan/plan.hpp"

namespace dray::builder {

/// For the outline of a build: the arguments of the stages that were planned.
struct ArgumentUse {
  std::map<std::string, Outline::Argument> defined;  ///< by a stage
  std::set<std::string> used;                        ///< taken from the global ones
  std::map<std::string, std::string> globals;        ///< values
  int target = 0;
};

struct PlanOptions {
  std::vector<std::pair<std::string, std::string>> build_args;
  std::map<std::string, std::string> labels;                 ///< added to the final config, over the Dockerfile's
  std::string target;                                        ///< stage name or index; "" = the last stage
  std::string network = "default";                           ///< for RUN without --network
  image::Platform platform = image::Platform::host();        ///< of the result
  image::Platform build_platform = image::Platform::host();  ///< of this host
  std::string created;                                       ///< RFC 3339
  Linter linter;                                             ///< takes what the build checks find
  ArgumentUse* arguments = nullptr;                          ///< filled in where set
  bool all_stages = false;                                   ///< also those that the target does not need: for checks
  const IgnorePatterns* ignore = nullptr;                    ///< the context's .dockerignore, for checks
};

struct BaseImage {
  Reference reference;
  image::Platform platform;
};

/// The config of a base image (never called for scratch). May be called several times for the same image.
using ResolveBase = std::function<Result<image::ImageConfig>(const Reference&, const image::Platform&)>;

/// The images the target surely needs, each once: FROM, and COPY --from=image. For resolving them
/// concurrently before plan_build. ONBUILD triggers of a base may ask for more.
Result<std::vector<BaseImage>> base_images(const Dockerfile& dockerfile, const PlanOptions& options);

/// The graph of what the target needs. Errors carry "Dockerfile:LINE".
Result<Plan> plan_build(const Dockerfile& dockerfile, const PlanOptions& options, const ResolveBase& resolve);

}  // namespace dray::builder
