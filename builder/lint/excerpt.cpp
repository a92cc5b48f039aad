// SPDX-License-Identifier: Apache-2.0
#include "lint/excerpt.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>

#include "dockerfile/parser.hpp"

namespace dray::builder {

LineRange instruction_lines(std::string_view dockerfile, int line) {
  const auto ast = parse_lines(dockerfile, "");
  if (ast)
    for (const Node& node : ast->nodes)
      if (node.line <= line && line <= node.end_line) return {node.line, node.end_line};
  return {line, line};
}

std::string source_excerpt(std::string_view dockerfile, const std::string& file, int first_line, int last_line) {
  LineRange marked{first_line, last_line};
  std::vector<std::string_view> lines;
  for (std::size_t begin = 0; begin <= dockerfile.size();) {
    const std::size_t end = std::min(dockerfile.find('\n', begin), dockerfile.size());
    std::string_view line = dockerfile.substr(begin, end - begin);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.push_back(line);
    begin = end + 1;
  }
  const int count = static_cast<int>(lines.size());
  if (marked.first < 1 || marked.first > count) return "";
  int first = marked.first, last = std::min(std::max(marked.first, marked.last), count);
  marked.last = last;
  // Each round takes a line above and one below, so a short file gives no more than it has.
  const int wanted = first == last ? 4 : 2;
  for (int taken = 0; taken < wanted; ++taken) {
    if (first > 1) --first, ++taken;
    if (last < count) ++last, ++taken;
  }
  constexpr int kMaxLines = 200;  // of one instruction
  constexpr std::string_view kRule = "--------------------\n";
  std::string text = file + ":" + std::to_string(marked.first) + "\n" + std::string(kRule);
  for (int number = first; number <= last; ++number) {
    if (number == marked.first + kMaxLines && marked.last > number) {
      text += " ... | >>> (" + std::to_string(marked.last - number + 1) + " more lines)\n";
      number = marked.last;
      continue;
    }
    char head[32];
    std::snprintf(head, sizeof head, " %3d | %s ", number,
                  number >= marked.first && number <= marked.last ? ">>>" : "   ");
    text.append(head).append(lines[static_cast<std::size_t>(number - 1)].substr(0, 4096)).append("\n");
  }
  return text + std::string(kRule);
}

int error_line(const Error& error, const std::string& file) {
  const std::string& location = error.location();
  if (!location.starts_with(file + ":")) return 0;
  int line = 0;
  std::from_chars(location.data() + file.size() + 1, location.data() + location.size(), line);
  return line;
}

}  // namespace dray::builder
