// SPDX-License-Identifier: Apache-2.0
#include "build_registry.hpp"

#include "registry_process.hpp"

namespace dray::engine {

Result<void> BuildRegistry::push(const image::Descriptor& document, const Reference& reference,
                                 builder::RegistryTrust trust, ProgressSink& progress, const CancelToken& cancel) {
  return push_document(context_, document, reference, trust.insecure, progress, cancel);
}

Result<image::Descriptor> BuildRegistry::fetch_document(const Reference& reference, builder::RegistryTrust trust,
                                                        ProgressSink& progress, const CancelToken& cancel) {
  std::vector<std::string> arguments;
  if (trust.insecure) arguments = {"--insecure-registry", reference.domain()};
  const HelperResult result =
      TRY(run_registry_helper(context_, "fetch-document", reference, arguments, progress, cancel));
  image::Descriptor document;
  document.digest = TRY(Digest::parse(result.digest));
  document.media_type = result.media_type;
  document.size = result.size;
  return document;
}

Result<void> BuildRegistry::fetch_layer(const image::Descriptor& layer, const DiffId& diff_id,
                                        const Reference& reference, builder::RegistryTrust trust,
                                        ProgressSink& progress, const CancelToken& cancel) {
  std::vector<std::string> arguments = {
      "--digest", layer.digest.to_string(),   "--media-type", layer.media_type,
      "--size",   std::to_string(layer.size), "--diff-id",    diff_id.digest.to_string()};
  if (trust.insecure) arguments.insert(arguments.end(), {"--insecure-registry", reference.domain()});
  TRY(run_registry_helper(context_, "fetch-layer", reference, arguments, progress, cancel));
  return {};
}

}  // namespace dray::engine
