// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>

#include "context/context.hpp"
#include "plan/planner.hpp"
#include "source/source_layer.hpp"

namespace dray::builder {

/// The context of a URL: a git repository's tree, or by http an archive or a lone Dockerfile.
Result<BuildContext> open_remote_context(const std::string& url, const SourceContext& sources);

/// What --build-context NAME=VALUE says: a directory, docker-image://, git, http or target:STAGE.
Result<std::map<std::string, ContextSource>> read_named_contexts(const BuildRequest& request);
/// What the request says for the plan of one platform.
PlanOptions plan_options(const BuildRequest& request, const BuildContext& context,
                         std::map<std::string, ContextSource> named_contexts, const image::Platform& platform);
/// A directory of --build-context with its own .dockerignore.
Result<BuildContext> open_named_directory(const std::string& name, const std::string& path);

}  // namespace dray::builder
