// SPDX-License-Identifier: Apache-2.0
#include "../command.hpp"

namespace dray::cli {

int command_version(Invocation&) {
  print("Dray version " DRAY_VERSION "\n");
  return 0;
}

}  // namespace dray::cli
