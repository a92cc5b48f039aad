// SPDX-License-Identifier: Apache-2.0
// URL#ref:subdirectory, URL?ref=…&subdir=…, user@host:path. An http URL is a repository's only if its path ends in
// ".git"; the scheme decides otherwise.
#include "source/git_reference.hpp"

#include <algorithm>
#include <cctype>
#include <vector>

#include <dray/core/percent.hpp>
#include <dray/core/rooted_path.hpp>
#include <dray/core/text.hpp>

namespace dray::builder {
namespace {

bool is_alphanumeric(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; }

/// What follows the remote's address.
struct Options {
  std::string_view query, fragment;
};

Options cut_options(std::string_view& text) {
  Options options;
  if (const std::size_t at = text.find('#'); at != std::string_view::npos) {
    options.fragment = text.substr(at + 1);
    text = text.substr(0, at);
  }
  if (const std::size_t at = text.find('?'); at != std::string_view::npos) {
    options.query = text.substr(at + 1);
    text = text.substr(0, at);
  }
  return options;
}

Failure invalid(const std::string& key, const std::string& value) {
  return fail(ErrorCode::invalid_argument, "invalid " + key + " value: \"" + value + "\"");
}

Result<bool> to_bool(const std::string& key, const std::string& value) {
  if (const auto flag = value.empty() ? true : parse_bool(value)) return *flag;
  return invalid(key, value);
}

Result<void> set_once(std::string& field, const std::string& name, const std::string& value) {
  if (!field.empty() && field != value)
    return fail(ErrorCode::invalid_argument, name + " conflicts: \"" + field + "\" vs \"" + value + "\"");
  field = value;
  return {};
}

/// "v1" is "refs/tags/v1" when it was given as a tag.
std::string with_prefix(const std::string& prefix, const std::string& name) {
  return name.starts_with(prefix) ? name : prefix + name;
}

class QueryReader {
 public:
  explicit QueryReader(GitReference& reference) : reference_(reference) {}

  Result<void> read(std::string_view query) {
    while (!query.empty()) {
      const std::size_t end = std::min(query.find('&'), query.size());
      const std::string_view field = query.substr(0, end);
      query.remove_prefix(std::min(end + 1, query.size()));
      if (field.empty()) continue;
      if (field.find(';') != std::string_view::npos)
        return fail(ErrorCode::invalid_argument, "invalid semicolon separator in query");
      const std::size_t equals = std::min(field.find('='), field.size());
      const std::string key = TRY(percent_decode(field.substr(0, equals), {.plus_is_space = true}));
      const std::string value =
          TRY(percent_decode(field.substr(std::min(equals + 1, field.size())), {.plus_is_space = true}));
      if (std::find(seen_.begin(), seen_.end(), key) != seen_.end())
        return fail(ErrorCode::invalid_argument, "query \"" + key + "\" has multiple values");
      seen_.push_back(key);
      TRY(set(key, value));
    }
    if (!tag_.empty()) TRY(set_once(reference_.ref, "ref", with_prefix("refs/tags/", tag_)));
    if (branch_.empty()) return {};
    if (!tag_.empty()) return fail(ErrorCode::invalid_argument, "branch conflicts with tag");
    return set_once(reference_.ref, "ref", with_prefix("refs/heads/", branch_));
  }

 private:
  Result<void> set(const std::string& key, const std::string& value) {
    const bool is_flag = key == "keep-git-dir" || key == "submodules" || key == "fetch-by-commit";
    const auto known = {"ref", "tag", "branch", "subdir", "checksum", "commit", "mtime"};
    if (!is_flag && std::find(known.begin(), known.end(), key) == known.end())
      return fail(ErrorCode::invalid_argument, "unexpected query \"" + key + "\"");
    if (!is_flag && value.empty()) return fail(ErrorCode::invalid_argument, "query \"" + key + "\" has no value");
    if (key == "ref") return set_once(reference_.ref, "ref", value);
    if (key == "subdir") return set_once(reference_.subdirectory, "subdir", value);
    if (key == "checksum" || key == "commit") return set_once(reference_.checksum, "checksum", value);
    if (key == "tag") tag_ = value;
    if (key == "branch") branch_ = value;
    if (key == "keep-git-dir") reference_.keep_git_dir = TRY(to_bool(key, value));
    if (key == "submodules") reference_.submodules = TRY(to_bool(key, value));
    if (key == "fetch-by-commit") reference_.fetch_by_commit = TRY(to_bool(key, value));
    if (key != "mtime") return {};
    if (value != "checkout" && value != "commit") return invalid(key, value);
    reference_.file_times = value == "commit" ? GitReference::FileTimes::commit : GitReference::FileTimes::checkout;
    return {};
  }

