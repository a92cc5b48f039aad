// SPDX-License-Identifier: Apache-2.0
// A Dockerfile is read line by line: directives at the top, comments dropped, continued lines joined (white
// space at their start stays), heredoc bodies taken up to their terminators. What a line means is words.cpp's
// business.
#include "dockerfile/parser.hpp"

#include <algorithm>
#include <utility>

#include "dockerfile/shell_lex.hpp"
#include "dockerfile/text.hpp"
#include "dockerfile/words.hpp"

namespace dray::builder {

namespace {

constexpr std::size_t kMaxText = 16u << 20;
constexpr std::size_t kMaxNodes = 20'000;

Failure invalid(std::string message) { return fail(ErrorCode::invalid_argument, std::move(message)); }

std::string_view trim_newline(std::string_view line) {
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.remove_suffix(1);
  return line;
}

bool is_comment(std::string_view line) { return trim_left(line).starts_with('#'); }

class Lines {
 public:
  explicit Lines(std::string_view text) : rest_(text) {}
  bool next(std::string_view& line) {  // with its line end
    if (rest_.empty()) return false;
    const std::size_t end = rest_.find('\n');
    line = rest_.substr(0, end == std::string_view::npos ? end : end + 1);
    rest_.remove_prefix(line.size());
    ++number;
    return true;
  }
  int number = 0;

 private:
  std::string_view rest_;
};

/// "# escape=`" and its like; they must come before everything else.
class Directives {
 public:
  /// Is it a directive?
  Result<bool> line(std::string_view text, Ast& ast) {
    if (done_) return false;
    done_ = true;
    if (!text.starts_with('#')) return false;
    const auto directive = parse_directive(text.substr(1));
    if (!directive) return false;
    const auto& [key, value] = *directive;
    if (std::find(seen_.begin(), seen_.end(), key) != seen_.end())
      return invalid("only one " + key + " parser directive can be used");
    seen_.push_back(key);
    done_ = false;
    if (key == "syntax") ast.syntax = value;
    if (key == "check") ast.check = value;
    if (key == "escape") {
      if (value != "`" && value != "\\")
        return invalid("invalid escape token '" + std::string(value) + "' does not match ` or \\");
      ast.escape = value[0];
    }
    return true;
  }

