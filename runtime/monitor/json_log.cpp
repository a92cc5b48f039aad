// SPDX-License-Identifier: Apache-2.0
// The json-file log. Records are collected and written in one write(2), so a full disk is noticed per batch: what was
// not written whole is cut off again (readers never see half a record) and the loss is itself logged once there is
// room.

#include "json_log.hpp"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <initializer_list>

namespace dray::monitor {
namespace {

/// Length of the valid UTF-8 character at `at`, 0 if there is none (RFC 3629: no surrogates, no overlong forms).
size_t utf8_length(const unsigned char* at, const unsigned char* end) {
  unsigned char first = at[0];
  size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || static_cast<size_t>(end - at) < length) return 0;
  unsigned char low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  unsigned char high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  if (at[1] < low || at[1] > high) return 0;
  for (size_t i = 2; i < length; ++i)
    if ((at[i] & 0xc0) != 0x80) return 0;
  return length;
}

/// Where to cut `size` bytes so that a character is not split: up to 3 bytes earlier.
size_t character_boundary(const char* data, size_t size) {
  for (size_t back = 1; back <= 3 && back < size; ++back) {
    auto byte = static_cast<unsigned char>(data[size - back]);
    if (byte < 0x80) return size;
    if (byte >= 0xc0) {
      size_t length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
      return length > back ? size - back : size;
    }
  }
  return size;
}

char* copy(char* out, const char* text) {
  size_t length = strlen(text);
  memcpy(out, text, length);
  return out + length;
}

char* escape(char* out, const char* data, size_t size) {
  auto at = reinterpret_cast<const unsigned char*>(data);
  const unsigned char* end = at + size;
  while (at < end) {
    unsigned char byte = *at;
    if (byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\') {
      *out++ = static_cast<char>(byte);
      ++at;
    } else if (byte >= 0x80) {
      size_t length = utf8_length(at, end);
      if (length == 0) {
        out = copy(out, "\xef\xbf\xbd");  // U+FFFD
        ++at;
      } else {
        memcpy(out, at, length);
        out += length;
        at += length;
      }
    } else {
      *out++ = '\\';
      if (byte == '"' || byte == '\\')
        *out++ = static_cast<char>(byte);
      else if (byte == '\n')
        *out++ = 'n';
      else if (byte == '\r')
        *out++ = 'r';
      else if (byte == '\t')
        *out++ = 't';
      else {
        out = copy(out, "u00");
        *out++ = "0123456789abcdef"[byte >> 4];
        *out++ = "0123456789abcdef"[byte & 15];
      }
      ++at;
    }
  }
  return out;
}

}  // namespace

bool write_whole(int fd, const char* data, size_t size) {
  while (size > 0) {
    ssize_t written = write(fd, data, size);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    data += written;
    size -= static_cast<size_t>(written);
  }
  return true;
}

size_t format_number(uint64_t number, char* out) {
  char digits[24];
  size_t count = 0;
  do digits[count++] = static_cast<char>('0' + number % 10);
  while ((number /= 10) != 0);
  for (size_t i = 0; i < count; ++i) out[i] = digits[count - 1 - i];
  return count;
}

size_t format_now(char* out) {
  static time_t cached_second = -1;
  static char cached_text[24];
  timespec now = {};
  clock_gettime(CLOCK_REALTIME, &now);
  if (now.tv_sec != cached_second) {
    tm parts = {};
    gmtime_r(&now.tv_sec, &parts);
    auto two = [](char* at, int value) {
      at[0] = static_cast<char>('0' + value / 10 % 10);
      at[1] = static_cast<char>('0' + value % 10);
    };
    memcpy(cached_text, "0000-00-00T00:00:00.", 20);
    two(cached_text, (parts.tm_year + 1900) / 100);
    two(cached_text + 2, (parts.tm_year + 1900) % 100);
    two(cached_text + 5, parts.tm_mon + 1);
    two(cached_text + 8, parts.tm_mday);
    two(cached_text + 11, parts.tm_hour);
    two(cached_text + 14, parts.tm_min);
    two(cached_text + 17, parts.tm_sec);
    cached_second = now.tv_sec;
  }
  memcpy(out, cached_text, 20);
  long nanoseconds = now.tv_nsec;
  for (int i = 28; i >= 20; --i, nanoseconds /= 10) out[i] = static_cast<char>('0' + nanoseconds % 10);
  out[29] = 'Z';
  return 30;
}

void JsonLog::emit(Stream stream, const char* data, size_t size) {
  if (sizeof(buffer_) - buffered_ < kRecord) flush();
  char* out = copy(buffer_ + buffered_, "{\"log\":\"");
  out = escape(out, data, size);
  out = copy(out,
             stream == stdout_stream ? "\",\"stream\":\"stdout\",\"time\":\"" : "\",\"stream\":\"stderr\",\"time\":\"");
  out += format_now(out);
  out = copy(out, "\"}\n");
  buffered_ = static_cast<size_t>(out - buffer_);
  ++records_;
}

void JsonLog::append(Stream stream, const char* data, size_t size) {
  if (fd_ < 0) return;
  char* line = line_[stream];
  size_t& held = line_size_[stream];
  while (size > 0) {
    auto newline = static_cast<const char*>(memchr(data, '\n', size));
    size_t piece = newline != nullptr ? static_cast<size_t>(newline - data) + 1 : size;
    if (held == 0 && newline != nullptr && piece <= kLine) {
      emit(stream, data, piece);  // the common case: whole lines are not copied
      data += piece;
      size -= piece;
      continue;
    }
    if (piece > kLine - held) piece = kLine - held;
    memcpy(line + held, data, piece);
    held += piece;
    data += piece;
    size -= piece;
    if (line[held - 1] == '\n') {
      emit(stream, line, held);
      held = 0;
    } else if (held == kLine) {
      size_t cut = character_boundary(line, held);
      emit(stream, line, cut);
      memmove(line, line + cut, held - cut);
      held -= cut;
    }
  }
}

void JsonLog::note_loss() {
  char text[128];
  char* out = copy(text, "dray: the log could not be written: ");
  out += format_number(lost_records_, out);
  out = copy(out, " records of output were lost here\n");
  char record[320];
  char* end = copy(record, "{\"log\":\"");
  end = escape(end, text, static_cast<size_t>(out - text));
  end = copy(end, "\",\"stream\":\"stderr\",\"time\":\"");
  end += format_now(end);
  end = copy(end, "\"}\n");
  struct stat status = {};
  if (fstat(fd_, &status) != 0) return;
  if (write_whole(fd_, record, static_cast<size_t>(end - record)))
    lost_records_ = 0;
  else
    (void)!ftruncate(fd_, status.st_size);
}

void JsonLog::flush() {
  if (fd_ < 0 || buffered_ == 0) return;
  if (lost_records_ > 0) note_loss();
  struct stat status = {};
  bool written = lost_records_ == 0 && fstat(fd_, &status) == 0;
  if (written && !write_whole(fd_, buffer_, buffered_)) {
    written = false;
    (void)!ftruncate(fd_, status.st_size);
  }
  if (!written) lost_records_ += records_;
  buffered_ = records_ = 0;
}

void JsonLog::finish() {
  for (Stream stream : {stdout_stream, stderr_stream})
    if (line_size_[stream] > 0) {
      emit(stream, line_[stream], line_size_[stream]);
      line_size_[stream] = 0;
    }
  flush();
}

}  // namespace dray::monitor
