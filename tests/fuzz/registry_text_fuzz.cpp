// SPDX-License-Identifier: Apache-2.0
// What a registry or a user's file says to the client: WWW-Authenticate, error bodies, tokens, config.json, Location
// and Link headers, index.json of a layout, manifest.json of an archive.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "challenge.hpp"
#include "listing.hpp"
#include "registry_json.hpp"
#include "transport_json.hpp"
#include "url.hpp"

using namespace dray;
using namespace dray::registry;

namespace {

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

bool is_header_text(std::string_view text) {
  for (const char c : text)
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') return false;
  return true;
}

void check_location(const std::string& text) {
  const auto location = resolve_location("https://registry.example:5000/v2/x/blobs/uploads/", text);
  if (!location) return;
  const auto origin = parse_origin(*location);
  require(origin.has_value(), "a Location without an origin");
  require(origin->scheme == "https", "a Location that leaves TLS");
  require(is_header_text(*location), "a Location with control characters");
}

void check_layout(std::string_view text) {
  image::Descriptor entry;
  entry.media_type = image::kOciManifest;
  entry.digest = Digest::of(text);
  entry.size = text.size();
  for (const std::string name : {"", "tag"}) {
    auto once = add_to_layout(text, entry, name);
    if (!once) continue;
    auto twice = add_to_layout(*once, entry, name);
    require(twice && *twice == *once, "adding an entry twice changes the layout");
  }
  auto listed = add_referrer(text, text, entry);
  if (!listed) return;
  auto again = add_referrer(*listed, text, entry);
  require(again && *again == *listed, "adding a referrer twice changes the list");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto challenges = parse_challenges({text, "Basic realm=\"x\""});
  require(challenges.size() <= 33, "more challenges than the bound");
  for (const RegistryError& error : parse_registry_errors(text)) {
    require(error.message.size() <= 500, "an error message without bound");
    require(is_header_text(error.message), "an error message with control characters");
  }
  if (const auto token = parse_token(text)) {
    require(is_header_text(token->value), "a token that would break a header");
    require(token->expires_in_seconds > 0, "a token that was never valid");
  }
  static_cast<void>(parse_docker_config(text));
  static_cast<void>(check_document(text, "application/vnd.oci.image.manifest.v1+json"));
  static_cast<void>(parse_archived(text));
  static_cast<void>(parse_names(text, "tags"));
  static_cast<void>(subject_of(text));
  check_location(text);
  check_location(next_link(text).empty() ? "/" : next_link(text));
  check_layout(text);
  return 0;
}
