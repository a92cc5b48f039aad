// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "dockerfile/instruction.hpp"
#include "dockerfile/text.hpp"

// How BuildKit writes things down in an image's history and in progress titles: Go's %q, %v and Duration.

namespace dray::builder {

std::string go_quote_list(const std::vector<std::string>& list);  ///< %q: ["a" "b"]
std::string go_list(const std::vector<std::string>& list);        ///< %v: [a b]
std::string health_text(const HealthcheckInstruction& health);    ///< %+v
std::string summarize_heredoc(std::string_view content);          ///< its first line
std::string join(const std::vector<std::string>& list, std::string_view separator);

}  // namespace dray::builder
