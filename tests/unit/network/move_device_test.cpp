// SPDX-License-Identifier: Apache-2.0
// In network namespaces of the test's own. Needs root; says so and passes without.
#include "catch.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <set>

#include <dray/network/network.hpp>

#include "links.hpp"
#include "netlink.hpp"

using namespace dray;
using namespace dray::network;

namespace {

FileDescriptor current_namespace() { return open_file("/proc/thread-self/ns/net", O_RDONLY).value(); }

// Two namespaces: the thread is in the first, as a caller of the runtime is in the host's.
class Namespaces {
 public:
  Namespaces() : before_(current_namespace()) {
    REQUIRE(::unshare(CLONE_NEWNET) == 0);
    container = current_namespace();
    REQUIRE(::unshare(CLONE_NEWNET) == 0);
  }
  ~Namespaces() { (void)::setns(before_.get(), CLONE_NEWNET); }
  Namespaces(const Namespaces&) = delete;
  Namespaces& operator=(const Namespaces&) = delete;
  FileDescriptor container;

 private:
  FileDescriptor before_;
};

void make_veth(const std::string& name, unsigned mtu, const std::string& mac) {
  MessageBuilder batch;
  ifinfomsg header{};
  batch.begin(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &header, sizeof header);
  batch.expect("making a veth pair");
  batch.text(IFLA_IFNAME, name);
  batch.u32(IFLA_MTU, mtu);
  batch.attribute(IFLA_ADDRESS, mac);
  std::size_t info = batch.open(IFLA_LINKINFO);
  batch.text(IFLA_INFO_KIND, "veth");
  batch.close(info);
  batch.finish();
  REQUIRE_OK(NetlinkSocket::open(NETLINK_ROUTE).value().send(batch));
}

void add_address(const std::string& name, int family, const char* text, int prefix, int scope) {
  char raw[16];
  REQUIRE(::inet_pton(family, text, raw) == 1);
  const std::string_view bytes(raw, family == AF_INET ? 4 : 16);
  MessageBuilder batch;
  ifaddrmsg header{};
  header.ifa_family = static_cast<unsigned char>(family);
  header.ifa_prefixlen = static_cast<unsigned char>(prefix);
  header.ifa_scope = static_cast<unsigned char>(scope);
  header.ifa_index = link_index(name);
  batch.begin(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE, &header, sizeof header);
  batch.expect("adding an address");
  batch.attribute(IFA_LOCAL, bytes);
  batch.attribute(IFA_ADDRESS, bytes);
  batch.finish();
  REQUIRE_OK(NetlinkSocket::open(NETLINK_ROUTE).value().send(batch));
}

std::set<std::string> addresses(const std::string& name) {
  std::set<std::string> found;
  const unsigned index = link_index(name);
  MessageBuilder request;
  ifaddrmsg all{};
  request.begin(RTM_GETADDR, NLM_F_ACK | NLM_F_DUMP, &all, sizeof all);
  request.expect("listing addresses");
  request.finish();
  auto socket = NetlinkSocket::open(NETLINK_ROUTE).value();
  (void)socket.dump(request, [&](std::string_view payload) {
    ifaddrmsg header;
    std::memcpy(&header, payload.data(), sizeof header);
    if (header.ifa_index != index) return;
    auto raw = find_attribute(payload.substr(sizeof header), IFA_ADDRESS);
    char text[INET6_ADDRSTRLEN];
    found.insert(::inet_ntop(header.ifa_family, raw.data(), text, sizeof text) +
                 ("/" + std::to_string(header.ifa_prefixlen)));
  });
  return found;
}

ifreq ask(unsigned long what, const std::string& name) {
  FileDescriptor socket(::socket(AF_INET, SOCK_DGRAM, 0));
  ifreq request{};
  std::strncpy(request.ifr_name, name.c_str(), IFNAMSIZ - 1);
  if (::ioctl(socket.get(), what, &request) != 0) request.ifr_flags = 0;
  return request;
}
bool is_up(const std::string& name) { return (ask(SIOCGIFFLAGS, name).ifr_flags & IFF_UP) != 0; }

#define NEEDS_ROOT()              \
  if (::geteuid() != 0) {         \
    WARN("skipped: needs root");  \
    return;                       \
  }

const std::string kMac("\x02\x11\x22\x33\x44\x55", 6);

}  // namespace

TEST_CASE("a device is moved with what belongs to it", "[network]") {
  NEEDS_ROOT();
  Namespaces namespaces;
  make_veth("moved0", 1789, kMac);
  add_address("moved0", AF_INET, "169.254.169.77", 32, RT_SCOPE_UNIVERSE);
  add_address("moved0", AF_INET, "10.9.8.7", 24, RT_SCOPE_UNIVERSE);
  add_address("moved0", AF_INET, "127.0.0.33", 32, RT_SCOPE_HOST);
  const std::string name = GENERATE("", "inside0");
  SECTION("IPv4, MTU, MAC address, up") {
    REQUIRE_OK(move_device("moved0", name, namespaces.container));
    CHECK(link_index("moved0") == 0);
    REQUIRE_OK(in_namespace(namespaces.container, [&]() -> Result<void> {
      const std::string inside = name.empty() ? "moved0" : name;
      CHECK(is_up(inside));
      CHECK(ask(SIOCGIFMTU, inside).ifr_mtu == 1789);
      CHECK(std::string(ask(SIOCGIFHWADDR, inside).ifr_hwaddr.sa_data, 6) == kMac);
      auto found = addresses(inside);
      CHECK(found.count("169.254.169.77/32") == 1);
      CHECK(found.count("10.9.8.7/24") == 1);
      CHECK(found.count("127.0.0.33/32") == 0);
      return {};
    }));
  }
  SECTION("IPv6, which the kernel forgets when a device goes down") {
    if (::access("/proc/net/if_inet6", F_OK) != 0) {
      WARN("skipped: the kernel has no IPv6");
      return;
    }
    MessageBuilder up;
    add_link_up(up, link_index("moved0"));
    REQUIRE_OK(NetlinkSocket::open(NETLINK_ROUTE).value().send(up));
    add_address("moved0", AF_INET6, "fd00::7", 64, RT_SCOPE_UNIVERSE);
    REQUIRE_OK(move_device("moved0", name, namespaces.container));
    REQUIRE_OK(in_namespace(namespaces.container, [&]() -> Result<void> {
      CHECK(addresses(name.empty() ? "moved0" : name).count("fd00::7/64") == 1);
      return {};
    }));
  }
}

