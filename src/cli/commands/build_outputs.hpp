// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dray/builder/builder.hpp>
#include <dray/flags/flags.hpp>

namespace dray::cli {

/// The flags of `build` that say what is made of the result, and where caches are.
struct OutputFlags {
  std::vector<std::string> outputs, cache_from, cache_to, attestations, annotations, platforms;
  std::optional<std::string> provenance, sbom;
  bool push = false, load = false;

  void declare(Flags& flags, builder::BuildRequest& request);
  /// After parsing: fills the request. Errors name the flag.
  Result<void> apply(builder::BuildRequest& request) const;
};

/// Whether an output goes to standard output, which then has room for nothing else.
bool writes_to_stdout(const builder::BuildRequest& request);

}  // namespace dray::cli
