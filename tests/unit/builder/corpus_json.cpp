// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include "corpus.hpp"

nlohmann::json corpus::json(const std::string& path) { return nlohmann::json::parse(read(root() / path)); }
