// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "notify_socket.hpp"

using namespace dray;
using namespace dray::oci;

namespace {

sockaddr_un make_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  REQUIRE(path.size() < sizeof address.sun_path);
  std::memcpy(address.sun_path, path.data(), path.size());
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';
  return address;
}
socklen_t size_of(const std::string& path) {
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
}

// systemd's side.
struct Host {
  FileDescriptor socket{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};

  explicit Host(const std::string& path) {
    const sockaddr_un address = make_address(path);
    REQUIRE(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), size_of(path)) == 0);
    REQUIRE(::setenv("NOTIFY_SOCKET", path.c_str(), 1) == 0);
  }
  ~Host() { ::unsetenv("NOTIFY_SOCKET"); }
  /// With descriptors, which are closed as systemd does with a barrier's.
  std::string take() const {
    pollfd waiting{socket.get(), POLLIN, 0};
    if (::poll(&waiting, 1, 10'000) != 1) return "(nothing)";
    char buffer[256];
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    iovec part{buffer, sizeof buffer};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t count = ::recvmsg(socket.get(), &message, MSG_CMSG_CLOEXEC);
    if (count < 0) return "(failure)";
    if (const cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr) {
      int descriptor = -1;
      std::memcpy(&descriptor, CMSG_DATA(header), sizeof descriptor);
      ::close(descriptor);
      return std::string(buffer, static_cast<std::size_t>(count)) + " with a descriptor";
    }
    return {buffer, static_cast<std::size_t>(count)};
  }
  bool is_quiet() const {
    pollfd waiting{socket.get(), POLLIN, 0};
    return ::poll(&waiting, 1, 0) == 0;
  }
};

void say(const StateDirectory& directory, const std::string& text) {
  FileDescriptor socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  auto place = open_file(directory.path() + "/notify", O_PATH);
  REQUIRE_OK(place);
  const std::string path = descriptor_path(*place) + "/notify.sock";
  const sockaddr_un address = make_address(path);
  REQUIRE(::sendto(socket.get(), text.data(), text.size(), 0, reinterpret_cast<const sockaddr*>(&address),
                   size_of(path)) == static_cast<ssize_t>(text.size()));
}

struct Fixture {
  TempDir temporary = TempDir::create("/tmp", "dray-notify-").value();
  StateDirectory directory = StateDirectory::create(temporary.path(), std::string(120, 'x')).value();
  runtime::Spec spec;
};

}  // namespace

TEST_CASE("the line of a message that counts", "[oci]") {
  CHECK(find_ready("READY=1") == "READY=1");
  CHECK(find_ready("STATUS=starting\nREADY=1\nX=2\n") == "READY=1");
  CHECK(find_ready("STATUS=READY=1\n").empty());
  CHECK(find_ready("").empty());
}

TEST_CASE("without NOTIFY_SOCKET nothing is changed", "[oci]") {
  ::unsetenv("NOTIFY_SOCKET");
  Fixture box;
  REQUIRE_OK(NotifySocket::prepare(box.directory, box.spec));
  CHECK(box.spec.mounts.empty());
  CHECK(box.spec.process.env.empty());
  CHECK_FALSE(NotifySocket::listen(box.directory).value());
}

TEST_CASE("READY=1 of a container is passed on", "[oci]") {
  Fixture box;
  const std::string path = GENERATE(false, true) ? "@dray-notify-" + std::to_string(::getpid())
                                                 : box.temporary.path() + "/host.sock";
  Host host(path);
  CHECK_FALSE(NotifySocket::listen(box.directory).value());  // not prepared
  REQUIRE_OK(NotifySocket::prepare(box.directory, box.spec));
  REQUIRE(box.spec.mounts.size() == 1);
  CHECK(box.spec.mounts[0].destination == "/run/notify");
  CHECK(box.spec.mounts[0].source == box.directory.path() + "/notify");
  CHECK(box.spec.process.env == std::vector<std::string>{"NOTIFY_SOCKET=/run/notify/notify.sock"});
  auto listening = NotifySocket::listen(box.directory);
  REQUIRE_OK(listening);
  REQUIRE(*listening);
  const NotifySocket& notify = **listening;
  struct stat status;
  REQUIRE(::stat((box.directory.path() + "/notify/notify.sock").c_str(), &status) == 0);
  CHECK(status.st_mode == (S_IFSOCK | 0777));
  Pipe process = make_pipe().value();  // readable at its end, as a pidfd
  SECTION("wait() returns when the listener has taken it") {
    say(box.directory, "STATUS=hello\n");
    say(box.directory, "STATUS=done\nREADY=1\nMAINPID=1\n");
    Result<void> waited;
    std::thread waiter([&] { waited = notify.wait(process.read_end, 4711); });
    const std::string first = host.take(), second = host.take(), third = host.take();
    waiter.join();
    REQUIRE_OK(waited);
    CHECK(first == "READY=1\n");
    CHECK(second == "MAINPID=4711\n");
    CHECK(third == "BARRIER=1 with a descriptor");
  }
  SECTION("wait() returns when the container ends") {
    say(box.directory, "STATUS=hello\n");
    process.write_end.reset();
    REQUIRE_OK(notify.wait(process.read_end, 4711));
    CHECK(host.is_quiet());
  }
  SECTION("what it said at its end is passed on") {
    say(box.directory, "STATUS=hello\n");
    say(box.directory, "READY=1");
    process.write_end.reset();
    Result<void> waited;
    std::thread waiter([&] { waited = notify.wait(process.read_end, 4711); });
    const std::string first = host.take(), second = host.take(), third = host.take();
    waiter.join();
    REQUIRE_OK(waited);
    CHECK(first == "READY=1\n");
  }
  SECTION("pass_on() does not wait") {
    CHECK_FALSE(notify.pass_on(12).value());
    say(box.directory, "STATUS=hello\n");
    CHECK_FALSE(notify.pass_on(12).value());
    say(box.directory, "READY=1\n");
    CHECK(notify.pass_on(12).value());
    CHECK(host.take() == "READY=1\n");
    CHECK(host.take() == "MAINPID=12\n");
  }
  SECTION("a listener that is gone is an error") {
    REQUIRE(::setenv("NOTIFY_SOCKET", (box.temporary.path() + "/gone").c_str(), 1) == 0);
    auto other = NotifySocket::listen(box.directory);  // as a second `start` would
    REQUIRE_OK(other);
    say(box.directory, "READY=1\n");
    CHECK_FALSE((*other)->pass_on(12));
  }
}
