// SPDX-License-Identifier: Apache-2.0
#include "exit_file.hpp"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>  // rename
#include <string.h>
#include <unistd.h>

#include "json_log.hpp"

namespace dray::monitor {
namespace {

constexpr size_t kMostText = 240;
constexpr size_t kMostPath = 4096;

/// PATH.tmp
bool temporary_of(const char* path, char (&temporary)[kMostPath]) {
  const size_t length = strlen(path);
  if (length == 0 || length + sizeof(".tmp") > kMostPath) return false;
  memcpy(temporary, path, length);
  memcpy(temporary + length, ".tmp", sizeof(".tmp"));
  return true;
}

/// What is there stays: its room is ours.
int open_temporary(const char* temporary) { return open(temporary, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600); }

size_t format(const Exit& exit, char (&text)[kMostText]) {
  char* end = text;
  auto add = [&end](const char* piece) {
    const size_t size = strlen(piece);
    memcpy(end, piece, size + 1);
    end += size;
  };
  auto add_number = [&add](const char* name, int value) {
    char number[24] = {};
    format_number(static_cast<uint64_t>(value), number);
    add(name);
    add(number);
  };
  char time[32] = {};
  format_now(time);
  add_number("{\"exit_code\":", exit.code);
  add(exit.oom_killed ? ",\"oom_killed\":true" : ",\"oom_killed\":false");
  add(",\"finished_at\":\"");
  add(time);
  add("\"");
  if (exit.restart_count > 0) add_number(",\"restart_count\":", exit.restart_count);
  if (exit.restart_delay_ms > 0) add_number(",\"restart_delay_ms\":", exit.restart_delay_ms);
  add("}\n");
  return static_cast<size_t>(end - text);
}

}  // namespace

void reserve_exit_file(const char* path) {
  char temporary[kMostPath];
  if (!temporary_of(path, temporary)) return;
  const int fd = open_temporary(temporary);
  if (fd < 0) return;
  char blank[kMostText];
  memset(blank, ' ', sizeof(blank));
  // File systems that delay the choice of a block count it from the write on.
  (void)write_whole(fd, blank, sizeof(blank));
  close(fd);
}

bool write_exit_file(const char* path, const Exit& exit, bool durable) {
  char temporary[kMostPath];
  char text[kMostText];
  if (!temporary_of(path, temporary)) return false;
  const size_t size = format(exit, text);
  const int fd = open_temporary(temporary);
  if (fd < 0) return false;
  bool written =
      write_whole(fd, text, size) && ftruncate(fd, static_cast<off_t>(size)) == 0 && (!durable || fsync(fd) == 0);
  written = close(fd) == 0 && written;
  if (!written || rename(temporary, path) != 0) {
    unlink(temporary);
    return false;
  }
  if (!durable) return true;
  char* slash = strrchr(temporary, '/');
  if (slash != nullptr) slash[1] = '\0';
  const int directory = open(slash != nullptr ? temporary : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory >= 0) {
    fsync(directory);
    close(directory);
  }
  return true;
}

}  // namespace dray::monitor
