// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "lint/linter.hpp"

namespace dray::builder {

/// The lines of the instruction that begins at (or goes over) `line`.
LineRange instruction_lines(std::string_view dockerfile, int line);

/// The line of an error's location "FILE:LINE"; 0: none, or in another file.
int error_line(const Error& error, const std::string& file);

}  // namespace dray::builder
