// SPDX-License-Identifier: Apache-2.0
// The word expander in all its modes.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "dockerfile/run_flags.hpp"
#include "dockerfile/shell_lex.hpp"

using namespace dray;
using namespace dray::builder;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const Lookup lookup = [](std::string_view name) -> std::optional<std::string> {
    if (name == "x") return "a/b.c/a?c*\n\xc3\xa9";
    if (name == "y") return "";
    return std::nullopt;
  };
  for (unsigned mode = 0; mode < 32; ++mode) {
    ShellLex lex((mode & 16u) != 0 ? '`' : '\\');
    lex.raw_quotes = (mode & 1u) != 0;
    lex.raw_escapes = (mode & 2u) != 0;
    lex.skip_quotes = (mode & 4u) != 0;
    lex.skip_unset = (mode & 8u) != 0;
    const auto result = lex.expand(text, lookup);
    if (!result) continue;
    if (result->text.size() > (1u << 21)) {
      std::fprintf(stderr, "broken: an expansion without a limit\n");
      std::abort();
    }
  }
  const ExpandWord expand = [&](const std::string& word) { return ShellLex().word(word, lookup); };
  static_cast<void>(parse_mount(text, expand));
  static_cast<void>(mount_source(text));
  static_cast<void>(parse_device(text));
  return 0;
}
