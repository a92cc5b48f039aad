// SPDX-License-Identifier: Apache-2.0
// Opens what every function of this part needs. Nothing is repaired here: each command cleans what it touches.
#include <dray/engine/engine.hpp>

#include <dray/runtime/launch.hpp>

#include "container_state.hpp"

namespace dray::engine {

Result<Context> open(Configuration configuration) {
  Context context;
  context.configuration = std::move(configuration);
  TRY(make_directories(context.configuration.root, 0711));
  TRY(make_directories(context.configuration.state, 0711));
  runtime::set_seccomp_cache_directory(context.configuration.state);
  context.store = TRY(store::Store::open(context.configuration.root));
  TRY(create_tables(context));
  return context;
}

}  // namespace dray::engine
