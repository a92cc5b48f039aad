// SPDX-License-Identifier: Apache-2.0
// Bake and compose files: YAML, interpolation, matrices, inheritance. Whatever is planned, is printed and planned again
// the same.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "commands/bake_definition.hpp"

using namespace dray;
using namespace dray::cli;

namespace {

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

Result<BakePlan> plan(const char* name, std::string text) {
  BakeOptions options;
  options.files = {{name, std::move(text)}};
  options.environment = [](const std::string& variable) -> std::optional<std::string> {
    if (variable == "A") return "1 ${B} $$";
    return std::nullopt;
  };
  return plan_bake(options);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  for (const char* name : {"compose.yaml", "docker-bake.json", "docker-bake.hcl"}) {
    const auto first = plan(name, text);
    if (!first) {
      require(!first.error().message().empty(), "an error without a message");
      continue;
    }
    const auto again = plan(name, text);
    require(again.has_value() && again->printed == first->printed, "the same file, another plan");
  }
  return 0;
}
