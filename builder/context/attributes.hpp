// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>

#include <dray/core/fd.hpp>

namespace dray::builder {

/// The extended attributes of an open file that COPY takes along, sorted: file capabilities and, of a stage's files,
/// user.*: those of the user's own directory would be news of his machine.
std::map<std::string, std::string> copied_attributes(FdRef file, bool is_context);

}  // namespace dray::builder
