// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace dray::monitor {

/// write(2) until all is written; false: it failed.
bool write_whole(int fd, const char* data, size_t size);
/// "2026-11-20T23:49:16.123456789Z"; returns its length (30). `out` holds 32 bytes.
size_t format_now(char* out);
/// Decimal; returns the length. `out` holds 24 bytes.
size_t format_number(uint64_t number, char* out);

/// Docker's json-file log. Output becomes a record at each newline, at 16 KiB (never within a UTF-8 character) and at
/// the end.
class JsonLog {
 public:
  enum Stream { stdout_stream = 0, stderr_stream = 1 };

  /// fd -1: no log.
  void open(int fd) { fd_ = fd; }
  void append(Stream stream, const char* data, size_t size);
  /// Call when the input is quiet: writes the records collected so far. Lines not ended stay.
  void flush();
  /// At the end: lines without newline too.
  void finish();

 private:
  static constexpr size_t kLine = 16 * 1024;
  /// One record at its worst: each byte becomes \u00XX, and the frame around it.
  static constexpr size_t kRecord = kLine * 6 + 128;
  void emit(Stream stream, const char* data, size_t size);
  void note_loss();

  int fd_ = -1;
  uint64_t lost_records_ = 0;
  size_t line_size_[2] = {0, 0};
  char line_[2][kLine];
  size_t records_ = 0;
  size_t buffered_ = 0;
  char buffer_[kRecord + 32 * 1024];
};

}  // namespace dray::monitor
