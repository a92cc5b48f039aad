// SPDX-License-Identifier: Apache-2.0
// Regular expressions become programs (Thompson's construction), by recursive descent.
// https://github.com/google/re2/wiki/Syntax
#include <algorithm>

#include "functions.hpp"
#include "pattern.hpp"

namespace dray::cli::hcl {
namespace {

using Instruction = Pattern::Instruction;
using Kind = Instruction::Kind;
using Ranges = std::vector<std::pair<char32_t, char32_t>>;
using Program = std::vector<Instruction>;

constexpr std::size_t kMaxProgram = 20'000;
constexpr int kMaxDepth = 100;
constexpr std::int64_t kMaxRepeat = 1000;
constexpr char32_t kLast = 0x10FFFF;

struct Flags {
  bool ignore_case = false, multi_line = false, dot_newline = false, lazy = false;
};

char32_t take_rune(std::string_view text, std::size_t& at) {
  const auto first = static_cast<unsigned char>(text[at++]);
  if (first < 0xC0) return first;
  const int more = first < 0xE0 ? 1 : first < 0xF0 ? 2 : 3;
  char32_t rune = first & (0x3Fu >> more);
  for (int i = 0; i < more && at < text.size() && (text[at] & 0xC0) == 0x80; ++i)
    rune = rune << 6 | (static_cast<unsigned char>(text[at++]) & 0x3Fu);
  return rune;
}

const Ranges kDigit = {{'0', '9'}}, kWord = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}},
             kSpace = {{'\t', '\n'}, {'\f', '\r'}, {' ', ' '}};
const std::map<std::string_view, Ranges> kNamed = {{"alnum", {{'0', '9'}, {'A', 'Z'}, {'a', 'z'}}},
                                                   {"alpha", {{'A', 'Z'}, {'a', 'z'}}},
                                                   {"ascii", {{0, 127}}},
                                                   {"blank", {{'\t', '\t'}, {' ', ' '}}},
                                                   {"cntrl", {{0, 31}, {127, 127}}},
                                                   {"digit", {{'0', '9'}}},
                                                   {"graph", {{'!', '~'}}},
                                                   {"lower", {{'a', 'z'}}},
                                                   {"print", {{' ', '~'}}},
                                                   {"punct", {{'!', '/'}, {':', '@'}, {'[', '`'}, {'{', '~'}}},
                                                   {"space", {{'\t', '\r'}, {' ', ' '}}},
                                                   {"upper", {{'A', 'Z'}}},
                                                   {"word", {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}},
                                                   {"xdigit", {{'0', '9'}, {'A', 'F'}, {'a', 'f'}}}};

Ranges inverted(Ranges ranges) {
  std::ranges::sort(ranges);
  Ranges rest;
  char32_t next = 0;
  for (const auto& [first, last] : ranges) {
    if (first > next) rest.emplace_back(next, first - 1);
    next = std::max<char32_t>(next, last + 1);
  }
  if (next <= kLast) rest.emplace_back(next, kLast);
  return rest;
}

class Compiler {
 public:
  explicit Compiler(std::string_view text) : text_(text) {}

  Result<Program> compile() {
    Program body = TRY(alternatives(0));
    if (at_ < text_.size()) return wrong("the regular expression has a \")\" too many");
    Program program = save(0);
    append(program, body);
    append(program, save(1));
    program.push_back({.kind = Kind::match});
    return program;
  }

  std::size_t groups = 0;
  std::map<std::string, std::size_t> names;

 private:
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(std::string_view word) {
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }

  static Program save(std::size_t slot) { return {Instruction{.kind = Kind::save, .first = slot}}; }

  /// Programs are written as from 0 and moved to where they go.
  static void append(Program& program, const Program& more) {
    const std::size_t base = program.size();
    for (Instruction instruction : more) {
      if (instruction.kind == Kind::jump || instruction.kind == Kind::fork) {
        instruction.first += base;
        instruction.second += base;
      }
      program.push_back(std::move(instruction));
    }
  }

  Result<Program> alternatives(int depth) {
    if (depth > kMaxDepth) return wrong("the regular expression is nested too deeply");
    const Flags outer = flags_;
    std::vector<Program> branches = {TRY(sequence(depth))};
    std::size_t end = branches[0].size();
    while (take("|")) {
      branches.push_back(TRY(sequence(depth)));
      end += branches.back().size() + 2;
      if (end > kMaxProgram) return wrong("the regular expression is too long");
    }
    flags_ = outer;
    Program all;
    for (std::size_t i = 0; i + 1 < branches.size(); ++i) {
      all.push_back({.kind = Kind::fork, .first = all.size() + 1, .second = all.size() + 2 + branches[i].size()});
      append(all, branches[i]);
      all.push_back({.kind = Kind::jump, .first = end});
    }
    append(all, branches.back());
    return all;
  }

