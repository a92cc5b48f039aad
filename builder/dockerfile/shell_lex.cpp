// SPDX-License-Identifier: Apache-2.0
// Words of a Dockerfile are expanded like a shell would, but by rules of BuildKit's own (which quotes and
// escapes go, what splits a word, what is an error): one pass over the text, recursive for what stands inside
// ${x:-…}. Depth and size are limited.
#include "dockerfile/shell_lex.hpp"

#include <algorithm>
#include <utility>

#include "dockerfile/text.hpp"
#include "plan/wording.hpp"

namespace dray::builder {

namespace {

constexpr std::size_t kMaxExpanded = 1u << 20;
constexpr int kMaxDepth = 64;

Failure invalid(std::string message) { return fail(ErrorCode::invalid_argument, std::move(message)); }

/// Collects words: spaces end a word, quoted text never does. As in BuildKit the buffer is shared with nested
/// ${…}, which drop what the outer word had gathered ("a${x:-b}" gives the word "b"); only EXPOSE shows it.
class Words {
 public:
  explicit Words(std::string& buffer) : buffer_(buffer) { buffer_.clear(); }
  void add_raw(char c) {
    buffer_.push_back(c);
    in_word_ = true;
  }
  void add(std::string_view text) {
    while (!text.empty()) {
      const std::size_t space = space_length(text);
      if (space == 0) {
        add_raw(text.front());
      } else if (in_word_ && !buffer_.empty()) {
        words_.push_back(std::exchange(buffer_, {}));
        in_word_ = false;
      }
      text.remove_prefix(std::max<std::size_t>(space, 1));
    }
  }
  void add_raw(std::string_view text) {
    buffer_ += text;
    in_word_ = true;
  }
  std::vector<std::string> take() {
    if (!buffer_.empty()) words_.push_back(std::exchange(buffer_, {}));
    return std::move(words_);
  }

 private:
  std::string& buffer_;
  std::vector<std::string> words_;
  bool in_word_ = false;
};

class Scanner {
 public:
  Scanner(std::string_view text, const ShellLex& options, char escape, const Lookup& lookup)
      : text_(text), options_(options), escape_(escape), lookup_(lookup) {}

  Result<std::pair<std::string, std::vector<std::string>>> until(std::optional<char> stop, bool raw_escapes) {
    if (++depth_ > kMaxDepth) return invalid("substitutions are nested too deeply");
    const bool outer_raw = std::exchange(raw_escapes_, raw_escapes);
    std::string result;
    Words words(word_buffer_);
    while (!at_end()) {
      const char c = peek();
      if (stop && c == *stop) {
        ++at_;
        raw_escapes_ = outer_raw;
        --depth_;
        return std::pair(std::move(result), words.take());
      }
      if (c == '$') {
        const std::string value = TRY(dollar());
        words.add(value);
        result += value;
      } else if (c == '<') {
        const std::string value = heredoc();
        words.add_raw(value);
        result += value;
      } else if (c == '\'' && !options_.skip_quotes) {
        const std::string value = TRY(single_quoted());
        words.add_raw(value);
        result += value;
      } else if (c == '"' && !options_.skip_quotes) {
        const std::string value = TRY(double_quoted());
        words.add_raw(value);
        result += value;
      } else if (c == escape_) {
        ++at_;
        if (raw_escapes_) {
          words.add_raw(c);
          result.push_back(c);
        }
        if (at_end()) break;
        words.add_raw(peek());
        result.push_back(text_[at_++]);
      } else {
        const std::string_view part = text_.substr(at_, std::max<std::size_t>(space_length(text_.substr(at_)), 1));
        words.add(part);
        result += part;
        at_ += part.size();
      }
      if (result.size() > kMaxExpanded) return invalid("the result of a substitution is over 1 MiB");
    }
    if (stop) return invalid(std::string("unexpected end of statement while looking for matching ") + *stop);
    raw_escapes_ = outer_raw;
    --depth_;
    return std::pair(std::move(result), words.take());
  }

  std::set<std::string> unmatched;

 private:
  bool at_end() const { return at_ >= text_.size(); }
  char peek() const { return text_[at_]; }

  Result<std::string> single_quoted() {
    const std::size_t begin = at_++;
    const std::size_t end = text_.find('\'', at_);
    if (end == std::string_view::npos)
      return invalid("unexpected end of statement while looking for matching single-quote");
    at_ = end + 1;
    return std::string(options_.raw_quotes ? text_.substr(begin, at_ - begin)
                                           : text_.substr(begin + 1, end - begin - 1));
  }

  Result<std::string> double_quoted() {
    std::string result;
    if (options_.raw_quotes) result.push_back('"');
    ++at_;
    while (!at_end()) {
      char c = peek();
      if (c == '$') {
        result += TRY(dollar());
        if (result.size() > kMaxExpanded) return invalid("the result of a substitution is over 1 MiB");
        continue;
      }
      ++at_;
      if (c == '"') {
        if (options_.raw_quotes) result.push_back('"');
        return result;
      }
      if (c == escape_) {
        if (raw_escapes_) result.push_back(c);
        if (at_end()) continue;
        if (peek() == '"' || peek() == '$' || peek() == escape_) c = text_[at_++];
      }
      result.push_back(c);
    }
    return invalid("unexpected end of statement while looking for matching double-quote");
  }

