// SPDX-License-Identifier: Apache-2.0
// The floor of a container start: the kernel work that cannot be left out, done by hand and nothing else. New
// namespaces, an overlay over one lower folder, /proc, /sys, /dev with its usual nodes, a pivot, exec; then all is
// taken down again. No cgroup, no seccomp filter, no capabilities, no record on disk, no log: an engine's distance from
// this program is what those (and the engine itself) cost.
//   floor LOWER SCRATCH PROGRAM [ARG...]      SCRATCH must not exist; its parent must be on a file system overlay
//   accepts
#define _GNU_SOURCE
#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

struct filesystem {
  const char *type, *target, *options;
  unsigned long flags;
};

static const unsigned long safe = MS_NOSUID | MS_NODEV | MS_NOEXEC;

static void check(int result, const char* step) {
  if (result >= 0) return;
  fprintf(stderr, "floor: %s: %s\n", step, strerror(errno));
  _exit(125);
}

static void attach(const struct filesystem* fs) {
  check(mount(fs->type, fs->target, fs->type, fs->flags, fs->options), fs->target);
}

static void make_dev(void) {
  static const struct {
    const char* path;
    unsigned minor;
  } nodes[] = {{"dev/null", 3}, {"dev/zero", 5}, {"dev/full", 7}, {"dev/random", 8}, {"dev/urandom", 9}};
  const struct filesystem dev = {"tmpfs", "dev", "mode=755,size=64m", MS_NOSUID};
  attach(&dev);
  for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++)
    check(mknod(nodes[i].path, S_IFCHR | 0666, makedev(1, nodes[i].minor)), nodes[i].path);
  check(mknod("dev/tty", S_IFCHR | 0666, makedev(5, 0)), "dev/tty");
  const struct filesystem inside[] = {
      {"devpts", "dev/pts", "newinstance,ptmxmode=0666,mode=620", MS_NOSUID | MS_NOEXEC},
      {"tmpfs", "dev/shm", "mode=1777,size=64m", safe},
      {"mqueue", "dev/mqueue", NULL, safe},
  };
  for (size_t i = 0; i < sizeof inside / sizeof *inside; i++) {
    check(mkdir(inside[i].target, 0755), inside[i].target);
    attach(&inside[i]);
  }
}

static _Noreturn void become_container(const char* overlay_options, const char* root, char** program) {
  check(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "making / private");
  const struct filesystem overlay = {"overlay", root, overlay_options, 0};
  attach(&overlay);
  check(chdir(root), root);
  const struct filesystem kernel[] = {{"proc", "proc", NULL, safe}, {"sysfs", "sys", NULL, safe | MS_RDONLY}};
  attach(&kernel[0]);
  attach(&kernel[1]);
  make_dev();
  check(sethostname("floor", 5), "sethostname");
  check((int)syscall(SYS_pivot_root, ".", "."),
        "pivot_root");  // the old root ends up above the new one, and is dropped
  check(umount2(".", MNT_DETACH), "dropping the old root");
  check(chdir("/"), "/");
  execv(program[0], program);
  check(-1, program[0]);
  _exit(125);
}

int main(int argc, char** argv) {
  if (argc < 4) {
    fprintf(stderr, "usage: floor LOWER SCRATCH PROGRAM [ARG...]\n");
    return 2;
  }
  check(mkdir(argv[2], 0700), argv[2]);
  static const char* const parts[] = {"upper", "work", "root"};
  char path[3][1024], inner_work[1100], options[4096];
  for (int i = 0; i < 3; i++) {
    snprintf(path[i], sizeof path[i], "%s/%s", argv[2], parts[i]);
    check(mkdir(path[i], 0755), path[i]);
  }
  snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s,workdir=%s", argv[1], path[0], path[1]);

  struct clone_args wish = {.exit_signal = SIGCHLD};
  wish.flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP;
  const pid_t child = (pid_t)syscall(SYS_clone3, &wish, sizeof wish);
  check(child, "clone3");
  if (child == 0) become_container(options, path[2], argv + 3);

  int status;
  check(waitpid(child, &status, 0), "waitpid");
  snprintf(inner_work, sizeof inner_work, "%s/work", path[1]);
  rmdir(inner_work);
  for (int i = 0; i < 3; i++) rmdir(path[i]);
  rmdir(argv[2]);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
