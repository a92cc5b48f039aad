// SPDX-License-Identifier: Apache-2.0
// A Dockerfile from its text to the graph and both documents of `dray builder`.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include <dray/builder/inspect.hpp>

#include "dockerfile/dockerfile.hpp"
#include "plan/planner.hpp"

using namespace dray;
using namespace dray::builder;

namespace {

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

Result<image::ImageConfig> base(const Reference& reference, const image::Platform&) {
  image::ImageConfig config;
  config.config.env = {"A=b", "PATH=/bin"};
  config.config.working_dir = "base";
  config.config.on_build = {"RUN --mount=type=cache,target=/c x", "COPY --from=other a b"};
  if (reference.tag() == "latest") config.config.on_build.clear();
  return config;
}

/// What the solver relies on.
void check_plan(const Plan& plan) {
  require(plan.result >= 0 && static_cast<std::size_t>(plan.result) < plan.vertices.size(), "no result");
  for (std::size_t i = 0; i < plan.vertices.size(); ++i) {
    const Vertex& vertex = plan.vertices[i];
    require(vertex.id == static_cast<int>(i), "a vertex has another's number");
    for (const int input : vertex.inputs) require(input >= 0 && input < vertex.id, "an input after its user");
    if (const auto* copy = std::get_if<CopyOp>(&vertex.op)) {
      require(copy->destination.starts_with('/'), "a destination that is relative");
      require(copy->paths.empty() || vertex.inputs.size() > 1, "paths of nothing");
      require(copy->path_inputs.empty() || copy->path_inputs.size() == copy->paths.size(), "paths without inputs");
      for (const std::string& path : copy->paths)
        require(path.starts_with('/') && !path.contains("/../"), "a path that leaves its source");
    }
    const auto* run = std::get_if<RunOp>(&vertex.op);
    if (run == nullptr) continue;
    require(!run->args.empty() && !vertex.inputs.empty(), "nothing to run");
    for (const RunMount& mount : run->mounts) {
      require(mount.input < static_cast<int>(vertex.inputs.size()), "a mount of no input");
      require(mount.target.starts_with('/') || !mount.env.empty(), "a mount that is nowhere");
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  InspectRequest request;
  request.text.assign(reinterpret_cast<const char*>(data), size);
  request.build_args = {{"V", "2"}, {"HTTP_PROXY", "p"}};
  const Inspection inspection = inspect_dockerfile(request, base);
  require(!inspection.json.empty(), "no document");
  if (inspection.error) {
    require(!inspection.error->message().empty(), "an error without a message");
    static_cast<void>(dockerfile_excerpt(request.text, *inspection.error, request.file));
  }
  static_cast<void>(dockerfile_ast(request.text, request.file));
  const auto dockerfile = parse_dockerfile(request.text);
  if (!dockerfile) return 0;
  PlanOptions options;
  options.named_contexts = {{"busybox", {ContextSource::Kind::directory, ""}},
                            {"build", {ContextSource::Kind::image, "alpine"}}};
  if (const auto plan = plan_build(*dockerfile, options, base)) check_plan(*plan);
  return 0;
}
