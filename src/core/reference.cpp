// SPDX-License-Identifier: Apache-2.0
// The grammar of distribution/reference, by hand: small, linear, and with an error for each rule.
#include <dray/core/reference.hpp>

namespace dray {
namespace {

constexpr std::size_t kMaxRepositoryLength = 255;

bool is_lower_alnum(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool is_alnum(char c) { return is_lower_alnum(c) || (c >= 'A' && c <= 'Z'); }

Failure invalid(std::string_view name, std::string_view why) {
  return fail(ErrorCode::invalid_argument,
              "invalid reference format: \"" + std::string(name.substr(0, 300)) + "\": " + std::string(why));
}

// path-component := [a-z0-9]+ ((\.|_|__|-+) [a-z0-9]+)*
bool is_path_component(std::string_view part) {
  if (part.empty() || !is_lower_alnum(part.front()) || !is_lower_alnum(part.back())) return false;
  for (std::size_t i = 0; i < part.size();) {
    if (is_lower_alnum(part[i])) {
      ++i;
      continue;
    }
    std::size_t run = part.find_first_not_of(part[i], i);
    std::size_t length = run - i;
    bool good = (part[i] == '-') || (part[i] == '.' && length == 1) || (part[i] == '_' && length <= 2);
    if (!good || !is_lower_alnum(part[run])) return false;
    i = run;
  }
  return true;
}

// domain-component := [a-zA-Z0-9] | [a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9], joined by dots; or [ipv6]; optional :port
bool is_domain(std::string_view text) {
  if (!text.empty() && text.front() == '[') {
    auto close = text.find(']');
    if (close == std::string_view::npos || close < 3) return false;
    for (char c : text.substr(1, close - 1))
      if (std::string_view("0123456789abcdefABCDEF:").find(c) == std::string_view::npos) return false;
    text.remove_prefix(close + 1);
    if (text.empty()) return true;
    if (text.front() != ':') return false;
  } else {
    auto colon = text.find(':');
    std::string_view host = text.substr(0, colon);
    for (std::size_t start = 0; start <= host.size();) {
      std::size_t end = std::min(host.find('.', start), host.size());
      std::string_view label = host.substr(start, end - start);
      if (label.empty() || !is_alnum(label.front()) || !is_alnum(label.back())) return false;
      for (char c : label)
        if (!is_alnum(c) && c != '-') return false;
      start = end + 1;
    }
    if (colon == std::string_view::npos) return true;
    text.remove_prefix(colon);
  }
  std::string_view port = text.substr(1);
  return !port.empty() && port.find_first_not_of("0123456789") == std::string_view::npos;
}

bool is_tag(std::string_view tag) {
  if (tag.empty() || tag.size() > 128 || tag.front() == '.' || tag.front() == '-') return false;
  for (char c : tag)
    if (!is_alnum(c) && c != '_' && c != '.' && c != '-') return false;
  return true;
}

bool is_hex_id(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace

Result<Reference> Reference::parse(std::string_view name) {
  if (name.empty()) return invalid(name, "a name is missing");
  if (is_hex_id(name)) return invalid(name, "cannot be 64 hexadecimal digits (that is an ID)");
  Reference result;
  std::string_view rest = name;
  if (auto at = rest.find('@'); at != std::string_view::npos) {
    result.digest_ = TRY_CTX(Digest::parse(rest.substr(at + 1)), "invalid reference format");
    rest = rest.substr(0, at);
  }
  auto slash = rest.rfind('/');
  auto colon = rest.rfind(':');
  if (colon != std::string_view::npos && (slash == std::string_view::npos || colon > slash)) {
    std::string_view tag = rest.substr(colon + 1);
    if (!is_tag(tag)) return invalid(name, "the tag \"" + std::string(tag.substr(0, 140)) + "\" is not valid");
    result.tag_ = tag;
    rest = rest.substr(0, colon);
  }
  // The first component is a domain if it could not be a path component of Docker Hub: it has a dot, a colon or an
  // upper-case letter, or is "localhost".
  auto first_slash = rest.find('/');
  std::string_view first = rest.substr(0, first_slash);
  bool has_domain = first_slash != std::string_view::npos &&
                    (first.find_first_of(".:[") != std::string_view::npos || first == "localhost" ||
                     std::any_of(first.begin(), first.end(), [](char c) { return c >= 'A' && c <= 'Z'; }));
  if (has_domain) {
    if (!is_domain(first)) return invalid(name, "the registry \"" + std::string(first) + "\" is not a valid host");
    result.domain_ = first == "index.docker.io" ? "docker.io" : std::string(first);
    rest.remove_prefix(first_slash + 1);
  } else {
    result.domain_ = "docker.io";
  }
  if (result.domain_ == "docker.io" && rest.find('/') == std::string_view::npos) result.repository_ = "library/";
  result.repository_ += rest;
  if (result.repository_.size() + result.domain_.size() > kMaxRepositoryLength)
    return invalid(name, "the name is longer than 255 characters");
  for (std::size_t start = 0; start <= rest.size();) {
    std::size_t end = std::min(rest.find('/', start), rest.size());
    std::string_view part = rest.substr(start, end - start);
    if (!is_path_component(part)) {
      bool upper = std::any_of(part.begin(), part.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
      return invalid(name, upper ? "repository name must be lowercase"
                                 : "the part \"" + std::string(part) + "\" of the name is not valid");
    }
    start = end + 1;
  }
  if (result.tag_.empty() && !result.digest_) result.tag_ = "latest";
  return result;
}

std::string Reference::canonical() const {
  std::string text = domain_ + "/" + repository_;
  if (!tag_.empty()) text += ":" + tag_;
  if (digest_) text += "@" + digest_->to_string();
  return text;
}

std::string Reference::familiar_name() const {
  if (domain_ != "docker.io") return domain_ + "/" + repository_;
  return repository_.starts_with("library/") ? repository_.substr(8) : repository_;
}

std::string Reference::familiar() const {
  std::string text = familiar_name();
  if (!tag_.empty()) text += ":" + tag_;
  if (digest_) text += "@" + digest_->to_string();
  return text;
}

std::string Reference::tag_or_digest() const { return digest_ ? digest_->to_string() : tag_; }

Reference Reference::with_digest(Digest digest) const {
  Reference copy = *this;
  copy.digest_ = std::move(digest);
  return copy;
}

}  // namespace dray
