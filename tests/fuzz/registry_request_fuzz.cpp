// SPDX-License-Identifier: Apache-2.0
// What a stranger sends to the embedded registry: a line with the target, one with a Range and Content-Range, one with
// an Authorization, the rest a manifest.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include <dray/core/percent.hpp>

#include "documents_json.hpp"
#include "htpasswd.hpp"
#include "names.hpp"
#include "ranges.hpp"
#include "target.hpp"

using namespace dray;
using namespace dray::registry_server;

namespace {

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

std::string_view take_line(std::string_view& text) {
  const std::size_t end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

void check_target(std::string_view text) {
  const auto target = parse_target(text);
  if (!target) return;
  for (const std::string& name : {target->name, target->reference}) {
    require(percent_decode(percent_encode(name)) == name, "escapes do not round-trip");
    if (!is_repository_name(name) && !is_tag(name)) continue;
    require(name.size() <= 255 && name != ".." && name.find("../") == name.npos && name.front() != '/',
            "a name that leads elsewhere");
  }
  if (const auto page = parse_page(*target, 100)) require(page->count <= 100, "a page larger than the most");
}

void check_ranges(std::string_view text) {
  for (const std::uint64_t total : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{100}, UINT64_MAX}) {
    const RangeAnswer answer = parse_range(text, total);
    if (answer.kind != RangeAnswer::Kind::partial) continue;
    require(answer.slice.size > 0 && answer.slice.first < total && answer.slice.size <= total - answer.slice.first,
            "a range beyond the blob");
  }
  if (const auto slice = parse_chunk_range(text)) require(slice->size > 0, "an empty chunk");
}

void check_manifest(std::string_view text) {
  const auto facts = read_manifest(text, "");
  if (!facts) {
    require(!facts.error().message().empty(), "an error without a message");
    require(!error_document("MANIFEST_INVALID", facts.error().message()).empty(), "no error document");
    return;
  }
  require(read_manifest(text, facts->media_type).has_value(), "not read as the type it was found to be");
  require(facts->blobs.empty() || facts->manifests.empty(), "both a manifest and an index");
  Referrer referrer{facts->media_type, "sha256:x", facts->artifact_type, facts->annotations, 1};
  require(read_manifest(referrers_document({}), "").has_value(), "the list of referrers is no index");
  require(referrers_document({referrer}).size() > 10, "no list of referrers");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto users = Htpasswd::parse("u:$2y$04$abcdefghijklmnopqrstuuP0bV6aUHwF4kP2n9s3Qe8mXG5WZ1y2C\n");
  std::string_view text(reinterpret_cast<const char*>(data), size);
  check_target(take_line(text));
  check_ranges(take_line(text));
  require(users->user_of(take_line(text)).empty(), "somebody came in");
  check_manifest(text);
  return 0;
}