  Result<Program> sequence(int depth) {
    Program program;
    while (at_ < text_.size() && peek() != '|' && peek() != ')') {
      const std::size_t begin = at_;
      Program item = TRY(atom(depth));
      while (at_ > begin && repeats()) item = TRY(repeated(std::move(item)));
      append(program, item);
      if (program.size() > kMaxProgram) return wrong("the regular expression is too long");
    }
    return program;
  }

  bool repeats() const {
    if (peek() == '*' || peek() == '+' || peek() == '?') return true;
    return peek() == '{' && at_ + 1 < text_.size() && text_[at_ + 1] >= '0' && text_[at_ + 1] <= '9' &&
           text_.find('}', at_) != std::string_view::npos;
  }

  Result<Program> repeated(Program item) {
    std::int64_t least = 0, most = -1;
    const char c = text_[at_++];
    if (c == '+') least = 1;
    if (c == '?') most = 1;
    if (c == '{') {
      const auto number = [this] {
        std::int64_t value = 0;
        while (peek() >= '0' && peek() <= '9')
          value = std::min<std::int64_t>(value * 10 + (text_[at_++] - '0'), kMaxRepeat + 1);
        return value;
      };
      least = most = number();
      if (take(",")) most = peek() == '}' ? -1 : number();
      if (!take("}") || least > kMaxRepeat || most > kMaxRepeat || (most >= 0 && most < least))
        return wrong("the regular expression has a bad repetition: {N}, {N,} or {N,M}, up to 1000");
    }
    const bool lazy = take("?") != flags_.lazy;
    if (item.size() * static_cast<std::size_t>(std::max<std::int64_t>({least, most, 1})) > kMaxProgram)
      return wrong("the regular expression is too long");
    const auto fork = [lazy](std::size_t inside, std::size_t outside) {
      return Instruction{.kind = Kind::fork, .first = lazy ? outside : inside, .second = lazy ? inside : outside};
    };
    Program program;
    for (std::int64_t i = 0; i < least; ++i) append(program, item);
    if (most < 0) {
      const std::size_t begin = program.size();
      program.push_back(fork(begin + 1, begin + 2 + item.size()));
      append(program, item);
      program.push_back({.kind = Kind::jump, .first = begin});
      return program;
    }
    const std::size_t end = program.size() + static_cast<std::size_t>(most - least) * (item.size() + 1);
    for (std::int64_t i = least; i < most; ++i) {
      program.push_back(fork(program.size() + 1, end));
      append(program, item);
    }
    return program;
  }

  Program set(Ranges ranges, bool negated = false) const {
    if (flags_.ignore_case) {
      const std::size_t count = ranges.size();
      for (std::size_t i = 0; i < count; ++i)
        for (const auto& [low, high, shift] : {std::tuple(U'a', U'z', -32), std::tuple(U'A', U'Z', 32)}) {
          const char32_t first = std::max<char32_t>(ranges[i].first, low),
                         last = std::min<char32_t>(ranges[i].second, high);
          if (first <= last)
            ranges.emplace_back(first + static_cast<char32_t>(shift), last + static_cast<char32_t>(shift));
        }
    }
    return {Instruction{
        .kind = Kind::set, .ranges = std::make_shared<const Ranges>(std::move(ranges)), .negated = negated}};
  }

  Result<Program> atom(int depth) {
    if (take("(")) return group(depth);
    if (take("[")) return bracket();
    if (take(".")) return flags_.dot_newline ? Program{Instruction{.kind = Kind::any}} : set({{'\n', '\n'}}, true);
    if (take("^")) return Program{Instruction{.kind = flags_.multi_line ? Kind::begin_line : Kind::begin_text}};
    if (take("$")) return Program{Instruction{.kind = flags_.multi_line ? Kind::end_line : Kind::end_text}};
    if (peek() == '*' || peek() == '+' || peek() == '?')
      return wrong(std::string("the regular expression repeats nothing: \"") + peek() + "\"");
    if (take("\\")) return escape();
    const char32_t rune = take_rune(text_, at_);
    return set({{rune, rune}});
  }

  Result<Program> group(int depth) {
    std::size_t number = 0;
    if (take("?")) {
      if (take("P<") || take("<")) {
        const std::size_t end = text_.find('>', at_);
        const std::string name(text_.substr(at_, end == std::string_view::npos ? 0 : end - at_));
        if (name.empty() || !names.emplace(name, groups + 1).second)
          return wrong("the regular expression has a group without a name of its own");
        at_ = end + 1;
        number = ++groups;
      } else {
        Flags changed = flags_;
        bool value = true;
        for (; peek() != ')' && peek() != ':'; ++at_) {
          if (peek() == '-')
            value = false;
          else if (peek() == 'i')
            changed.ignore_case = value;
          else if (peek() == 'm')
            changed.multi_line = value;
          else if (peek() == 's')
            changed.dot_newline = value;
          else if (peek() == 'U')
            changed.lazy = value;
          else
            return wrong("the regular expression has a group of an unknown kind: \"(?" +
                         std::string(text_.substr(at_, 1)) + "\"");
        }
        if (take(")")) {
          flags_ = changed;
          return Program();
        }
        ++at_;
        const Flags outer = std::exchange(flags_, changed);
        Program inner = TRY(alternatives(depth + 1));
        flags_ = outer;
        if (!take(")")) return wrong("the regular expression lacks a \")\"");
        return inner;
      }
    } else {
      number = ++groups;
    }
    if (groups > 100) return wrong("the regular expression has more than 100 groups");
    Program program = save(number * 2);
    append(program, TRY(alternatives(depth + 1)));
    append(program, save(number * 2 + 1));
    if (!take(")")) return wrong("the regular expression lacks a \")\"");
    return program;
  }

