// SPDX-License-Identifier: Apache-2.0
#include "platform_flag.hpp"

#include <cstdlib>

#include <dray/core/text.hpp>

namespace dray::cli {

Result<std::optional<image::Platform>> parse_platform(const std::string& text) {
  if (text.empty()) return std::nullopt;
  return TRY(image::Platform::parse(text));
}

Result<std::optional<image::Platform>> parse_platform_or_default(const std::string& text) {
  const char* standard = std::getenv("DOCKER_DEFAULT_PLATFORM");
  if (!text.empty() || standard == nullptr) return parse_platform(text);
  return TRY_CTX(parse_platform(standard), "DOCKER_DEFAULT_PLATFORM");
}

Result<std::vector<image::Platform>> parse_platforms(const std::vector<std::string>& texts) {
  std::vector<image::Platform> platforms;
  for (const std::string& text : texts)
    for (const std::string& one : split(text, ',')) platforms.push_back(TRY(image::Platform::parse(one)));
  return platforms;
}

}  // namespace dray::cli