TEST_CASE("a device that cannot be moved stays as it was", "[network]") {
  NEEDS_ROOT();
  Namespaces namespaces;
  make_veth("moved0", 1500, kMac);
  MessageBuilder up;
  add_link_up(up, link_index("moved0"));
  REQUIRE_OK(NetlinkSocket::open(NETLINK_ROUTE).value().send(up));
  add_address("moved0", AF_INET, "10.9.8.7", 24, RT_SCOPE_UNIVERSE);
  SECTION("there is none of this name") {
    auto moved = move_device("missing0", "", namespaces.container);
    REQUIRE_FALSE(moved);
    CHECK(moved.error().code() == ErrorCode::not_found);
    CHECK(moved.error().message() == "link not found for interface missing0 on runtime namespace: Link not found");
  }
  SECTION("the name is taken in the container") {
    auto moved = move_device("moved0", "lo", namespaces.container);
    REQUIRE_FALSE(moved);
    INFO(moved.error().message());
    CHECK(moved.error().code() == ErrorCode::already_exists);
    CHECK(is_up("moved0"));
    CHECK(addresses("moved0").count("10.9.8.7/24") == 1);
  }
  SECTION("only its present name is taken in the container") {
    REQUIRE_OK(in_namespace(namespaces.container, []() -> Result<void> {
      make_veth("moved0", 1400, std::string("\x02\x11\x22\x33\x44\x66", 6));
      return {};
    }));
    auto moved = move_device("moved0", "", namespaces.container);
    REQUIRE_FALSE(moved);
    CHECK(moved.error().code() == ErrorCode::already_exists);
    CHECK(is_up("moved0"));
    REQUIRE_OK(move_device("moved0", "other0", namespaces.container));
    CHECK(link_index("moved0") == 0);
  }
}

TEST_CASE("the loopback interface is brought up", "[network]") {
  NEEDS_ROOT();
  Namespaces namespaces;
  auto loopback_is_up = [](FdRef netns) {
    bool up = false;
    (void)in_namespace(netns, [&]() -> Result<void> {
      up = is_up("lo");
      return {};
    });
    return up;
  };
  SECTION("by root") {
    REQUIRE_OK(bring_up_loopback(namespaces.container));
    CHECK(loopback_is_up(namespaces.container));
  }
  SECTION("by who owns its user namespace") {
    // The container: an ordinary user's namespaces, kept by a process that waits.
    Pipe ready = make_pipe().value(), result = make_pipe().value();
    const pid_t user = ::fork();
    if (user == 0) {
      if (::setresuid(65534, 65534, 65534) != 0 || ::prctl(PR_SET_DUMPABLE, 1) != 0) ::_exit(1);
      const pid_t container = ::fork();
      if (container == 0) {
        const char answer = ::unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0 ? 'y' : 'n';
        (void)!::write(ready.write_end.get(), &answer, 1);
        ::pause();
        ::_exit(0);
      }
      char answer = 'n';
      (void)!::read(ready.read_end.get(), &answer, 1);
      std::string text = "skipped";
      if (answer == 'y') {
        auto netns = open_file("/proc/" + std::to_string(container) + "/ns/net", O_RDONLY);
        auto done = netns ? bring_up_loopback(*netns) : Result<void>(Failure(netns.error()));
        text = done ? "up" : done.error().message();
        // Seen from outside: the flags of its lo.
        (void)!::write(result.write_end.get(), text.data(), text.size());
        // The test looks before both end.
        ::pause();
      }
      (void)!::write(result.write_end.get(), text.data(), text.size());
      ::kill(container, SIGKILL);
      ::_exit(0);
    }
    char text[256] = {};
    REQUIRE(::read(result.read_end.get(), text, sizeof text - 1) > 0);
    if (std::string(text) == "skipped") {
      WARN("skipped: no user namespaces for ordinary users");
    } else {
      CHECK(std::string(text) == "up");
      auto children = read_file("/proc/" + std::to_string(user) + "/task/" + std::to_string(user) + "/children");
      if (children && !children->empty()) {
        auto netns = open_file("/proc/" + children->substr(0, children->find(' ')) + "/ns/net", O_RDONLY);
        REQUIRE_OK(netns);
        CHECK(loopback_is_up(*netns));
        ::kill(std::stoi(*children), SIGKILL);
      }
      ::kill(user, SIGKILL);
    }
    ::waitpid(user, nullptr, 0);
  }
}
