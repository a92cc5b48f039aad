// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <dray/core/result.hpp>

namespace dray::cli {

/// One line of a listing: field name (as in --format, "ID") and value, in the order of the default columns.
struct TableRow {
  std::vector<std::pair<std::string, std::string>> fields;
};

/// Which fields are columns by default, and their headings.
struct TableColumn {
  std::string field, heading;
};

/// Docker's listing: aligned columns with three spaces between; `format` "" = default table, "json" = an object a line,
/// "table TEMPLATE", or a Go template for each row. Values are made printable.
Result<std::string> render_table(const std::vector<TableColumn>& columns, const std::vector<TableRow>& rows,
                                 const std::string& format);

/// A Go template (text/template's everyday subset: fields, index, range, if/else/end, with, len, json, join, lower,
/// upper, title, split, println, eq, ne, and, or, not, pipes) over a JSON document. invalid_argument names what is
/// wrong in it.
Result<std::string> render_template(const std::string& format, const std::string& json_document);
/// {"ID":"…",…} of a row's fields.
std::string json_object(const std::vector<std::pair<std::string, std::string>>& fields);
/// Joins JSON documents into one indented array, as `inspect` prints it.
std::string indented_array(const std::vector<std::string>& json_documents);

/// "1.23GB" (powers of 1000, as `docker images`), "2 hours ago".
std::string human_size(std::uint64_t bytes);
std::string human_age(const std::string& rfc3339_time);  ///< "2 hours ago"
std::string human_duration(std::int64_t seconds);        ///< "2 hours"
/// "512m", "1.5g", "1073741824", "100kb" -> bytes (powers of 1024, as --memory).
Result<std::int64_t> parse_size(const std::string& text);

}  // namespace dray::cli
