// SPDX-License-Identifier: Apache-2.0
// peak_memory COMMAND ARG...: runs it and prints its peak resident memory in KiB. As a program of its own because a child of a big
// program starts with the peak of that, and busybox's time(1) takes the kernel's KiB for pages.
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  pid_t child = fork();
  if (child == 0) {
    execvp(argv[1], argv + 1);
    _exit(127);
  }
  int status;
  struct rusage usage;
  if (wait4(child, &status, 0, &usage) < 0) return 2;
  printf("%ld\n", usage.ru_maxrss);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
