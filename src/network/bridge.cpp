// SPDX-License-Identifier: Apache-2.0
// Endpoints of containers on dray0. The database says which endpoint is whose (written before anything is made, so that a killed
// process leaves a row that recover() finds); the kernel says what exists. An address is taken by adding it exclusively to the
// firewall's set, which serves several dray roots on one machine and is empty after a reboot.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <charconv>

#include <dray/core/digest.hpp>
#include <dray/network/network.hpp>

#include "firewall.hpp"
#include "links.hpp"
#include "netlink.hpp"

namespace dray::network {
namespace {

constexpr const char* kBridge = "dray0";
constexpr const char* kSubnets[] = {"172.29.0.0", "172.30.0.0", "172.31.0.0", "10.88.0.0", "10.89.0.0", "192.168.0.0"};
constexpr int kPrefixLength = 16;
constexpr int kTries = 4096;

bool overlaps(LinkAddress a, LinkAddress b) {
  if (a.prefix_length == 0 || b.prefix_length == 0) return false;  // the default route is everywhere
  int shorter = std::min(a.prefix_length, b.prefix_length);
  std::uint32_t mask = ~std::uint32_t{0} << (32 - shorter);
  return (a.address & mask) == (b.address & mask);
}

Result<LinkAddress> choose_subnet() {
  auto routes = host_routes();
  for (const char* text : kSubnets) {
    LinkAddress candidate{*parse_address(text), kPrefixLength};
    if (std::none_of(routes.begin(), routes.end(), [&](const auto& route) { return overlaps(route, candidate); })) return candidate;
  }
  return fail(ErrorCode::in_use, "no free subnet for the bridge: the host has routes into all of Dray's candidates");
}

/// A sysctl that is right already is not written: /proc/sys may be read-only where it was set up for us.
Result<void> set_sysctl(const std::string& path, const std::string& value) {
  auto current = read_file(path, 64);
  if (current && current->starts_with(value)) return {};
  FileDescriptor fd = TRY(open_file(path, O_WRONLY));
  return write_all(fd, value);
}

std::string host_interface_of(const std::string& container_id) { return "veth" + Digest::of(container_id).hex().substr(0, 11); }

std::string serialize(const std::vector<PortMapping>& ports) {
  std::string text;
  for (const auto& port : ports)
    text += port.protocol + "|" + port.host_ip + "|" + std::to_string(port.host_port) + "|" + std::to_string(port.container_port) + "\n";
  return text;
}

std::vector<PortMapping> deserialize(const std::string& text) {
  std::vector<PortMapping> ports;
  for (std::size_t start = 0; start < text.size();) {
    std::size_t end = std::min(text.find('\n', start), text.size());
    std::vector<std::string> fields;
    for (std::size_t at = start; at <= end;) {
      std::size_t stop = std::min(text.find('|', at), end);
      fields.push_back(text.substr(at, stop - at));
      at = stop + 1;
    }
    start = end + 1;
    if (fields.size() != 4) continue;
    PortMapping port;
    port.protocol = fields[0];
    port.host_ip = fields[1];
    std::from_chars(fields[2].data(), fields[2].data() + fields[2].size(), port.host_port);
    std::from_chars(fields[3].data(), fields[3].data() + fields[3].size(), port.container_port);
    ports.push_back(std::move(port));
  }
  return ports;
}

/// Holds the host port: nobody else can bind it while the container runs, and a port in use is found out here.
Result<FileDescriptor> reserve(PortMapping& port) {
  bool is_tcp = port.protocol == "tcp";
  FileDescriptor fd(::socket(AF_INET, (is_tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return fail_errno("opening a socket");
  int on = 1;
  // A connection in TIME_WAIT of a former container is no reason to refuse the port.
  if (is_tcp) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port.host_port);
  ::inet_pton(AF_INET, port.host_ip.empty() ? "0.0.0.0" : port.host_ip.c_str(), &address.sin_addr);
  auto* raw = reinterpret_cast<sockaddr*>(&address);
  if (::bind(fd.get(), raw, sizeof address) != 0 || (is_tcp && ::listen(fd.get(), 1) != 0)) {
    std::string where = (port.host_ip.empty() ? "0.0.0.0" : port.host_ip) + ":" + std::to_string(port.host_port);
    if (errno == EADDRINUSE) return fail(ErrorCode::in_use, "Bind for " + where + " failed: port is already allocated");
    return fail_errno("publishing " + where);
  }
  socklen_t length = sizeof address;
  if (::getsockname(fd.get(), raw, &length) != 0) return fail_errno("publishing a port");
  port.host_port = ntohs(address.sin_port);
  return fd;
}

}  // namespace

struct Bridge::State {
  std::shared_ptr<store::Database> db;
  std::string state_directory;
  LinkAddress subnet;

  Firewall firewall() const { return Firewall(kBridge, subnet.address, subnet.prefix_length); }

  /// dray0 with its address, forwarding, the firewall table.
  Result<void> ensure() {
    if (auto existing = link_address(kBridge)) {
      subnet = *existing;
      return firewall().ensure();
    }
    TRY(make_directories(state_directory, 0700));
    FileLock lock = TRY(FileLock::acquire(state_directory + "/network.lock", FileLock::Mode::exclusive));
    auto existing = link_address(kBridge);
    if (!existing) {
      LinkAddress chosen = TRY(choose_subnet());
      chosen.address += 1;
      TRY_CTX(create_bridge(kBridge, chosen, default_mtu()), "setting up the bridge network");
      existing = link_address(kBridge);
      if (!existing) return fail(ErrorCode::internal, "the bridge dray0 has no address");
    }
    subnet = *existing;
    TRY_CTX(set_sysctl("/proc/sys/net/ipv4/ip_forward", "1"), "enabling forwarding");
    TRY_CTX(set_sysctl(std::string("/proc/sys/net/ipv4/conf/") + kBridge + "/route_localnet", "1"), "enabling published ports on localhost");
    return firewall().ensure();
  }

  Result<std::uint32_t> allocate(const std::string& container_id, const std::string& interface) {
    std::uint32_t mask = ~std::uint32_t{0} << (32 - subnet.prefix_length);
    std::uint32_t base = subnet.address & mask, size = ~mask;
    auto last = TRY(db->query("SELECT address FROM network_last"));
    std::uint32_t candidate = last.empty() ? 1 : static_cast<std::uint32_t>(last[0].integer(0));
    for (int tries = 0; tries < kTries; ++tries) {
      candidate = candidate + 1 >= size ? 2 : candidate + 1;  // .0 is the network, .1 the bridge, the last one broadcast
      std::uint32_t address = base + candidate;
      // The row first: if we die after the claim, recover() knows whose address it was.
      TRY(db->execute("INSERT OR REPLACE INTO network_leases(container,address,interface,ports) VALUES(?,?,?,'')", {container_id, to_text(address), interface}));
      auto claimed = firewall().claim_address(address);
      if (claimed) {
        TRY(db->execute("INSERT OR REPLACE INTO network_last(id,address) VALUES(1,?)", {static_cast<std::int64_t>(candidate)}));
        return address;
      }
      if (claimed.error().error_number() != EEXIST) {
        (void)db->execute("DELETE FROM network_leases WHERE container=?", {container_id});
        return Failure(std::move(claimed).error());
      }
    }
    (void)db->execute("DELETE FROM network_leases WHERE container=?", {container_id});
    return fail(ErrorCode::in_use, "no free address in the bridge network");
  }
};

Bridge::Bridge(std::unique_ptr<State> state) : state_(std::move(state)) {}
Bridge::~Bridge() = default;

Result<std::unique_ptr<Bridge>> Bridge::open(std::shared_ptr<store::Database> db, const std::string& state_directory) {
  TRY(db->execute("CREATE TABLE IF NOT EXISTS network_leases(container TEXT PRIMARY KEY, address TEXT, interface TEXT, ports TEXT)"));
  TRY(db->execute("CREATE TABLE IF NOT EXISTS network_last(id INTEGER PRIMARY KEY, address INTEGER)"));
  auto state = std::make_unique<State>();
  state->db = std::move(db);
  state->state_directory = state_directory;
  return std::unique_ptr<Bridge>(new Bridge(std::move(state)));
}

Result<Bridge::Attachment> Bridge::attach(FdRef netns, const std::string& container_id, const std::vector<PortMapping>& ports) {
  TRY(state_->ensure());
  Attachment attachment;
  Endpoint& endpoint = attachment.endpoint;
  endpoint.network = "bridge";
  endpoint.ports = ports;
  // Before anything exists: a port in use is the likeliest failure.
  for (PortMapping& port : endpoint.ports) {
    FileDescriptor reservation = TRY(reserve(port));
    attachment.port_reservations.push_back(std::move(reservation));
  }
  endpoint.host_interface = host_interface_of(container_id);
  std::uint32_t address = TRY(state_->allocate(container_id, endpoint.host_interface));
  auto set_up = [&]() -> Result<void> {
    TRY(state_->db->execute("UPDATE network_leases SET ports=? WHERE container=?", {serialize(endpoint.ports), container_id}));
    // 02:42 and the address, as Docker: locally administered, and known from the address.
    std::string mac = {'\x02', '\x42', static_cast<char>(address >> 24), static_cast<char>(address >> 16), static_cast<char>(address >> 8), static_cast<char>(address)};
    VethRequest request;
    request.host_name = endpoint.host_interface;
    request.bridge = kBridge;
    request.netns = netns;
    request.mac = mac;
    request.address = {address, state_->subnet.prefix_length};
    request.gateway = state_->subnet.address;
    request.mtu = default_mtu();
    TRY(create_veth(request));
    TRY(state_->firewall().publish(address, endpoint.ports));
    char text[32];
    std::snprintf(text, sizeof text, "02:42:%02x:%02x:%02x:%02x", address >> 24, (address >> 16) & 255, (address >> 8) & 255, address & 255);
    endpoint.mac_address = text;
    return {};
  };
  auto done = set_up();
  if (!done) {
    Error error = std::move(done).error().with_context("connecting to the bridge network");
    auto undone = detach(container_id);
    if (!undone) error = std::move(error).with_cleanup_failure(undone.error());
    return Failure(std::move(error));
  }
  endpoint.ip_address = to_text(address);
  endpoint.gateway = to_text(state_->subnet.address);
  endpoint.prefix_length = state_->subnet.prefix_length;
  return attachment;
}

Result<void> Bridge::detach(const std::string& container_id) {
  auto rows = TRY(state_->db->query("SELECT address,interface,ports FROM network_leases WHERE container=?", {container_id}));
  if (rows.empty()) return {};
  Firewall firewall = state_->firewall();
  // The first failure is reported, but each thing is tried. The row goes last: what could not be undone is found again.
  Result<void> result = firewall.withdraw(deserialize(rows[0].text(2)));
  auto deleted = delete_link(rows[0].text(1));
  if (!deleted && result) result = std::move(deleted);
  if (auto address = parse_address(rows[0].text(0))) {
    auto released = firewall.release_address(*address);
    if (!released && result) result = std::move(released);
  }
  TRY(std::move(result));
  return state_->db->execute("DELETE FROM network_leases WHERE container=?", {container_id});
}

Result<void> Bridge::recover(const std::vector<std::string>& alive) {
  for (const store::Row& row : TRY(state_->db->query("SELECT container FROM network_leases"))) {
    std::string container = row.text(0);
    if (std::find(alive.begin(), alive.end(), container) == alive.end()) TRY(detach(container));
  }
  return {};
}

Result<void> bring_up_loopback(FdRef netns) {
  return in_namespace(netns, [&]() -> Result<void> {
    // SIOCSIFFLAGS would do as well; the kernel's own way is one message.
    NetlinkSocket socket = TRY(NetlinkSocket::open(NETLINK_ROUTE));
    MessageBuilder batch;
    add_link_up(batch, link_index("lo"));
    return socket.send(batch);
  });
}

}  // namespace dray::network
