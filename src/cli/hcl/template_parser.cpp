// SPDX-License-Identifier: Apache-2.0
// Templates: texts with ${…} and %{…} in them, in quotes or in a heredoc.
#include <algorithm>

#include "cursor.hpp"

namespace dray::cli::hcl {

using Kind = Expression::Kind;

namespace {

constexpr int kMaxDepth = 50;

void append_utf8(std::string& text, char32_t rune) {
  if (rune < 0x80) {
    text.push_back(static_cast<char>(rune));
    return;
  }
  const int more = rune < 0x800 ? 1 : rune < 0x10000 ? 2 : 3;
  static constexpr unsigned kLead[] = {0, 0xC0, 0xE0, 0xF0};
  text.push_back(static_cast<char>(kLead[more] | (rune >> (6 * more))));
  for (int shift = 6 * (more - 1); shift >= 0; shift -= 6)
    text.push_back(static_cast<char>(0x80u | ((rune >> shift) & 0x3Fu)));
}

Result<void> take_escape(Cursor& cursor, std::string& text) {
  static constexpr std::string_view kNames = "nrt\"\\", kMeanings = "\n\r\t\"\\";
  const char c = cursor.peek();
  if (const std::size_t known = kNames.find(c); known != std::string_view::npos && !cursor.at_end()) {
    cursor.take();
    text.push_back(kMeanings[known]);
    return {};
  }
  const int digits = c == 'u' ? 4 : c == 'U' ? 8 : 0;
  char32_t rune = 0;
  bool good = digits != 0;
  for (int i = 1; good && i <= digits; ++i) {
    const char digit = cursor.peek(static_cast<std::size_t>(i));
    const std::size_t value =
        std::string_view("0123456789abcdef").find(digit >= 'A' && digit <= 'F' ? static_cast<char>(digit + 32) : digit);
    good = value != std::string_view::npos;
    rune = rune << 4 | static_cast<char32_t>(value & 15u);
  }
  if (!good || rune > 0x10FFFF || (rune >= 0xD800 && rune < 0xE000))
    return cursor.error(std::string("\"\\") + c +
                        "\" is no escape: there are \\n \\r \\t \\\" \\\\ \\uXXXX \\UXXXXXXXX");
  cursor.skip(static_cast<std::size_t>(digits) + 1);
  append_utf8(text, rune);
  return {};
}

}  // namespace

struct ExpressionParser::Part {
  enum class Kind { text, value, if_, else_, endif, for_, endfor };
  Kind kind = Kind::text;
  Place place;
  std::string text;
  ExpressionRef expression;
  std::vector<std::string> names;
  bool trims_before = false, trims_after = false;
};

/// After "%{" and its marker.
Result<ExpressionParser::Part> ExpressionParser::directive() {
  Part part;
  part.place = cursor_.place();
  TRY(cursor_.skip_space(true));
  const std::string word = cursor_.take_name();
  if (word == "if") {
    part.kind = Part::Kind::if_;
    part.expression = TRY(expression(true));
  } else if (word == "for") {
    part.kind = Part::Kind::for_;
    part.names = TRY(loop_names());
    part.expression = TRY(expression(true));
  } else if (word == "else") {
    part.kind = Part::Kind::else_;
  } else if (word == "endif") {
    part.kind = Part::Kind::endif;
  } else if (word == "endfor") {
    part.kind = Part::Kind::endfor;
  } else {
    return error_at(
        part.place,
        "\"%{" + word + "\" is no directive: there are if, else, endif, for, endfor; \"%%{\" is the text \"%{\"");
  }
  return part;
}

Result<std::vector<ExpressionParser::Part>> ExpressionParser::parts(bool in_quotes) {
  std::vector<Part> parts;
  const Place begin = cursor_.place();
  std::string text;
  const auto end_text = [&] {
    if (!text.empty()) parts.push_back({.kind = Part::Kind::text, .place = begin, .text = std::exchange(text, {})});
  };
  for (;;) {
    if (cursor_.at_end() || (in_quotes && cursor_.peek() == '\n')) {
      if (in_quotes) return error_at(begin, "the text is not closed: '\"' is missing at the end of the line");
      break;
    }
    if (in_quotes && cursor_.take("\"")) break;
    if (in_quotes && cursor_.take("\\")) {
      TRY(take_escape(cursor_, text));
    } else if (cursor_.sees("$${") || cursor_.sees("%%{")) {
      cursor_.take();
      text.push_back(cursor_.take());
      text.push_back(cursor_.take());
    } else if (cursor_.sees("${") || cursor_.sees("%{")) {
      end_text();
      const Place place = cursor_.place();
      const bool is_value = cursor_.take() == '$';
      cursor_.take();
      const bool trims_before = cursor_.take("~");
      Part part;
      if (is_value) {
        part.kind = Part::Kind::value;
        part.expression = TRY(expression(true));
      } else {
        part = TRY(directive());
      }
      part.place = place;
      part.trims_before = trims_before;
      TRY(cursor_.skip_space(true));
      part.trims_after = cursor_.take("~");
      if (!cursor_.take("}")) return cursor_.error("\"}\" is missing after an expression in a text");
      parts.push_back(std::move(part));
    } else {
      text.push_back(cursor_.take());
      if (text.back() == '\n') end_text();  // "~" takes white space of its line only
    }
  }
  end_text();
  return parts;
}

/// Up to the directive that ends what was begun, which is left.
Result<ExpressionRef> ExpressionParser::assemble(std::vector<Part>& parts, std::size_t& at, int depth) {
  if (depth > kMaxDepth) return cursor_.error("the text's directives are nested too deeply");
  Expression join{.kind = Kind::join, .place = cursor_.place()};
  const auto ends = [&](Part::Kind kind, const Part& begin, const char* word) -> Result<void> {
    if (at < parts.size() && parts[at].kind == kind) return {};
    return error_at(begin.place, std::string("\"%{") + word + "}\" is missing");
  };
  for (; at < parts.size(); ++at) {
    Part& part = parts[at];
    if (part.kind == Part::Kind::text) {
      join.children.push_back(literal(std::move(part.text), part.place));
    } else if (part.kind == Part::Kind::value) {
      join.children.push_back(part.expression);
    } else if (part.kind == Part::Kind::if_) {
      ++at;
      ExpressionRef yes = TRY(assemble(parts, at, depth + 1));
      ExpressionRef no = literal("", part.place);
      if (at < parts.size() && parts[at].kind == Part::Kind::else_) {
        ++at;
        no = TRY(assemble(parts, at, depth + 1));
      }
      TRY(ends(Part::Kind::endif, part, "endif"));
      join.children.push_back(
          TRY(make({.kind = Kind::conditional, .place = part.place, .children = {part.expression, yes, no}})));
    } else if (part.kind == Part::Kind::for_) {
      ++at;
      ExpressionRef body = TRY(assemble(parts, at, depth + 1));
      TRY(ends(Part::Kind::endfor, part, "endfor"));
      join.children.push_back(TRY(make(
          {.kind = Kind::join_each, .place = part.place, .names = part.names, .children = {part.expression, body}})));
    } else if (depth == 0) {
      return error_at(part.place, "there is nothing that this directive ends");
    } else {
      break;
    }
  }
  return make(std::move(join));
}

Result<ExpressionRef> ExpressionParser::template_to_end(bool outdents) {
  if (++depth_ > kMaxDepth) return cursor_.error("the text is nested too deeply");
  std::vector<Part> found = TRY(parts(false));
  --depth_;
  return finish(std::move(found), outdents);
}

Result<ExpressionRef> ExpressionParser::quoted() {
  if (++depth_ > kMaxDepth) return cursor_.error("the text is nested too deeply");
  std::vector<Part> found = TRY(parts(true));
  --depth_;
  return finish(std::move(found), false);
}

/// "<<-": as many spaces less as each line begins with. A line of spaces alone does not count.
void ExpressionParser::outdent(std::vector<Part>& parts) {
  constexpr std::size_t kNone = std::string::npos;
  const auto spaces_of = [](const std::string& text) {
    return std::min(text.find_first_not_of(" \t\r\n"), text.size());
  };
  const auto each_line = [&](auto&& what) {
    bool begins = true;
    for (Part& part : parts) {
      const bool is_text = part.kind == Part::Kind::text;
      const bool blank = is_text && part.text.ends_with('\n') && spaces_of(part.text) == part.text.size();
      const bool ends = is_text && part.text.ends_with('\n');
      if (begins && !blank) what(part, is_text ? spaces_of(part.text) : 0);
      begins = ends;
    }
  };
  std::size_t least = kNone;
  each_line([&](Part&, std::size_t spaces) { least = std::min(least, spaces); });
  if (least == kNone) return;
  each_line([&](Part& part, std::size_t) { part.text.erase(0, least); });
}

Result<ExpressionRef> ExpressionParser::finish(std::vector<Part> parts, bool outdents) {
  const Place place = cursor_.place();
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].kind != Part::Kind::text) continue;
    std::string& text = parts[i].text;
    constexpr std::string_view kSpace = " \t\r\n";
    if (i > 0 && parts[i - 1].trims_after) text.erase(0, std::min(text.find_first_not_of(kSpace), text.size()));
    if (i + 1 < parts.size() && parts[i + 1].trims_before) text.erase(text.find_last_not_of(kSpace) + 1);
  }
  if (outdents) outdent(parts);
  // A text alone is itself, and so is a value alone: "${true}" stays a boolean.
  std::string text;
  for (const Part& part : parts) text += part.text;
  if (std::ranges::all_of(parts, [](const Part& part) { return part.kind == Part::Kind::text; }))
    return literal(std::move(text), place);
  if (parts.size() == 1 && parts[0].kind == Part::Kind::value) return parts[0].expression;
  std::size_t at = 0;
  return assemble(parts, at, 0);
}

Result<ExpressionRef> ExpressionParser::heredoc() {
  const Place place = cursor_.place();
  cursor_.skip(2);
  const bool indented = cursor_.take("-");
  const std::string name = cursor_.take_name();
  cursor_.take("\r");
  if (name.empty() || !cursor_.take("\n"))
    return error_at(place, "a heredoc begins with \"<<NAME\" and the end of the line");
  const Place begin = cursor_.place();
  std::string text;
  for (;;) {
    if (cursor_.at_end()) return error_at(place, "the heredoc is not closed: there is no line \"" + name + "\"");
    const std::string_view rest = cursor_.rest();
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    const std::size_t first = std::min(line.find_first_not_of(" \t"), line.size());
    const std::string_view word = line.substr(first, line.find_last_not_of(" \t\r") + 1 - first);
    if (word == name) {
      cursor_.skip(first + name.size());
      break;
    }
    text += line;
    cursor_.skip(end);
    if (cursor_.take("\n")) text.push_back('\n');
  }
  Cursor inner(text, begin);
  ExpressionParser parser(inner);
  parser.depth_ = depth_;
  return parser.template_to_end(indented);
}

}  // namespace dray::cli::hcl
