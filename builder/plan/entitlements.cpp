// SPDX-License-Identifier: Apache-2.0
#include "plan/entitlements.hpp"

#include <algorithm>

namespace dray::builder {
namespace {

Result<void> check_entitlement(const BuildRequest& request, const Vertex& vertex, const std::string& name,
                               const std::string& what) {
  for (const std::string& allowed : request.allowed)
    if (allowed == name) return {};
  return Failure(Error(ErrorCode::permission_denied, what + " is not allowed")
                     .with_hint("grant the entitlement: --allow " + name)
                     .with_location(vertex.location.to_string()));
}

}  // namespace

Result<void> check_entitlements(const BuildRequest& request, const Plan& plan) {
  for (const Vertex& vertex : plan.vertices) {
    const auto* run = std::get_if<RunOp>(&vertex.op);
    if (run == nullptr) continue;
    if (run->insecure) TRY(check_entitlement(request, vertex, "security.insecure", "RUN --security=insecure"));
    if (run->network == "host" && request.network != "host")
      TRY(check_entitlement(request, vertex, "network.host", "RUN --network=host"));
    for (const std::string& device : run->devices) {
      const bool named =
          std::find(request.allowed.begin(), request.allowed.end(), "device=" + device) != request.allowed.end();
      if (!named) TRY(check_entitlement(request, vertex, "device", "RUN --device=" + device));
    }
  }
  return {};
}

}  // namespace dray::builder
