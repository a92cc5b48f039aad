// SPDX-License-Identifier: Apache-2.0
// Manifests, indexes, image configs, references: whatever is read is written and read again to the same bytes.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include <dray/core/reference.hpp>
#include <dray/image/image.hpp>

using namespace dray;

namespace {

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

template <typename Parse>
void check(std::string_view text, Parse parse) {
  auto value = parse(text);
  if (!value) {
    require(!value.error().message().empty(), "an error without a message");
    return;
  }
  const std::string written = image::serialize(*value);
  auto again = parse(written);
  require(again.has_value(), "what serialize() writes is not read");
  require(image::serialize(*again) == written, "serialize() does not round-trip");
}

void check_reference(std::string_view text) {
  const auto reference = Reference::parse(std::string(text));
  if (!reference) return;
  for (const std::string& form : {reference->canonical(), reference->familiar()}) {
    const auto again = Reference::parse(form);
    require(again.has_value(), "a reference's own form is not read");
    require(*again == *reference, "a reference does not round-trip");
  }
  // It becomes part of a URL.
  require(reference->repository().find("..") == std::string::npos, "a repository that leads upwards");
  for (const char c : reference->repository() + reference->tag())
    require(static_cast<unsigned char>(c) > ' ' && c != '?' && c != '#' && c != '%', "a character that changes a URL");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  check(text, [](std::string_view bytes) { return image::parse_manifest(bytes); });
  check(text, [](std::string_view bytes) { return image::parse_config(bytes); });
  check(text, [](std::string_view bytes) { return image::parse_index(bytes); });
  if (const auto index = image::parse_index(text))
    static_cast<void>(image::select_platform(*index, image::Platform::host()));
  check_reference(text);
  return 0;
}
