// SPDX-License-Identifier: Apache-2.0
#include <linux/nsfs.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <dray/network/network.hpp>

#include "links.hpp"
#include "netlink.hpp"

namespace dray::network {
namespace {

// Runs after fork(), perhaps of a process with threads: system calls only.
int bring_up_inside(int user_namespace, int netns) {
  if (::setns(user_namespace, CLONE_NEWUSER) != 0 || ::setns(netns, CLONE_NEWNET) != 0) return errno;
  int socket = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (socket < 0) return errno;
  ifreq request{};
  std::memcpy(request.ifr_name, "lo", 3);
  if (::ioctl(socket, SIOCGIFFLAGS, &request) != 0) return errno;
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
  return ::ioctl(socket, SIOCSIFFLAGS, &request) == 0 ? 0 : errno;
}

// Who made a user namespace may do all in it, but only from inside; and that way no process with threads may go.
Result<void> bring_up_as_owner(FdRef netns) {
  FileDescriptor owner(::ioctl(netns.get(), NS_GET_USERNS));
  if (!owner.valid()) return fail_errno("finding the user namespace of a network namespace");
  const pid_t pid = ::fork();
  if (pid < 0) return fail_errno("starting a process");
  if (pid == 0) ::_exit(bring_up_inside(owner.get(), netns.get()));
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return fail_errno("waiting for a process");
  }
  const int error = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
  if (error != 0) return Failure(Error::from_errno(error, "bringing up the loopback interface"));
  return {};
}

}  // namespace

Result<void> bring_up_loopback(FdRef netns) {
  auto done = in_namespace(netns, [&]() -> Result<void> {
    // SIOCSIFFLAGS would do as well; the kernel's own way is one message.
    NetlinkSocket socket = TRY(NetlinkSocket::open(NETLINK_ROUTE));
    MessageBuilder batch;
    add_link_up(batch, link_index("lo"));
    return socket.send(batch);
  });
  if (done || done.error().error_number() != EPERM) return done;
  return bring_up_as_owner(netns);
}

}  // namespace dray::network
