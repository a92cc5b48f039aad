// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dray/builder/builder.hpp>
#include <dray/engine/engine.hpp>

namespace dray::engine {

/// The builder's registries: dray-registry, once for each thing that is asked.
class BuildRegistry : public builder::Registry {
 public:
  explicit BuildRegistry(const Context& context) : context_(context) {}
  Result<void> push(const image::Descriptor& document, const Reference& reference, builder::RegistryTrust trust,
                    ProgressSink& progress, const CancelToken& cancel) override;
  Result<image::Descriptor> fetch_document(const Reference& reference, builder::RegistryTrust trust,
                                           ProgressSink& progress, const CancelToken& cancel) override;
  Result<void> fetch_layer(const image::Descriptor& layer, const DiffId& diff_id, const Reference& reference,
                           builder::RegistryTrust trust, ProgressSink& progress, const CancelToken& cancel) override;

 private:
  const Context& context_;
};

}  // namespace dray::engine
