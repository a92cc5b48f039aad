// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <dray/core/result.hpp>

#include "plan/plan.hpp"

// Git URLs as users write them: a build's context, a --build-context, a source of ADD.

namespace dray::builder {

struct GitReference {
  enum class FileTimes { checkout, commit };

  std::string remote;      ///< for git: no fragment, no query
  std::string short_name;  ///< the repository's name without ".git"
  std::string ref;         ///< branch, tag, commit, or a full "refs/…"; "" = the remote's HEAD
  std::string subdirectory;
  std::string checksum;  ///< the commit, or the beginning of its name
  std::optional<bool> keep_git_dir, submodules;
  std::optional<FileTimes> file_times;  ///< ?mtime=
  bool fetch_by_commit = false;         ///< the checksum is what is asked for, not the ref
  /// "github.com/…" without a scheme: could be a directory's name too.
  bool looks_local = false;
  bool unencrypted = false;  ///< http:// or git://

  /// What git is given: `remote`, with the scheme that "github.com/…" leaves out.
  std::string url() const { return looks_local ? "https://" + remote : remote; }
};

/// nullopt: not a git reference (a path, or a plain file by http). An error: it is one, with wrong options.
Result<std::optional<GitReference>> parse_git_reference(std::string_view text);

/// What is fetched for it.
GitOp git_op(const GitReference& git);

inline bool is_http(std::string_view source) { return source.starts_with("http://") || source.starts_with("https://"); }

}  // namespace dray::builder
