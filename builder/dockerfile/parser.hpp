// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <dray/core/result.hpp>

#include "dockerfile/instruction.hpp"

// The text as lines of instructions: continuation, comments, heredocs, the exec form, flags. What the
// arguments mean is not known here.

namespace dray::builder {

struct Node {
  std::string name;                ///< as written
  std::vector<std::string> flags;  ///< "--from=x"
  /// ENV and LABEL: triples of key, value, "=" or "". Exec form: the strings. Otherwise what the
  /// instruction's grammar splits.
  std::vector<std::string> args;
  bool json = false;      ///< exec form
  bool trigger = false;   ///< ONBUILD: `args` begins with the name of the instruction inside
  std::vector<Node> sub;  ///< ONBUILD: that instruction
  std::vector<Heredoc> heredocs;
  std::string original;
  std::vector<std::string> comments;  ///< above it, without "#"; an empty comment ends what stood before
  int line = 0, end_line = 0;
};

struct Ast {
  std::vector<Node> nodes;
  char escape = '\\';
  std::string syntax, check;  ///< the directives' values
  struct Warning {
    int line;
    std::string text;
  };
  std::vector<Warning> warnings;
};

struct Directive {
  std::string name;  ///< syntax, escape or check
  std::string value;
};
/// What a comment's text ("escape=`") directs, if anything.
std::optional<Directive> parse_directive(std::string_view comment);

/// The frontend that a file in another language than this one asks for, or "": only "#" begins a comment here.
std::string foreign_syntax(std::string_view text);

/// `file` is for locations of errors.
Result<Ast> parse_lines(std::string_view text, const std::string& file);

/// The heredoc a word begins ("<<-EOF", "3<<'X'"), or nullopt; content is empty.
Result<std::optional<Heredoc>> parse_heredoc(std::string_view word);
Result<std::vector<Heredoc>> heredocs_of_line(std::string_view line);
/// Without the leading tabs of its lines.
std::string chomp_heredoc(std::string_view content);

/// Words at spaces, quotes kept.
std::vector<std::string> parse_words(std::string_view text, char escape);

/// The strings of an array in JSON; nullopt if the text is no JSON array; an error if it is one, but not of
/// strings.
Result<std::optional<std::vector<std::string>>> parse_exec_form(std::string_view text);

}  // namespace dray::builder