  std::size_t in_name() const {  // its length in bytes
    const char c = peek();
    return is_digit(c) || c == '_' ? 1 : letter_length(text_.substr(at_));
  }

  std::string name() {
    const std::size_t begin = at_;
    if (!at_end() && is_digit(peek())) {
      while (!at_end() && is_digit(peek())) ++at_;
    } else if (!at_end() && std::string_view("@*#?-$!").contains(peek())) {
      ++at_;
    } else {
      for (std::size_t length = 0; !at_end() && (length = in_name()) != 0;) at_ += length;
    }
    return std::string(text_.substr(begin, at_ - begin));
  }

  std::optional<std::string> get(const std::string& variable) {
    auto value = lookup_(variable);
    if (!value) unmatched.insert(variable);
    return value;
  }

  Result<std::string> dollar() {
    ++at_;
    if (at_end() || peek() != '{') {
      const std::string variable = name();
      if (variable.empty()) return std::string("$");
      const auto value = get(variable);
      if (!value && options_.skip_unset) return "$" + variable;
      return value.value_or("");
    }
    ++at_;
    if (at_end()) return invalid("syntax error: missing '}'");
    if (peek() == '{' || peek() == '}' || peek() == ':') return invalid("syntax error: bad substitution");
    const std::string variable = name();
    if (at_end()) return invalid("syntax error: missing '}'");
    char modifier = text_[at_++];
    if (modifier == '}') {
      const auto value = get(variable);
      if (!value && options_.skip_unset) return "${" + variable + "}";
      return value.value_or("");
    }
    if (modifier == '/') return replace(variable);
    std::string written(1, modifier);
    const bool null_is_unset = modifier == ':';
    if (null_is_unset) {
      if (at_end()) return invalid("syntax error: missing '}'");
      modifier = text_[at_++];
      written.push_back(modifier);
    }
    const bool pattern = modifier == '#' || modifier == '%';
    const bool known = std::string_view("+-?#%").contains(modifier);
    if ((!known && !null_is_unset) || (null_is_unset && pattern))
      return invalid("unsupported modifier (" + written + ") in substitution");
    const std::string word = TRY(inner('}', pattern, "syntax error: missing '}'"));
    const auto value = get(variable);
    if (!known) return invalid("unsupported modifier (" + written + ") in substitution");
    if (!value && options_.skip_unset) return "${" + variable + written + word + "}";
    const bool unset = !value || (null_is_unset && value->empty());
    if (modifier == '-') return unset ? word : *value;
    if (modifier == '+') return unset ? "" : word;
    if (modifier == '?') {
      if (!unset) return *value;
      const char* reason = value ? "is not allowed to be empty" : "is not allowed to be unset";
      return invalid(variable + ": " + (word.empty() ? reason : word));
    }
    const bool longest = word.starts_with(modifier);
    return trim_pattern(value.value_or(""), std::string_view(word).substr(longest ? 1 : 0),
                        modifier == '%' ? TrimEnd::suffix : TrimEnd::prefix, longest);
  }

  Result<std::string> replace(const std::string& variable) {
    const bool all = !at_end() && peek() == '/';
    if (all) ++at_;
    const std::string pattern = TRY(inner('/', true, "syntax error: missing '/' in ${}"));
    const std::string replacement = TRY(inner('}', true, "syntax error: missing '}'"));
    const auto value = get(variable);
    if (!value && options_.skip_unset) return "${" + variable + "/" + pattern + "/" + replacement + "}";
    return replace_pattern(value.value_or(""), pattern, replacement, all);
  }

  Result<std::string> inner(char stop, bool raw_escapes, const char* missing) {
    auto part = until(stop, raw_escapes);
    if (!part) {
      if (at_end()) return invalid(missing);
      return Failure(std::move(part).error());
    }
    return std::move(part->first);
  }

  /// "<<", with the spaces after it, belongs to the word that follows.
  std::string heredoc() {
    const std::size_t begin = at_++;
    if (at_end() || peek() != '<') return "<";
    ++at_;
    if (!at_end() && peek() == '-') ++at_;
    while (!at_end() && (peek() == ' ' || peek() == '\t' || peek() == '\r')) ++at_;
    return std::string(text_.substr(begin, at_ - begin));
  }

  std::string_view text_;
  const ShellLex& options_;
  const char escape_;
  const Lookup& lookup_;
  std::size_t at_ = 0;
  int depth_ = 0;
  std::string word_buffer_;
  bool raw_escapes_ = false;
};

}  // namespace

Result<Expansion> ShellLex::expand(std::string_view text, const Lookup& lookup) const {
  Scanner scanner(text, *this, escape_, lookup);
  auto result = scanner.until(std::nullopt, raw_escapes);
  if (!result)
    return Failure(std::move(result).error().with_context("failed to process " + go_quote(text.substr(0, 200))));
  Expansion expansion;
  expansion.text = std::move(result->first);
  expansion.words = std::move(result->second);
  expansion.unmatched = std::move(scanner.unmatched);
  return expansion;
}

Result<std::string> ShellLex::word(std::string_view text, const Lookup& lookup) const {
  Expansion expansion = TRY(expand(text, lookup));
  return std::move(expansion.text);
}

}  // namespace dray::builder
