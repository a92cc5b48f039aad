// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dray/core/result.hpp>

namespace dray::builder {

/// .dockerignore patterns as moby/patternmatcher understands them: filepath.Match plus "**", "!" exceptions,
/// the last match wins, a pattern matches everything below what it names.
class IgnorePatterns {
 public:
  struct Match {
    bool excluded = false;
    int line = 0;  ///< of the pattern that decided; 0: none matched
  };

  IgnorePatterns() = default;
  /// The text of a .dockerignore file; `file` is its name, for messages.
  static Result<IgnorePatterns> parse(std::string_view text, std::string file = ".dockerignore");
  /// The patterns of such a text, cleaned, with their "!".
  static std::vector<std::string> read_lines(std::string_view text);
  /// Patterns as given (COPY --exclude); line numbers count from 1.
  static Result<IgnorePatterns> from_list(const std::vector<std::string>& patterns);

  /// `path`: relative to the context's root, slashes, clean ("src/a.c"). A directory's exclusion holds for
  /// what is below it unless an exception names it: ask for the full path of each file, and descend into an
  /// excluded directory if may_reinclude.
  bool excluded(std::string_view path) const { return match(path).excluded; }
  Match match(std::string_view path) const;
  /// Something below this (excluded) directory may be taken back by a "!" pattern.
  bool may_reinclude(std::string_view directory) const;
  bool empty() const { return patterns_.empty(); }
  const std::string& file() const { return file_; }
  bool has_exceptions() const { return has_exceptions_; }
  /// One of the patterns is "*", "**" or "**/*".
  bool excludes_everything() const;

 private:
  struct Token {
    /// name_part: "*", directories: "**/", anything: "**" at the end
    enum Kind { literal, any, name_part, directories, anything, set } kind = literal;
    char character = 0;
    bool negated = false;
    std::vector<std::pair<unsigned char, unsigned char>> ranges;
  };
  struct Pattern {
    std::string text;  ///< clean, without "!"
    bool negated = false;
    bool literal = false;  ///< no wildcards: `tail` is all of it
    std::string tail;      ///< the literal characters at its end
    std::vector<Token> tokens;
    int line = 0;
  };
  static Result<void> add(IgnorePatterns& patterns, std::string_view text, int line);
  static Result<void> compile(Pattern& pattern);
  static bool matches(const Pattern& pattern, std::string_view path);

  std::vector<Pattern> patterns_;
  std::string file_ = ".dockerignore";
  bool has_exceptions_ = false;
};

}  // namespace dray::builder
