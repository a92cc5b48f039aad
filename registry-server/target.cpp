// SPDX-License-Identifier: Apache-2.0
#include "target.hpp"

#include <algorithm>
#include <charconv>

namespace dray::registry_server {
namespace {

constexpr std::string_view kUpper = "0123456789ABCDEF";

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<std::vector<std::string>> segments_of(std::string_view path) {
  std::vector<std::string> segments;
  for (;;) {
    const std::size_t slash = path.find('/');
    auto segment = percent_decode(path.substr(0, slash));
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
    auto key = percent_decode(pair.substr(0, equals));
    auto value = percent_decode(pair.substr(std::min(equals + 1, pair.size())));
    if (!key || !value) return false;
    target.query.emplace_back(*std::move(key), *std::move(value));
  }
  return true;
}

}  // namespace

std::optional<std::string> percent_decode(std::string_view text) {
  std::string decoded;
  decoded.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      if (i + 2 >= text.size()) return std::nullopt;
      const int high = hex_value(text[i + 1]), low = hex_value(text[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      c = static_cast<char>(high * 16 + low);
      i += 2;
    }
    if (c == '\0') return std::nullopt;
    decoded += c;
  }
  return decoded;
}

std::string percent_encode(std::string_view text) {
  std::string encoded;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-._~:").find(c) != std::string_view::npos;
    const auto byte = static_cast<unsigned char>(c);
    if (plain) {
      encoded += c;
    } else {
      encoded += '%';
      encoded += kUpper[byte >> 4];
      encoded += kUpper[byte & 15];
    }
  }
  return encoded;
}

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
  return "<" + std::string(path) + separator + "n=" + std::to_string(count) + "&last=" + percent_encode(last) +
         ">; rel=\"next\"";
}

}  // namespace dray::registry_server
