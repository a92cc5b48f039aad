// SPDX-License-Identifier: Apache-2.0
// .dockerignore: each pattern is compiled to a few token kinds; matching keeps the set of places reached in
// the path, so no pattern can take exponential time. A path is excluded if the last pattern that matches it,
// or a directory above it, does not begin with "!".
#include "context/ignore.hpp"

#include <algorithm>
#include <optional>

#include <dray/core/rooted_path.hpp>

#include "dockerfile/text.hpp"

namespace dray::builder {

namespace {

Failure invalid(std::string message) { return fail(ErrorCode::invalid_argument, std::move(message)); }

/// filepath.Clean, without a leading "/".
std::string normal_form(std::string_view pattern) {
  std::string text = dray::clean_path(pattern);
  if (text.size() > 1 && text[0] == '/') text.erase(0, 1);
  return text;
}

/// Calls `use` with each line that holds a pattern, and its number.
template <typename Use>
void each_line(std::string_view text, const Use& use) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  for (int line = 1; !text.empty(); ++line) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view written = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::string_view pattern = trim(written);
    if (!written.starts_with('#') && !pattern.empty()) use(pattern, line);
  }
}

}  // namespace

Result<void> IgnorePatterns::compile(Pattern& pattern) {
  const std::string_view text = pattern.text;
  const auto bad = [&](const char* why) { return invalid("bad pattern \"" + std::string(text) + "\": " + why); };
  bool wild = false;
  for (std::size_t at = 0; at < text.size(); ++at) {
    Token token;
    const char c = text[at];
    if (c == '*' && text.substr(at).starts_with("**")) {
      ++at;
      const bool first = pattern.tokens.empty();
      if (text.substr(at + 1).starts_with('/')) ++at;
      const bool last = at + 1 == text.size();
      token.kind = last ? Token::anything : Token::directories;
      if (first && !last) {
        // "**x" is any path that ends in x; "**/x" needs a whole name.
        const std::string_view rest = text.substr(at + 1);
        if (text[at] != '/' && rest.find_first_of("*?[\\") == std::string_view::npos) token.kind = Token::anything;
      }
      wild = true;
    } else if (c == '*') {
      token.kind = Token::name_part;
      wild = true;
    } else if (c == '?') {
      token.kind = Token::any;
      wild = true;
    } else if (c == '[') {
      token.kind = Token::set;
      token.negated = text.substr(at + 1).starts_with('^');
      if (token.negated) ++at;
      bool closed = false;
      while (++at < text.size()) {
        if (text[at] == ']' && !token.ranges.empty()) {
          closed = true;
          break;
        }
        if (text[at] == ']' || text[at] == '-') return bad("empty set or range");
        const auto take = [&]() -> int {
          if (text[at] == '\\' && ++at == text.size()) return -1;
          return static_cast<unsigned char>(text[at]);
        };
        const int low = take();
        int high = low;
        if (at + 1 < text.size() && text[at + 1] == '-') {
          at += 2;
          if (at >= text.size() || text[at] == ']') return bad("open range");
          high = take();
        }
        if (low < 0 || high < low) return bad("wrong range");
        token.ranges.emplace_back(static_cast<unsigned char>(low), static_cast<unsigned char>(high));
      }
      if (!closed) return bad("the set is not closed");
      wild = true;
    } else {
      if (c == '\\' && ++at == text.size()) return bad("it ends in an escape");
      token.kind = Token::literal;
      token.character = text[at];
    }
    pattern.tokens.push_back(std::move(token));
  }
  for (auto token = pattern.tokens.rbegin(); token != pattern.tokens.rend() && token->kind == Token::literal; ++token)
    pattern.tail.insert(pattern.tail.begin(), token->character);
  pattern.literal = !wild;
  return {};
}

