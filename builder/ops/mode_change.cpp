// SPDX-License-Identifier: Apache-2.0
// Clause by clause, each on what the one before left. X and the copied classes look at the file, so one --chmod gives
// different modes to a script, a text and a directory.
#include "ops/mode_change.hpp"

#include <sys/stat.h>

#include <charconv>
#include <string>

namespace dray::builder {
namespace {

constexpr mode_t kSetIds = S_ISUID | S_ISGID;
constexpr mode_t kClasses = 0777;

Failure invalid(std::string_view text) {
  return fail(ErrorCode::invalid_argument, "invalid chmod parameter: '" + std::string(text) +
                                               "'. it should be octal string and between 0 and 07777");
}

/// rwx of one class, repeated in all three.
mode_t spread(mode_t bits) { return bits << 6 | bits << 3 | bits; }

mode_t bits_of(mode_t mode, char which) {
  const int shift = which == 'u' ? 6 : which == 'g' ? 3 : 0;
  return spread(mode >> shift & 07);
}

}  // namespace

Result<ModeChange> ModeChange::parse(std::string_view text) {
  ModeChange change;
  if (text.empty()) return change;
  if (text[0] >= '0' && text[0] <= '9') {
    unsigned value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 8);
    if (error != std::errc() || end != text.data() + text.size() || value > 07777) return invalid(text);
    change.octal_ = value;
    return change;
  }
  const auto wrong = [&] {
    return fail(ErrorCode::invalid_argument, "invalid chmod parameter: '" + std::string(text) +
                                                 "': expected an octal mode or clauses like u+rwX,go-w");
  };
  std::size_t at = 0;
  while (true) {
    mode_t who = 0;
    bool named = false;
    for (; at < text.size(); ++at, named = true) {
      if (text[at] == 'u')
        who |= S_ISUID | S_IRWXU;
      else if (text[at] == 'g')
        who |= S_ISGID | S_IRWXG;
      else if (text[at] == 'o')
        who |= S_IRWXO;
      else if (text[at] == 'a')
        who |= kSetIds | kClasses;
      else
        break;
    }
    const bool only_others = named && (who & ~static_cast<mode_t>(S_IRWXO)) == 0;
    if (at == text.size()) return wrong();
    // One "who" may be followed by several operations: "u+r-w".
    do {
      Clause clause;
      clause.operation = text[at++];
      if (clause.operation != '+' && clause.operation != '-' && clause.operation != '=') return wrong();
      clause.who = named ? who : kSetIds | kClasses;
      std::vector<Clause> copies;
      for (; at < text.size() && text[at] != ',' && text[at] != '+' && text[at] != '-' && text[at] != '='; ++at) {
        switch (text[at]) {
          case 'r':
            clause.bits |= 0444;
            break;
          case 'w':
            clause.bits |= 0222;
            break;
          case 'x':
            clause.bits |= 0111;
            break;
          case 'X':
            if (clause.operation == '-')
              clause.bits |= 0111;
            else
              clause.if_executable = true;
            break;
          case 's':
            if (!only_others) clause.bits |= kSetIds;
            break;
          case 't':
            if (!only_others) {
              clause.bits |= S_ISVTX;
              clause.who |= S_ISVTX;
            }
            break;
          case 'u':
          case 'g':
          case 'o': {
            Clause copy = clause;
            copy.bits = 0;
            copy.if_executable = false;
            copy.copied_class = text[at];
            // "=" empties once, for the first of what follows it.
            if (!copies.empty() && copy.operation == '=') copy.operation = '+';
            copies.push_back(copy);
            break;
          }
          default:
            return wrong();
        }
      }
      if (copies.empty() || clause.bits != 0 || clause.if_executable) {
        change.clauses_.push_back(clause);
        for (Clause& copy : copies)
          if (copy.operation == '=') copy.operation = '+';
      }
      change.clauses_.insert(change.clauses_.end(), copies.begin(), copies.end());
    } while (at < text.size() && text[at] != ',');
    if (at == text.size()) return change;
    ++at;
  }
}

mode_t ModeChange::apply(mode_t mode) const {
  if (octal_) return *octal_;
  const bool runs = S_ISDIR(mode) || (mode & 0111) != 0;
  mode_t bits = mode & 07777;
  for (const Clause& clause : clauses_) {
    mode_t wanted = clause.bits;
    if (clause.copied_class != 0) wanted |= bits_of(bits, clause.copied_class);
    if (clause.if_executable && runs) wanted |= 0111;
    wanted &= clause.who;
    if (clause.operation == '+') bits |= wanted;
    if (clause.operation == '-') bits &= ~wanted;
    if (clause.operation == '=') bits = (bits & ~clause.who) | wanted;
  }
  return bits;
}

}  // namespace dray::builder