  /// \d and its like, at the letter.
  std::optional<Ranges> class_of_letter() {
    const char c = peek();
    const Ranges* ranges = c == 'd' || c == 'D'   ? &kDigit
                           : c == 'w' || c == 'W' ? &kWord
                           : c == 's' || c == 'S' ? &kSpace
                                                  : nullptr;
    if (ranges == nullptr) return std::nullopt;
    ++at_;
    return c < 'a' ? inverted(*ranges) : *ranges;
  }

  Result<char32_t> escaped_rune() {
    if (at_ >= text_.size()) return wrong("the regular expression ends with \"\\\"");
    static constexpr std::string_view kLetters = "aftnrv", kMeanings = "\a\f\t\n\r\v";
    const char c = text_[at_];
    if (const std::size_t known = kLetters.find(c); known != std::string_view::npos) {
      ++at_;
      return static_cast<char32_t>(kMeanings[known]);
    }
    if (c == 'x') {
      ++at_;
      const bool braces = take("{");
      char32_t rune = 0;
      int digits = 0;
      for (; digits < (braces ? 6 : 2) && std::isxdigit(static_cast<unsigned char>(peek())) != 0; ++digits, ++at_) {
        const char digit = text_[at_];
        rune = rune * 16 + static_cast<char32_t>(digit <= '9' ? digit - '0' : (digit | 32) - 'a' + 10);
      }
      if (digits == 0 || (braces && !take("}")) || rune > kLast)
        return wrong("the regular expression has a bad \"\\x\"");
      return rune;
    }
    if (std::isalnum(static_cast<unsigned char>(c)) != 0)
      return wrong(std::string("the regular expression has an unknown escape: \"\\") + c + "\"");
    return take_rune(text_, at_);
  }

  Result<Program> escape() {
    if (auto ranges = class_of_letter()) return set(*std::move(ranges));
    if (take("b")) return Program{Instruction{.kind = Kind::boundary}};
    if (take("B")) return Program{Instruction{.kind = Kind::no_boundary}};
    if (take("A")) return Program{Instruction{.kind = Kind::begin_text}};
    if (take("z")) return Program{Instruction{.kind = Kind::end_text}};
    const char32_t rune = TRY(escaped_rune());
    return set({{rune, rune}});
  }

  Result<Program> bracket() {
    const bool negated = take("^");
    Ranges ranges;
    for (bool first = true; first || peek() != ']'; first = false) {
      if (at_ >= text_.size()) return wrong("the regular expression lacks a \"]\"");
      if (take("[:")) {
        const bool inverse = take("^");
        const std::size_t end = text_.find(":]", at_);
        const auto known = kNamed.find(text_.substr(at_, end == std::string_view::npos ? 0 : end - at_));
        if (known == kNamed.end()) return wrong("the regular expression has an unknown class of characters");
        at_ = end + 2;
        const Ranges more = inverse ? inverted(known->second) : known->second;
        ranges.insert(ranges.end(), more.begin(), more.end());
        continue;
      }
      if (text_[at_] == '\\') {
        ++at_;
        if (auto more = class_of_letter()) {
          ranges.insert(ranges.end(), more->begin(), more->end());
          continue;
        }
        --at_;
      }
      const char32_t low = TRY(rune_in_bracket());
      char32_t high = low;
      if (peek() == '-' && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
        ++at_;
        high = TRY(rune_in_bracket());
      }
      if (high < low) return wrong("the regular expression has a range that ends before it begins");
      ranges.emplace_back(low, high);
    }
    ++at_;
    return set(std::move(ranges), negated);
  }

  Result<char32_t> rune_in_bracket() {
    if (at_ >= text_.size()) return wrong("the regular expression lacks a \"]\"");
    if (take("\\")) return escaped_rune();
    return take_rune(text_, at_);
  }

  std::string_view text_;
  std::size_t at_ = 0;
  Flags flags_;
};

}  // namespace

Result<Pattern> Pattern::compile(std::string_view text) {
  if (text.size() > 10'000) return wrong("the regular expression is too long");
  Compiler compiler(text);
  Pattern pattern;
  pattern.program_ = TRY(compiler.compile());
  if (pattern.program_.size() > kMaxProgram) return wrong("the regular expression is too long");
  pattern.groups_ = compiler.groups;
  pattern.names_ = std::move(compiler.names);
  return pattern;
}

}  // namespace dray::cli::hcl
