// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dray/runtime/spec.hpp>

namespace dray::runtime {

/// validate_spec()'s half for the "linux" object.
Result<void> validate_linux(const Spec& spec);

/// "path: what", the form of all errors about a config.json.
inline Failure invalid(const std::string& path, const std::string& what) {
  return fail(ErrorCode::invalid_argument, path + ": " + what);
}
inline std::string indexed(const char* name, std::size_t index) {
  return std::string(name) + "[" + std::to_string(index) + "]";
}

}  // namespace dray::runtime
