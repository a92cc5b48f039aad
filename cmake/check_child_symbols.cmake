# SPDX-License-Identifier: Apache-2.0
cmake_policy(VERSION 3.22)
# The code that runs between clone and execve may call nothing but thin wrappers of system calls: anything else could wait for a
# lock that a thread of the parent held (docs/design.md). OBJECTS are the objects of the part `runtime`, NM the program.
set(allowed
  __errno_location syscall strlen memcpy memset
  _exit close open openat open64 openat64 write read dup2 dup3 fcntl fcntl64 ioctl umask chdir fchdir
  mount umount2 move_mount open_tree mount_setattr fsopen fsconfig fsmount
  mkdirat mknodat symlinkat fchown fchownat fstat fstat64 fstatat fstatat64 fstatfs fstatfs64
  sendmsg recvmsg prctl setsid setns unshare sethostname setdomainname)
set(seen 0)
foreach(object IN LISTS OBJECTS)
  if(NOT object MATCHES "/child(_mounts|_process)?\\.cpp\\.o$")
    continue()
  endif()
  math(EXPR seen "${seen} + 1")
  execute_process(COMMAND ${NM} -u -P ${object} OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "[^\n]+" lines "${symbols}")
  foreach(line IN LISTS lines)
    string(REGEX REPLACE " .*" "" symbol "${line}")
    # Our own steps, from the other file.
    if(symbol MATCHES "^_ZN4dray7runtime5child" OR symbol STREQUAL "_GLOBAL_OFFSET_TABLE_")
      continue()
    endif()
    if(NOT symbol IN_LIST allowed)
      message(SEND_ERROR "${object} uses ${symbol}: not allowed between clone and execve")
    endif()
  endforeach()
endforeach()
if(NOT seen EQUAL 3)
  message(SEND_ERROR "looked at ${seen} objects instead of 3")
endif()
