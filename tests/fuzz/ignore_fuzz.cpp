// SPDX-License-Identifier: Apache-2.0
// .dockerignore: any text, against paths of which some are made of the text itself.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "context/ignore.hpp"

using namespace dray::builder;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto patterns = IgnorePatterns::parse(text);
  if (!patterns) return 0;
  std::string own(text.substr(0, 200));
  for (const std::string& path : {std::string("a"), std::string("src/main.c"), std::string("build/x/y.o"), own}) {
    const bool excluded = patterns->excluded(path);
    // What is below an excluded path is excluded too, unless an exception may take it back.
    if (excluded && !patterns->may_reinclude(path) && !patterns->excluded(path + "/below")) {
      std::fprintf(stderr, "broken: below an excluded path\n");
      std::abort();
    }
  }
  return 0;
}
