// SPDX-License-Identifier: Apache-2.0
#include "target.hpp"

#include <algorithm>
#include <charconv>

#include <dray/core/percent.hpp>

namespace dray::registry_server {
namespace {

/// nullopt for a broken escape or a NUL.
std::optional<std::string> decoded(std::string_view text) {
  auto result = percent_decode(text);
  if (!result || result->find('\0') != std::string::npos) return std::nullopt;
  return *std::move(result);
}

std::optional<std::vector<std::string>> segments_of(std::string_view path) {
  std::vector<std::string> segments;
  for (;;) {
    const std::size_t slash = path.find('/');
    auto segment = decoded(path.substr(0, slash));
    if (!segment) return std::nullopt;
    segments.push_back(*std::move(segment));
    if (slash == std::string_view::npos) return segments;
    path.remove_prefix(slash + 1);
  }
}

std::string join(const std::vector<std::string>& segments, std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += (i == 0 ? "" : "/") + segments[i];
  return text;
}

// A "+" stays one: clients don't always escape that of "application/x+json", and no value of ours has a space.
bool parse_query(std::string_view text, Target& target) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('&'), text.size());
    const std::string_view pair = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (pair.empty()) continue;
    const std::size_t equals = std::min(pair.find('='), pair.size());
    auto key = decoded(pair.substr(0, equals));
    auto value = decoded(pair.substr(std::min(equals + 1, pair.size())));
    if (!key || !value) return false;
    target.query.emplace_back(*std::move(key), *std::move(value));
  }
  return true;
}

}  // namespace

const std::string* Target::parameter(std::string_view key) const {
  const auto found = std::ranges::find(query, key, &std::pair<std::string, std::string>::first);
  return found == query.end() ? nullptr : &found->second;
}

// Read from its end: "manifests" and "blobs" may stand in a repository's name, too.
std::optional<Target> parse_target(std::string_view text) {
  Target target;
  const std::size_t question = std::min(text.find('?'), text.size());
  if (question < text.size() && !parse_query(text.substr(question + 1), target)) return std::nullopt;
  std::string_view path = text.substr(0, question);
  if (path == "/v2" || path == "/v2/") {
    target.route = Route::version;
    return target;
  }
  if (!path.starts_with("/v2/")) return target;
  const auto segments = segments_of(path.substr(4));
  if (!segments) return std::nullopt;
  const std::size_t count = segments->size();
  if (count == 1 && segments->front() == "_catalog") {
    target.route = Route::catalog;
    return target;
  }
  const auto from_end = [&](std::size_t i) {
    return i < count ? std::string_view((*segments)[count - 1 - i]) : std::string_view();
  };
  const auto found = [&](Route route, std::size_t suffix, std::string_view reference) {
    target.route = route;
    target.name = join(*segments, count - suffix);
    target.reference = reference;
    return target;
  };
  if (count > 3 && from_end(2) == "blobs" && from_end(1) == "uploads")
    return from_end(0).empty() ? found(Route::upload_start, 3, "") : found(Route::upload, 3, from_end(0));
  if (count < 3) return target;
  if (from_end(1) == "blobs" && from_end(0) == "uploads") return found(Route::upload_start, 2, "");
  if (from_end(1) == "blobs") return found(Route::blob, 2, from_end(0));
  if (from_end(1) == "manifests") return found(Route::manifest, 2, from_end(0));
  if (from_end(1) == "referrers") return found(Route::referrers, 2, from_end(0));
  if (from_end(1) == "tags" && from_end(0) == "list") return found(Route::tags, 2, "");
  return target;
}

std::optional<Page> parse_page(const Target& target, std::size_t most) {
  Page page{most, {}};
  if (const std::string* last = target.parameter("last")) page.after = *last;
  if (const std::string* count = target.parameter("n")) {
    const char* end = count->data() + count->size();
    const auto [rest, error] = std::from_chars(count->data(), end, page.count);
    if (error == std::errc::result_out_of_range) {
      page.count = most;
    } else if (error != std::errc() || rest != end) {
      return std::nullopt;
    }
    page.count = std::min(page.count, most);
  }
  return page;
}

std::string next_link(std::string_view path, std::size_t count, std::string_view last) {
  const char separator = path.find('?') == std::string_view::npos ? '?' : '&';
  return "<" + std::string(path) + separator + "n=" + std::to_string(count) + "&last=" + percent_encode(last, ":") +
         ">; rel=\"next\"";
}

}  // namespace dray::registry_server
