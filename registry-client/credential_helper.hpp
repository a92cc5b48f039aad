// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <dray/core/result.hpp>

#include "credentials.hpp"

// Docker's protocol of credential helpers: docker-credential-NAME get|store|erase.

namespace dray::registry {

/// Anonymous if the helper has nothing for this server.
Result<Credentials> get_from_helper(const std::string& name, const std::string& server, const Stop& stop);
Result<void> store_in_helper(const std::string& name, const std::string& server, const Credentials& credentials,
                             const Stop& stop);
Result<void> erase_from_helper(const std::string& name, const std::string& server, const Stop& stop);

}  // namespace dray::registry