 private:
  bool done_ = false;
  std::vector<std::string> seen_;
};

/// Cuts the escape at the end off. An escaped escape there is none.
bool cut_continuation(std::string_view& line, char escape) {
  std::string_view text = line;
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  if (text.empty() || text.back() != escape) return false;
  text.remove_suffix(1);
  if (!text.empty() && text.back() == escape) return false;
  line = text;
  return true;
}

bool may_have_heredoc(const Node& node) {
  const Node& inner = node.sub.empty() ? node : node.sub[0];
  const std::string name = to_lower(inner.name);
  return (name == "run" || name == "copy" || name == "add") && !inner.json;
}

Result<void> read_heredocs(Node& node, std::string_view line, Lines& lines) {
  if (!may_have_heredoc(node) || !line.contains("<<")) return {};
  std::vector<Heredoc> heredocs = TRY(heredocs_of_line(line));
  for (Heredoc& heredoc : heredocs) {
    bool terminated = false;
    std::string_view raw;
    while (!terminated && lines.next(raw)) {
      std::string_view candidate = trim_newline(raw);
      if (heredoc.chomp) candidate.remove_prefix(std::min(candidate.find_first_not_of('\t'), candidate.size()));
      terminated = candidate == heredoc.name;
      if (!terminated) heredoc.content += raw;
    }
    if (!terminated) return invalid("unterminated heredoc: there is no line \"" + heredoc.name + "\"");
    node.heredocs.push_back(std::move(heredoc));
  }
  return {};
}

}  // namespace

std::optional<Directive> parse_directive(std::string_view comment) {
  comment = trim(comment);
  const std::size_t equals = comment.find('=');
  if (equals == std::string_view::npos) return std::nullopt;
  Directive directive{to_lower(trim(comment.substr(0, equals))), std::string(trim(comment.substr(equals + 1)))};
  const bool known = directive.name == "syntax" || directive.name == "escape" || directive.name == "check";
  if (!known || directive.value.empty()) return std::nullopt;
  return directive;
}

Result<std::optional<Heredoc>> parse_heredoc(std::string_view word) {
  using Maybe = std::optional<Heredoc>;
  Heredoc heredoc;
  std::size_t at = 0;
  for (; at < word.size() && is_digit(word[at]); ++at)
    heredoc.fd = std::min(heredoc.fd * 10 + (word[at] - '0'), 1 << 20);
  if (!word.substr(at).starts_with("<<")) return Maybe();
  word.remove_prefix(at + 2);
  heredoc.chomp = word.starts_with('-');
  if (heredoc.chomp) word.remove_prefix(1);
  word = trim_left(word);
  if (word.empty() || word.contains('<')) return Maybe();

  // Lexed with and without quotes: if they differ, some of the delimiter is quoted and the content is not
  // expanded.
  const Lookup nothing = [](std::string_view) { return std::optional<std::string>(); };
  ShellLex lex;
  lex.skip_unset = true;
  Expansion plain = TRY(lex.expand(word, nothing));
  if (plain.words.size() != 1) return Maybe();
  lex.raw_quotes = true;
  const Expansion raw = TRY(lex.expand(word, nothing));
  if (raw.words.size() != 1) return invalid("bad heredoc delimiter: " + std::string(word));
  const auto quotes = [](std::string_view text) {
    return std::count(text.begin(), text.end(), '\'') + std::count(text.begin(), text.end(), '"');
  };
  heredoc.expand = quotes(plain.words[0]) == quotes(raw.words[0]);
  heredoc.name = std::move(plain.words[0]);
  return Maybe(std::move(heredoc));
}

Result<std::vector<Heredoc>> heredocs_of_line(std::string_view line) {
  ShellLex lex;
  lex.raw_quotes = lex.raw_escapes = lex.skip_unset = true;
  std::vector<Heredoc> heredocs;
  // A line the lexer cannot read (an open quote, say) is the shell's business and has no heredoc.
  const auto words = lex.expand(line, [](std::string_view) { return std::optional<std::string>(); });
  if (!words) return heredocs;
  for (const std::string& word : words->words) {
    auto heredoc = TRY(parse_heredoc(word));
    if (heredoc) heredocs.push_back(std::move(*heredoc));
  }
  return heredocs;
}

std::string chomp_heredoc(std::string_view content) {
  std::string chomped;
  bool line_start = true;
  for (const char c : content) {
    if (line_start && c == '\t') continue;
    line_start = c == '\n';
    chomped.push_back(c);
  }
  return chomped;
}

Result<Ast> parse_lines(std::string_view text, const std::string& file) {
  if (text.size() > kMaxText) return invalid("the Dockerfile is larger than 16 MiB");
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  const auto at = [&file](Error error, int line) {
    return Failure(std::move(error).with_location(file + ":" + std::to_string(line)));
  };
  std::vector<std::string> comments;
  Ast ast;
  Directives directives;
  Lines lines(text);
  std::string_view raw;
  while (lines.next(raw)) {
    const int start = lines.number;
    std::string_view line = trim_left(trim_newline(raw));
    const auto directive = directives.line(line, ast);
    if (!directive) return at(directive.error(), start);
    if (is_comment(line)) {
      const std::string_view comment = trim(raw.substr(1));  // as BuildKit: an indented "#" is part of the text
      if (comment.empty())
        comments.clear();
      else if (!*directive)
        comments.emplace_back(comment);
      continue;
    }
    bool continued = cut_continuation(line, ast.escape);
    if (!continued && line.empty()) continue;
    std::string logical(line);
    bool empty_continuation = false;
    while (continued && lines.next(raw)) {
      if (is_comment(raw)) continue;
      line = trim_newline(raw);
      if (trim(line).empty()) {
        empty_continuation = true;
        continue;
      }
      continued = cut_continuation(line, ast.escape);
      logical += line;
    }
    if (empty_continuation) ast.warnings.push_back({lines.number, "Empty continuation line found in: " + logical});
    if (ast.nodes.size() == kMaxNodes) return at(Error(ErrorCode::invalid_argument, "too many instructions"), start);
    auto node = parse_instruction_line(logical, ast.escape);
    if (!node) return at(std::move(node).error(), start);
    if (auto result = read_heredocs(*node, logical, lines); !result) return at(std::move(result).error(), start);
    node->comments = std::exchange(comments, {});
    node->line = start;
    node->end_line = lines.number;
    ast.nodes.push_back(std::move(*node));
  }
  if (ast.nodes.empty()) return invalid("\"" + file + "\" has no instructions");
  return ast;
}

}  // namespace dray::builder