  GitReference& reference_;
  std::string tag_, branch_;
  std::vector<std::string> seen_;
};

/// "https", or "" where no "scheme://" begins the text.
std::string scheme_of(std::string_view text) {
  const std::size_t end = text.find("://");
  if (end == std::string_view::npos || end == 0) return "";
  const std::string_view scheme = text.substr(0, end);
  return std::all_of(scheme.begin(), scheme.end(), is_alphanumeric) ? to_lower(scheme) : "";
}

/// user@host:path
bool is_scp_style(std::string_view text) {
  const auto spelled = [](std::string_view part, std::string_view others) {
    return !part.empty() && std::all_of(part.begin(), part.end(), [&](char c) {
      return is_alphanumeric(c) || others.find(c) != std::string_view::npos;
    });
  };
  const std::size_t at = text.find('@');
  if (at == std::string_view::npos) return false;
  const std::size_t colon = text.find(':', at);
  return colon != std::string_view::npos && spelled(text.substr(0, at), "-_") &&
         spelled(text.substr(at + 1, colon - at - 1), "-.");
}

bool has_control_character(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; });
}

}  // namespace

Result<std::optional<GitReference>> parse_git_reference(std::string_view text) {
  const std::optional<GitReference> none;
  if (text.starts_with("./") || text.starts_with("../")) return none;
  GitReference reference;
  reference.looks_local = text.starts_with("github.com/");
  const std::string scheme = scheme_of(text);
  const bool is_http = scheme == "http" || scheme == "https";
  const bool is_url = is_http || scheme == "ssh" || scheme == "git";
  if (!is_url && !reference.looks_local && (!scheme.empty() || !is_scp_style(text))) return none;
  std::string_view address = text;
  const Options options = cut_options(address);
  if (is_http && !TRY(percent_decode(address)).ends_with(".git")) return none;
  if (has_control_character(text)) return fail(ErrorCode::invalid_argument, "a git URL holds a control character");
  reference.remote = is_url ? scheme + std::string(address.substr(scheme.size())) : std::string(address);
  reference.unencrypted = scheme == "http" || scheme == "git";

  const std::size_t slash = reference.remote.rfind('/');
  reference.short_name = slash == std::string::npos ? reference.remote : reference.remote.substr(slash + 1);
  if (reference.short_name.ends_with(".git")) reference.short_name.resize(reference.short_name.size() - 4);

  const std::string fragment = TRY(percent_decode(options.fragment));
  const std::size_t colon = std::min(fragment.find(':'), fragment.size());
  reference.ref = fragment.substr(0, colon);
  // As BuildKit: cleaned, ".." stops at the repository's root; that of the query is taken as it is.
  reference.subdirectory = clean_path("/" + fragment.substr(std::min(colon + 1, fragment.size()))).substr(1);
  TRY(QueryReader(reference).read(options.query));
  return std::optional<GitReference>(std::move(reference));
}

GitOp git_op(const GitReference& git) {
  return {.remote = git.url(),
          .ref = git.ref,
          .subdirectory = git.subdirectory,
          .checksum = git.checksum,
          .keep_git_dir = git.keep_git_dir.value_or(false),
          .skip_submodules = git.submodules && !*git.submodules,
          .fetch_by_commit = git.fetch_by_commit};
}

}  // namespace dray::builder
