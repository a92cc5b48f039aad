// SPDX-License-Identifier: Apache-2.0
// Aligned listings.
#include "table.hpp"

#include <dray/core/text.hpp>

#include "command.hpp"

namespace dray::cli {
namespace {

std::string value_of(const TableRow& row, const std::string& field) {
  for (const auto& [name, value] : row.fields)
    if (name == field) return value;
  return "";
}

/// "{{.ID}}\t{{.Names}}": the heading of a cell is the template with each field replaced by its heading.
std::string heading_of(const std::string& cell, const std::vector<TableColumn>& columns) {
  std::string text = cell;
  for (const auto& column : columns) {
    for (std::string form : {"{{." + column.field + "}}", "{{ ." + column.field + " }}"}) {
      if (auto at = text.find(form); at != std::string::npos) text.replace(at, form.size(), column.heading);
    }
  }
  return text;
}

}  // namespace

Result<std::string> render_table(const std::vector<TableColumn>& columns, const std::vector<TableRow>& rows,
                                 const std::string& format) {
  std::vector<std::vector<std::string>> lines;
  if (format.empty() || format == "table") {
    std::vector<std::string> headings;
    for (const auto& column : columns) headings.push_back(column.heading);
    lines.push_back(headings);
    for (const TableRow& row : rows) {
      std::vector<std::string> line;
      for (const auto& column : columns) line.push_back(printable(value_of(row, column.field)));
      lines.push_back(std::move(line));
    }
    return align_columns(lines, 3);
  }
  std::string text;
  if (format == "json") {
    for (const TableRow& row : rows) text += json_object(row.fields) + "\n";
    return text;
  }
  bool is_table = format.starts_with("table ");
  std::string body = is_table ? format.substr(6) : format;
  for (std::size_t at; (at = body.find("\\t")) != std::string::npos;) body.replace(at, 2, "\t");
  for (std::size_t at; (at = body.find("\\n")) != std::string::npos;) body.replace(at, 2, "\n");
  if (is_table) {
    std::vector<std::string> headings;
    for (const auto& cell : split(body, '\t')) headings.push_back(heading_of(cell, columns));
    lines.push_back(headings);
  }
  for (const TableRow& row : rows) {
    std::string line = TRY(render_template(body, json_object(row.fields)));
    if (is_table) {
      lines.push_back(split(printable(line), '\t'));
    } else {
      text += printable(line) + "\n";
    }
  }
  return is_table ? align_columns(lines, 3) : text;
}

}  // namespace dray::cli
