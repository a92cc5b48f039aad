// SPDX-License-Identifier: Apache-2.0
// Opens what every function of this part needs. Nothing is repaired here: each command cleans what it touches.
#include <unistd.h>

#include <dray/engine/engine.hpp>

#include <dray/runtime/launch.hpp>

#include "container_state.hpp"

namespace dray::engine {

namespace {

Result<Context> open_folders(Configuration configuration) {
  Context context;
  context.configuration = std::move(configuration);
  TRY(make_directories(context.configuration.root, 0711));
  TRY(make_directories(context.configuration.state, 0711));
  runtime::set_seccomp_cache_directory(context.configuration.state);
  context.store = TRY(store::Store::open(context.configuration.root, context.configuration.storage_driver));
  TRY(create_tables(context));
  return context;
}

}  // namespace

Result<Context> open(Configuration configuration) {
  auto context = open_folders(std::move(configuration));
  if (context || ::geteuid() == 0) return context;
  // The folders of an ordinary user's own would open, and fail at the first mount.
  return Failure(std::move(context).error().with_hint("run dray as root: rootless use is not supported yet"));
}

}  // namespace dray::engine
