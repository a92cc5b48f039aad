// SPDX-License-Identifier: Apache-2.0
// One logical line: name, flags, and the arguments split by the rule of that instruction.
#include "dockerfile/words.hpp"

#include "dockerfile/text.hpp"

namespace dray::builder {

namespace {

Failure invalid(std::string message) { return fail(ErrorCode::invalid_argument, std::move(message)); }

enum class Grammar { words, text, maybe_json, maybe_json_list, key_value, name_or_value, health, trigger, none };

Grammar grammar_of(std::string_view name) {
  const std::string lower = to_lower(name);
  if (lower == "run" || lower == "cmd" || lower == "entrypoint" || lower == "shell") return Grammar::maybe_json;
  if (lower == "copy" || lower == "add" || lower == "volume") return Grammar::maybe_json_list;
  if (lower == "env" || lower == "label") return Grammar::key_value;
  if (lower == "arg") return Grammar::name_or_value;
  if (lower == "from" || lower == "expose") return Grammar::words;
  if (lower == "workdir" || lower == "user" || lower == "stopsignal" || lower == "maintainer") return Grammar::text;
  if (lower == "healthcheck") return Grammar::health;
  if (lower == "onbuild") return Grammar::trigger;
  return Grammar::none;
}

std::size_t skip_spaces(std::string_view text, std::size_t at) {
  return text.size() - trim_left(text.substr(at)).size();
}

/// Takes the leading "--x" words off; returns what follows them.
std::string_view take_flags(std::string_view line, char escape, std::vector<std::string>& flags) {
  for (std::size_t at = 0;;) {
    at = skip_spaces(line, at);
    if (!line.substr(at).starts_with("--")) return line.substr(at);
    std::string word;
    bool quoted = false;
    char quote = 0;
    for (; at < line.size() && (quote != 0 || space_length(line.substr(at)) == 0); ++at) {
      char c = line[at];
      if (quote != 0 ? c == quote : (c == '\'' || c == '"')) {
        quote = quote != 0 ? '\0' : c;
        quoted = true;
        continue;
      }
      if (c == escape) {
        if (at + 1 == line.size()) continue;
        c = line[++at];
      }
      word.push_back(c);
    }
    if (word == "--") return line.substr(at);
    if (quoted || !word.empty()) flags.push_back(std::move(word));
  }
}

Result<void> split_key_values(std::string_view rest, char escape, std::string_view instruction,
                              std::vector<std::string>& args) {
  const std::vector<std::string> words = parse_words(rest, escape);
  if (words.empty()) return {};
  if (!words[0].contains('=')) {  // the old form: one key, the rest of the line is its value
    std::vector<std::string> parts = split_whitespace(rest, 2);
    if (parts.size() < 2) return invalid(to_upper(instruction) + " must have two arguments");
    args = {std::move(parts[0]), std::move(parts[1]), ""};
    return {};
  }
  for (const std::string& word : words) {
    const std::size_t equals = word.find('=');
    if (equals == std::string::npos)
      return invalid("syntax error: can't find = in \"" + word + "\", must be of the form: name=value");
    args.push_back(word.substr(0, equals));
    args.push_back(word.substr(equals + 1));
    args.emplace_back("=");
  }
  return {};
}

Result<void> split_maybe_json(std::string_view rest, bool list, Node& node) {
  if (rest.empty()) return {};
  auto strings = TRY(parse_exec_form(rest));
  if (strings) {
    node.json = true;
    for (std::string& text : *strings) node.args.push_back(std::move(text));
  } else if (list) {
    node.args = split_whitespace(rest);
  } else {
    node.args.emplace_back(rest);
  }
  return {};
}

}  // namespace

std::vector<std::string> parse_words(std::string_view text, char escape) {
  std::vector<std::string> words;
  for (std::size_t at = 0;;) {
    at = skip_spaces(text, at);
    if (at == text.size()) return words;
    std::string word;
    bool quoted = false;
    char quote = 0;
    for (; at < text.size() && (quote != 0 || space_length(text.substr(at)) == 0); ++at) {
      const char c = text[at];
      if (quote == 0 && (c == '\'' || c == '"')) {
        quote = c;
        quoted = true;
      } else if (quote != 0 && c == quote) {
        quote = 0;
      } else if (c == escape && quote != '\'') {  // within '…' nothing can be escaped
        if (at + 1 == text.size()) continue;
        word.push_back(c);
        word.push_back(text[++at]);
        continue;
      }
      word.push_back(c);
    }
    if (quoted || !word.empty()) words.push_back(std::move(word));
  }
}

Result<Node> parse_instruction_line(std::string_view line, char escape, int depth) {
  Node node;
  node.original = line;
  const std::vector<std::string> parts = split_whitespace(trim(line), 2);
  node.name = parts[0];
  std::string_view rest;
  if (parts.size() == 2) rest = trim(take_flags(parts[1], escape, node.flags));
  switch (grammar_of(node.name)) {
    case Grammar::words:
      if (!rest.empty()) node.args = split_whitespace(rest);
      break;
    case Grammar::text:
      if (!rest.empty()) node.args.emplace_back(rest);
      break;
    case Grammar::maybe_json:
      TRY(split_maybe_json(rest, false, node));
      break;
    case Grammar::maybe_json_list:
      TRY(split_maybe_json(rest, true, node));
      break;
    case Grammar::key_value:
      TRY(split_key_values(rest, escape, node.name, node.args));
      break;
    case Grammar::name_or_value:
      node.args = parse_words(rest, escape);
      break;
    case Grammar::health: {
      std::size_t end = 0;
      while (end < rest.size() && !is_space(rest[end])) ++end;
      if (end == 0) break;
      node.args.emplace_back(rest.substr(0, end));
      TRY(split_maybe_json(trim_left(rest.substr(end)), false, node));
      break;
    }
    case Grammar::trigger:
      if (rest.empty()) break;
      if (depth > 8) return invalid("ONBUILD is nested too deeply");
      node.trigger = true;
      {
        Node sub = TRY(parse_instruction_line(rest, escape, depth + 1));
        node.sub.push_back(std::move(sub));
      }
      node.args.push_back(node.sub[0].name);
      node.args.insert(node.args.end(), node.sub[0].args.begin(), node.sub[0].args.end());
      break;
    case Grammar::none:
      node.args.emplace_back();
      break;
  }
  return node;
}

}  // namespace dray::builder
