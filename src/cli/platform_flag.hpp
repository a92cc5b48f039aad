// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <dray/image/image.hpp>

namespace dray::cli {

/// What --platform says; nullopt where it is not given ("").
Result<std::optional<image::Platform>> parse_platform(const std::string& text);
/// The same for commands that choose among images to come: without the flag, DOCKER_DEFAULT_PLATFORM.
Result<std::optional<image::Platform>> parse_platform_or_default(const std::string& text);
/// Of a flag that may be repeated, and takes several with commas between them.
Result<std::vector<image::Platform>> parse_platforms(const std::vector<std::string>& texts);

}  // namespace dray::cli
