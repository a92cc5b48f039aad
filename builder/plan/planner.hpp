// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "context/ignore.hpp"
#include "dockerfile/dockerfile.hpp"
#include "plan/plan.hpp"

namespace dray::builder {

/// What a name (--build-context) or the main context stands for.
struct ContextSource {
  /// An OCI layout is brought into the store first and given as an image.
  enum class Kind { directory, image, git, http, stage } kind = Kind::directory;
  std::string
      value;  ///< image, git, http: reference or URL; stage: its name; directory: not used (LocalOp has the name)
};

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
  ContextSource context;                                     ///< the main one
  /// By name: used instead of the stage or image of that name in FROM, --from and from=.
  std::map<std::string, ContextSource> named_contexts;
  bool all_stages = false;           ///< stages the target does not need are planned too, for their errors and checks
  Linter linter;                     ///< takes what the build checks find
  ArgumentUse* arguments = nullptr;  ///< filled in where set
  const IgnorePatterns* ignore = nullptr;  ///< the context's .dockerignore, for checks
};

struct BaseImage {
  Reference reference;
  image::Platform platform;
};

/// The config of a base image (never called for scratch). May be called several times for the same image.
using ResolveBase = std::function<Result<image::ImageConfig>(const Reference&, const image::Platform&)>;

/// The images the target surely needs, each once: FROM, COPY --from=image, RUN --mount=from=image. For resolving them
/// concurrently before plan_build. ONBUILD triggers of a base may ask for more.
Result<std::vector<BaseImage>> base_images(const Dockerfile& dockerfile, const PlanOptions& options);

/// The graph of what the target needs. Errors carry "Dockerfile:LINE".
Result<Plan> plan_build(const Dockerfile& dockerfile, const PlanOptions& options, const ResolveBase& resolve);

}  // namespace dray::builder