bool IgnorePatterns::matches(const Pattern& pattern, std::string_view path) {
  if (pattern.literal) return path == pattern.tail;
  if (!path.ends_with(pattern.tail)) return false;
  std::vector<unsigned char> reached(path.size() + 1, 0);
  reached[0] = 1;
  for (const Token& token : pattern.tokens) {
    bool any = false;
    switch (token.kind) {
      case Token::anything:
      case Token::name_part: {
        bool open = false;
        for (std::size_t at = 0; at <= path.size(); ++at) {
          open = open || reached[at];
          reached[at] = open;
          any = any || open;
          if (token.kind == Token::name_part && at < path.size() && path[at] == '/') open = false;
        }
        break;
      }
      case Token::directories: {  // nothing, or anything up to a "/"
        bool open = false;
        for (std::size_t at = 0; at <= path.size(); ++at) {
          const bool before = reached[at];
          if (open && path[at - 1] == '/') reached[at] = 1;
          open = open || before;
          any = any || reached[at];
        }
        break;
      }
      default:
        for (std::size_t at = path.size(); at > 0; --at) {
          bool here = false;
          if (reached[at - 1]) {
            const auto c = static_cast<unsigned char>(path[at - 1]);
            if (token.kind == Token::literal) {
              here = path[at - 1] == token.character;
            } else if (token.kind == Token::any) {
              here = c != '/';
            } else {
              here = std::any_of(token.ranges.begin(), token.ranges.end(), [c](const auto& range) {
                       return c >= range.first && c <= range.second;
                     }) != token.negated;
            }
          }
          reached[at] = here;
          any = any || here;
        }
        reached[0] = 0;
    }
    if (!any) return false;
  }
  return reached[path.size()];
}

Result<void> IgnorePatterns::add(IgnorePatterns& patterns, std::string_view text, int line) {
  if (patterns.patterns_.size() >= 10'000) return invalid("more than 10,000 patterns");
  text = trim(text);
  if (text.empty()) return {};
  Pattern pattern;
  pattern.line = line;
  pattern.negated = text.starts_with('!');
  if (pattern.negated) text = trim(text.substr(1));
  if (text.empty()) return invalid("illegal exclusion pattern: \"!\"");
  if (text.size() > 4096) return invalid("a pattern is longer than 4096 bytes");
  pattern.text = normal_form(text);
  TRY(compile(pattern));
  patterns.has_exceptions_ = patterns.has_exceptions_ || pattern.negated;
  patterns.patterns_.push_back(std::move(pattern));
  return {};
}

Result<IgnorePatterns> IgnorePatterns::parse(std::string_view text, std::string file) {
  IgnorePatterns patterns;
  patterns.file_ = std::move(file);
  std::optional<Error> error;
  each_line(text, [&](std::string_view pattern, int line) {
    auto added = error ? Result<void>() : add(patterns, pattern, line);
    if (!added) error = std::move(added).error().with_location(patterns.file_ + ":" + std::to_string(line));
  });
  if (error) return Failure(std::move(*error));
  return patterns;
}

std::vector<std::string> IgnorePatterns::read_lines(std::string_view text) {
  std::vector<std::string> lines;
  each_line(text, [&](std::string_view pattern, int) {
    const bool negated = pattern.starts_with('!');
    if (negated) pattern = trim(pattern.substr(1));
    lines.push_back((negated ? "!" : "") + (pattern.empty() ? std::string() : normal_form(pattern)));
  });
  return lines;
}

Result<IgnorePatterns> IgnorePatterns::from_list(const std::vector<std::string>& list) {
  IgnorePatterns patterns;
  int line = 0;
  for (const std::string& pattern : list) TRY(add(patterns, pattern, ++line));
  return patterns;
}

IgnorePatterns::Match IgnorePatterns::match(std::string_view path) const {
  Match result;
  for (const Pattern& pattern : patterns_) {
    if (pattern.negated != result.excluded) continue;  // it could not change anything
    bool found = matches(pattern, path);
    for (std::size_t slash = path.find('/'); !found && slash != std::string_view::npos;
         slash = path.find('/', slash + 1))
      found = slash > 0 && matches(pattern, path.substr(0, slash));
    if (!found) continue;
    result.excluded = !pattern.negated;
    result.line = pattern.line;
  }
  return result;
}

bool IgnorePatterns::excludes_everything() const {
  return std::any_of(patterns_.begin(), patterns_.end(), [](const Pattern& pattern) {
    return !pattern.negated && (pattern.text == "*" || pattern.text == "**" || pattern.text == "**/*");
  });
}

bool IgnorePatterns::may_reinclude(std::string_view directory) const {
  if (!has_exceptions_) return false;
  for (const Pattern& pattern : patterns_) {
    if (!pattern.negated) continue;
    // Name by name; a name with wildcards is taken to match, "**" everything.
    std::string_view wanted = pattern.text, rest = directory;
    while (true) {
      const std::string_view name = wanted.substr(0, wanted.find('/'));
      const std::string_view own = rest.substr(0, rest.find('/'));
      if (name.contains("**")) return true;
      if (name.find_first_of("*?[\\") == std::string_view::npos && name != own) break;
      wanted.remove_prefix(std::min(name.size() + 1, wanted.size()));
      rest.remove_prefix(std::min(own.size() + 1, rest.size()));
      if (wanted.empty()) break;
      if (rest.empty()) return true;
    }
  }
  return false;
}

}  // namespace dray::builder
