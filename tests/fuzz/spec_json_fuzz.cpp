// SPDX-License-Identifier: Apache-2.0
// config.json, process and resources objects, seccomp profiles down to the BPF program, capability names.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include <dray/runtime/spec_json.hpp>

#include "capability_number.hpp"
#include "seccomp_filter.hpp"

using namespace dray;
using namespace dray::runtime;

namespace {

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

void check_spec(std::string_view text) {
  auto spec = parse_spec(text);
  if (!spec) {
    require(!spec.error().message().empty(), "an error without a message");
    return;
  }
  static_cast<void>(validate_spec(*spec));
  const std::string written = format_spec(*spec);
  auto again = parse_spec(written);
  require(again.has_value(), "what format_spec() writes is not read");
  require(format_spec(*again) == written, "format_spec() does not round-trip");
  require(validate_spec(*again).has_value() == validate_spec(*spec).has_value(), "validity does not round-trip");
  if (spec->seccomp && check_seccomp(*spec->seccomp)) static_cast<void>(compile_seccomp_uncached(*spec->seccomp));
}

void check_capabilities(std::string_view text) {
  std::vector<std::string> names;
  while (!text.empty() && names.size() < 64) {
    std::size_t end = text.find('"');
    names.emplace_back(text.substr(0, end));
    static_cast<void>(capability_number(names.back()));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  auto adjusted = adjust_capabilities(default_capabilities(), names, {});
  if (!adjusted) return;
  for (const std::string& name : *adjusted) require(capability_number(name).has_value(), "an unknown capability");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  check_spec(text);
  static_cast<void>(parse_process(text));
  static_cast<void>(parse_resources(text));
  // A profile that parse_seccomp() takes may still be one that libseccomp refuses, but never a crash.
  if (auto profile = parse_seccomp(text, default_capabilities())) {
    auto program = compile_seccomp_uncached(*profile);
    require(!program || !program->empty(), "an empty filter");
  }
  check_capabilities(text);
  return 0;
}
