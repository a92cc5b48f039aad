// SPDX-License-Identifier: Apache-2.0
#include "log.hpp"

#include <fcntl.h>

#include <cstdio>

#include <dray/core/fd.hpp>
#include <dray/core/process.hpp>

namespace dray::oci {
namespace {

FileDescriptor log_file;  // invalid = standard error
LogFormat log_format = LogFormat::text;
bool debug_enabled = false;

void append_hex(std::string& out, unsigned char byte, const char* prefix) {
  char text[8];
  std::snprintf(text, sizeof text, "%s%02x", prefix, byte);
  out += text;
}

// As JSON and Go's %q agree for what occurs: messages may hold bytes of images.
std::string quote(std::string_view text, LogFormat format) {
  std::string out = "\"";
  for (char letter : text) {
    const auto byte = static_cast<unsigned char>(letter);
    if (letter == '"' || letter == '\\') {
      out += '\\';
      out += letter;
    } else if (letter == '\n') {
      out += "\\n";
    } else if (letter == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      append_hex(out, byte, format == LogFormat::json ? "\\u00" : "\\x");
    } else if (byte >= 0x80 && format == LogFormat::json) {
      append_hex(out, byte, "\\u00");  // whatever encoding it is in, the line stays JSON
    } else {
      out += letter;
    }
  }
  return out + "\"";
}

bool needs_quotes(std::string_view text) {
  if (text.empty()) return true;
  for (char letter : text) {
    const bool plain = (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
                       (letter >= '0' && letter <= '9') ||
                       std::string_view("-._/@^+").find(letter) != std::string::npos;
    if (!plain) return true;
  }
  return false;
}

void write_line(const char* level, std::string_view message) {
  std::string now = format_time_now();
  if (std::size_t point = now.find('.'); point != std::string::npos) now = now.substr(0, point) + "Z";
  std::string line;
  if (log_format == LogFormat::json) {
    line = std::string("{\"level\":\"") + level + "\",\"msg\":" + quote(message, log_format) + ",\"time\":\"" + now +
           "\"}\n";
  } else {
    line = "time=\"" + now + "\" level=" + level +
           " msg=" + (needs_quotes(message) ? quote(message, log_format) : std::string(message)) + "\n";
  }
  (void)write_all(log_file.valid() ? FdRef(log_file) : FdRef(2), line);
}

}  // namespace

Result<void> open_log(const std::string& path, LogFormat format, bool debug) {
  log_format = format;
  debug_enabled = debug;
  if (!path.empty()) log_file = TRY(open_file(path, O_WRONLY | O_CREAT | O_APPEND | O_NOCTTY, 0644));
  return {};
}

void log_debug(std::string_view message) {
  if (debug_enabled) write_line("debug", message);
}

void log_warning(std::string_view message) { write_line("warning", message); }

void log_error(std::string_view message) {
  write_line("error", message);
  if (log_file.valid()) (void)write_all(FdRef(2), std::string(message) + "\n");
}

}  // namespace dray::oci
