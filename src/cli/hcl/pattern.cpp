// SPDX-License-Identifier: Apache-2.0
// Matching: all ways at once, a character at a time, in order of preference (Pike's machine).
#include "pattern.hpp"

#include <algorithm>

#include "functions.hpp"

namespace dray::cli::hcl {
namespace {

using Instruction = Pattern::Instruction;
using Kind = Instruction::Kind;
using Slots = std::shared_ptr<const std::vector<std::size_t>>;

struct Thread {
  std::size_t at;
  Slots slots;
};

bool is_word(std::string_view text, std::size_t at) {
  if (at >= text.size()) return false;
  const char c = text[at];
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

class Machine {
 public:
  Machine(const std::vector<Instruction>& program, std::string_view text, Budget& budget)
      : program_(program), text_(text), budget_(budget), seen_(program.size(), 0) {}

  Result<std::optional<std::vector<std::size_t>>> search(std::size_t from, std::size_t slots) {
    std::vector<Thread> now, next;
    std::optional<std::vector<std::size_t>> best;
    const auto none = std::make_shared<const std::vector<std::size_t>>(slots, std::string_view::npos);
    TRY(budget_.work(program_.size()));
    for (std::size_t at = from;;) {
      TRY(budget_.work(std::exchange(work_, 0) + now.size() + 1));
      if (!best) {  // a match may begin here, too, if none has begun earlier
        if (now.empty()) ++generation_;
        follow(now, 0, none, at);
      }
      if (now.empty()) break;
      std::size_t after = at;
      const bool end = at >= text_.size();
      const char32_t rune = end ? 0 : take(after);
      next.clear();
      ++generation_;
      for (const Thread& thread : now) {
        const Instruction& instruction = program_[thread.at];
        if (instruction.kind == Kind::match) {
          best = *thread.slots;
          break;  // those after it are preferred less
        }
        if (instruction.ranges) work_ += instruction.ranges->size();
        if (!end && accepts(instruction, rune)) follow(next, thread.at + 1, thread.slots, after);
      }
      now.swap(next);
      if (end) break;
      at = after;
    }
    return best;
  }

 private:
  char32_t take(std::size_t& at) const {
    const auto first = static_cast<unsigned char>(text_[at++]);
    if (first < 0xC0) return first;
    const int more = first < 0xE0 ? 1 : first < 0xF0 ? 2 : 3;
    char32_t rune = first & (0x3Fu >> more);
    for (int i = 0; i < more && at < text_.size() && (text_[at] & 0xC0) == 0x80; ++i)
      rune = rune << 6 | (static_cast<unsigned char>(text_[at++]) & 0x3Fu);
    return rune;
  }

  static bool accepts(const Instruction& instruction, char32_t rune) {
    if (instruction.kind == Kind::any) return true;
    const bool inside = std::ranges::any_of(
        *instruction.ranges, [rune](const auto& range) { return rune >= range.first && rune <= range.second; });
    return inside != instruction.negated;
  }

  bool holds(Kind kind, std::size_t at) const {
    const bool boundary = (at > 0 && is_word(text_, at - 1)) != is_word(text_, at);
    switch (kind) {
      case Kind::begin_text:
        return at == 0;
      case Kind::end_text:
        return at == text_.size();
      case Kind::begin_line:
        return at == 0 || text_[at - 1] == '\n';
      case Kind::end_line:
        return at == text_.size() || text_[at] == '\n';
      case Kind::boundary:
        return boundary;
      default:
        return !boundary;
    }
  }

  /// To the instructions that take a character, in order of preference.
  void follow(std::vector<Thread>& threads, std::size_t begin, Slots slots, std::size_t at) {
    std::vector<Thread> open = {{begin, std::move(slots)}};
    while (!open.empty()) {
      Thread thread = std::move(open.back());
      open.pop_back();
      if (seen_[thread.at] == generation_) continue;
      seen_[thread.at] = generation_;
      ++work_;
      const Instruction& instruction = program_[thread.at];
      switch (instruction.kind) {
        case Kind::jump:
          open.push_back({instruction.first, std::move(thread.slots)});
          break;
        case Kind::fork:
          open.push_back({instruction.second, thread.slots});
          open.push_back({instruction.first, std::move(thread.slots)});
          break;
        case Kind::save: {
          std::vector<std::size_t> copy = *thread.slots;
          copy[instruction.first] = at;
          work_ += copy.size();
          open.push_back({thread.at + 1, std::make_shared<const std::vector<std::size_t>>(std::move(copy))});
          break;
        }
        case Kind::set:
        case Kind::any:
        case Kind::match:
          threads.push_back(std::move(thread));
          break;
        default:
          if (holds(instruction.kind, at)) open.push_back({thread.at + 1, std::move(thread.slots)});
      }
    }
  }

  const std::vector<Instruction>& program_;
  std::string_view text_;
  Budget& budget_;
  std::vector<std::size_t> seen_;
  std::size_t generation_ = 1, work_ = 0;
};

}  // namespace

Result<std::optional<Pattern::Match>> Pattern::search(std::string_view text, std::size_t from, Budget& budget) const {
  Machine machine(program_, text, budget);
  const auto slots = TRY(machine.search(from, (groups_ + 1) * 2));
  if (!slots) return std::optional<Match>();
  Match match;
  for (std::size_t i = 0; i + 1 < slots->size(); i += 2) {
    const bool whole = (*slots)[i] != std::string_view::npos && (*slots)[i + 1] != std::string_view::npos;
    match.groups.push_back(whole ? Span{(*slots)[i], (*slots)[i + 1]} : Span{});
  }
  return std::optional(std::move(match));
}

}  // namespace dray::cli::hcl
