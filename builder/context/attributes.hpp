// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include <dray/core/fd.hpp>

namespace dray::builder {

/// Those of an open file's extended attributes whose names are wanted; what cannot be read is left out.
std::map<std::string, std::string> read_xattrs(FdRef file, const std::function<bool(std::string_view)>& is_wanted);
/// The extended attributes of an open file that COPY takes along, sorted: file capabilities and, of a stage's files,
/// user.*: those of the user's own directory would be news of his machine.
std::map<std::string, std::string> copied_attributes(FdRef file, bool is_context);

}  // namespace dray::builder
