// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include <dray/builder/builder.hpp>
#include <dray/engine/engine.hpp>

namespace dray::engine {

/// Images of OCI layouts that a build's contexts name (--build-context NAME=oci-layout://PATH[:TAG]), in the store
/// under names of their own as long as this object lives.
class LayoutContexts {
 public:
  explicit LayoutContexts(Context& context) : context_(context) {}
  LayoutContexts(const LayoutContexts&) = delete;
  LayoutContexts& operator=(const LayoutContexts&) = delete;
  ~LayoutContexts();

  /// The request with docker-image:// in their place.
  Result<builder::BuildRequest> bring_in(const builder::BuildRequest& request, const CancelToken& cancel);

  static bool is_own(const Reference& name);

 private:
  Context& context_;
  std::vector<Reference> names_;
};

}  // namespace dray::engine
