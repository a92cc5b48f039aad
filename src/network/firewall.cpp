// SPDX-License-Identifier: Apache-2.0
// nftables over netlink. A published port is one element of a map, not a rule: adding it costs the same with one port
// or ten thousand. Registers: NFT_REG32_00… are 4 bytes each; NFT_REG_1 covers the first four of them.
#include "firewall.hpp"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>

#include <cstring>

#include "netlink.hpp"

namespace dray::network {
namespace {

constexpr const char* kTable = "dray";
// nft's own numbers for data types, so that `nft list table ip dray` can show the sets; a concatenation shifts by 6
// bits.
constexpr std::uint32_t kTypeAddress = 7, kTypeProtocol = 12, kTypePort = 13;
constexpr std::uint32_t kCtStatusDstNat = 1 << 5;  // IPS_DST_NAT

std::string big_endian(std::uint32_t value) {
  value = htonl(value);
  return std::string(reinterpret_cast<const char*>(&value), 4);
}
std::string padded_port(std::uint16_t port) {
  port = htons(port);
  return std::string(reinterpret_cast<const char*>(&port), 2) + std::string(2, '\0');
}
std::string protocol_key(const PortMapping& port) {
  return std::string(1, static_cast<char>(port.protocol == "udp" ? IPPROTO_UDP : IPPROTO_TCP)) + std::string(3, '\0') +
         padded_port(port.host_port);
}

/// A transaction: messages between two markers; all of it happens or nothing.
class Batch {
 public:
  Batch() { marker(NFNL_MSG_BATCH_BEGIN); }

  void message(int type, int flags, std::string what, int tolerated = 0) {
    nfgenmsg header{NFPROTO_IPV4, NFNETLINK_V0, 0};
    builder.begin(static_cast<std::uint16_t>((NFNL_SUBSYS_NFTABLES << 8) | type),
                  static_cast<std::uint16_t>(flags | NLM_F_ACK), &header, sizeof header);
    builder.expect(std::move(what), tolerated);
  }

  Result<void> send() {
    marker(NFNL_MSG_BATCH_END);
    NetlinkSocket socket = TRY(NetlinkSocket::open(NETLINK_NETFILTER));
    return socket.send(builder);
  }

  MessageBuilder builder;

 private:
  void marker(std::uint16_t type) {
    nfgenmsg header{AF_UNSPEC, NFNETLINK_V0, htons(NFNL_SUBSYS_NFTABLES)};
    builder.begin(type, 0, &header, sizeof header);
    builder.finish();
  }
};

/// The expressions of one rule.
class Rule {
 public:
  Rule(Batch& batch, const char* chain) : builder_(batch.builder) {
    batch.message(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND,
                  std::string("adding a rule to the firewall chain ") + chain);
    builder_.text(NFTA_RULE_TABLE, kTable);
    builder_.text(NFTA_RULE_CHAIN, chain);
    list_ = builder_.open(NFTA_RULE_EXPRESSIONS);
  }
  ~Rule() {
    builder_.close(list_);
    builder_.finish();
  }
  Rule(const Rule&) = delete;
  Rule& operator=(const Rule&) = delete;

  /// ip saddr/daddr, offset 12/16 in the IPv4 header.
  Rule& load_network(std::uint32_t offset, std::uint32_t length, std::uint32_t reg) {
    return payload(NFT_PAYLOAD_NETWORK_HEADER, offset, length, reg);
  }
  Rule& load_port(std::uint32_t reg) { return payload(NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, reg); }
  Rule& load_meta(std::uint32_t key, std::uint32_t reg) {
    auto e = expression("meta");
    builder_.u32_be(NFTA_META_DREG, reg);
    builder_.u32_be(NFTA_META_KEY, key);
    return end(e);
  }
  Rule& load_ct_status(std::uint32_t reg) {
    auto e = expression("ct");
    builder_.u32_be(NFTA_CT_DREG, reg);
    builder_.u32_be(NFTA_CT_KEY, NFT_CT_STATUS);
    return end(e);
  }
  /// fib daddr type
  Rule& load_address_type(std::uint32_t reg) {
    auto e = expression("fib");
    builder_.u32_be(NFTA_FIB_DREG, reg);
    builder_.u32_be(NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
    builder_.u32_be(NFTA_FIB_FLAGS, NFTA_FIB_F_DADDR);
    return end(e);
  }
  Rule& mask(std::uint32_t reg, const std::string& bits) {
    auto e = expression("bitwise");
    builder_.u32_be(NFTA_BITWISE_SREG, reg);
    builder_.u32_be(NFTA_BITWISE_DREG, reg);
    builder_.u32_be(NFTA_BITWISE_LEN, static_cast<std::uint32_t>(bits.size()));
    value(NFTA_BITWISE_MASK, bits);
    value(NFTA_BITWISE_XOR, std::string(bits.size(), '\0'));
    return end(e);
  }
  Rule& compare(std::uint32_t operation, std::uint32_t reg, const std::string& bytes) {
    auto e = expression("cmp");
    builder_.u32_be(NFTA_CMP_SREG, reg);
    builder_.u32_be(NFTA_CMP_OP, operation);
    value(NFTA_CMP_DATA, bytes);
    return end(e);
  }
  Rule& look_up(const char* set, std::uint32_t source, std::uint32_t destination) {
    auto e = expression("lookup");
    builder_.text(NFTA_LOOKUP_SET, set);
    builder_.u32_be(NFTA_LOOKUP_SREG, source);
    builder_.u32_be(NFTA_LOOKUP_DREG, destination);
    return end(e);
  }
  Rule& dnat(std::uint32_t address_reg, std::uint32_t port_reg) {
    auto e = expression("nat");
    builder_.u32_be(NFTA_NAT_TYPE, NFT_NAT_DNAT);
    builder_.u32_be(NFTA_NAT_FAMILY, NFPROTO_IPV4);
    builder_.u32_be(NFTA_NAT_REG_ADDR_MIN, address_reg);
    builder_.u32_be(NFTA_NAT_REG_PROTO_MIN, port_reg);
    return end(e);
  }
  Rule& masquerade() { return end(expression("masq")); }

 private:
  struct Marks {
    std::size_t element, data;
  };
  Marks expression(const char* name) {
    std::size_t element = builder_.open(NFTA_LIST_ELEM);
    builder_.text(NFTA_EXPR_NAME, name);
    return {element, builder_.open(NFTA_EXPR_DATA)};
  }
  Rule& end(Marks marks) {
    builder_.close(marks.data);
    builder_.close(marks.element);
    return *this;
  }
  Rule& payload(std::uint32_t base, std::uint32_t offset, std::uint32_t length, std::uint32_t reg) {
    auto e = expression("payload");
    builder_.u32_be(NFTA_PAYLOAD_DREG, reg);
    builder_.u32_be(NFTA_PAYLOAD_BASE, base);
    builder_.u32_be(NFTA_PAYLOAD_OFFSET, offset);
    builder_.u32_be(NFTA_PAYLOAD_LEN, length);
    return end(e);
  }
  void value(std::uint16_t type, const std::string& bytes) {
    std::size_t mark = builder_.open(type);
    builder_.attribute(NFTA_DATA_VALUE, bytes);
    builder_.close(mark);
  }

  MessageBuilder& builder_;
  std::size_t list_;
};

void add_chain(Batch& batch, const char* name, std::uint32_t hook, std::int32_t priority) {
  batch.message(NFT_MSG_NEWCHAIN, NLM_F_CREATE, std::string("creating the firewall chain ") + name);
  batch.builder.text(NFTA_CHAIN_TABLE, kTable);
  batch.builder.text(NFTA_CHAIN_NAME, name);
  std::size_t mark = batch.builder.open(NFTA_CHAIN_HOOK);
  batch.builder.u32_be(NFTA_HOOK_HOOKNUM, hook);
  batch.builder.u32_be(NFTA_HOOK_PRIORITY, static_cast<std::uint32_t>(priority));
  batch.builder.close(mark);
  batch.builder.text(NFTA_CHAIN_TYPE, "nat");
  batch.builder.u32_be(NFTA_CHAIN_POLICY, NF_ACCEPT);
  batch.builder.finish();
}

void add_map(Batch& batch, const char* name, std::uint32_t id, std::uint32_t key_type, std::uint32_t key_length) {
  batch.message(NFT_MSG_NEWSET, NLM_F_CREATE, std::string("creating the firewall map ") + name);
  batch.builder.text(NFTA_SET_TABLE, kTable);
  batch.builder.text(NFTA_SET_NAME, name);
  batch.builder.u32_be(NFTA_SET_FLAGS, NFT_SET_MAP);
  batch.builder.u32_be(NFTA_SET_KEY_TYPE, key_type);
  batch.builder.u32_be(NFTA_SET_KEY_LEN, key_length);
  batch.builder.u32_be(NFTA_SET_DATA_TYPE, (kTypeAddress << 6) | kTypePort);
  batch.builder.u32_be(NFTA_SET_DATA_LEN, 8);
  batch.builder.u32_be(NFTA_SET_ID, id);
  batch.builder.finish();
}

void element(Batch& batch, int type, int flags, const char* set, const std::string& key, const std::string& data,
             const std::string& what, int tolerated) {
  batch.message(type, flags, what, tolerated);
  batch.builder.text(NFTA_SET_ELEM_LIST_TABLE, kTable);
  batch.builder.text(NFTA_SET_ELEM_LIST_SET, set);
  std::size_t list = batch.builder.open(NFTA_SET_ELEM_LIST_ELEMENTS);
  std::size_t item = batch.builder.open(NFTA_LIST_ELEM);
  std::size_t mark = batch.builder.open(NFTA_SET_ELEM_KEY);
  batch.builder.attribute(NFTA_DATA_VALUE, key);
  batch.builder.close(mark);
  if (!data.empty()) {
    mark = batch.builder.open(NFTA_SET_ELEM_DATA);
    batch.builder.attribute(NFTA_DATA_VALUE, data);
    batch.builder.close(mark);
  }
  batch.builder.close(item);
  batch.builder.close(list);
  batch.builder.finish();
}

struct MapKey {
  const char* map;
  std::string key;
};
MapKey key_of(const PortMapping& port) {
  in_addr address{};
  bool any =
      port.host_ip.empty() || port.host_ip == "0.0.0.0" || ::inet_pton(AF_INET, port.host_ip.c_str(), &address) != 1;
  if (any) return {"ports", protocol_key(port)};
  return {"ports_at", std::string(reinterpret_cast<const char*>(&address), 4) + protocol_key(port)};
}

/// Deletes elements one by one: one that is absent must not undo the others.
Result<void> delete_element(const char* set, const std::string& key) {
  Batch batch;
  element(batch, NFT_MSG_DELSETELEM, 0, set, key, "", "changing the firewall", ENOENT);
  return batch.send();
}

struct MapElement {
  std::string key, data;
};

/// One NEWSETELEM message: a list of elements, each with a key and a value.
void read_elements(std::string_view attributes, std::vector<MapElement>& elements) {
  const auto value_of = [](std::string_view item, std::uint16_t type) {
    return std::string(find_attribute(find_attribute(item, type), NFTA_DATA_VALUE));
  };
  std::string_view list = find_attribute(attributes, NFTA_SET_ELEM_LIST_ELEMENTS);
  while (auto item = next_attribute(list))
    elements.push_back({value_of(item->value, NFTA_SET_ELEM_KEY), value_of(item->value, NFTA_SET_ELEM_DATA)});
}

/// Nothing where there is no table.
Result<std::vector<MapElement>> list_elements(const char* map) {
  MessageBuilder builder;
  nfgenmsg header{NFPROTO_IPV4, NFNETLINK_V0, 0};
  builder.begin((NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETSETELEM, NLM_F_ACK | NLM_F_DUMP, &header, sizeof header);
  builder.expect("listing published ports", ENOENT);
  builder.text(NFTA_SET_ELEM_LIST_TABLE, kTable);
  builder.text(NFTA_SET_ELEM_LIST_SET, map);
  builder.finish();
  std::vector<MapElement> elements;
  NetlinkSocket socket = TRY(NetlinkSocket::open(NETLINK_NETFILTER));
  TRY(socket.dump(builder, [&](std::string_view payload) {
    if (payload.size() > sizeof header) read_elements(payload.substr(sizeof header), elements);
  }));
  return elements;
}

}  // namespace

Result<bool> Firewall::exists() {
  MessageBuilder builder;
  nfgenmsg header{NFPROTO_IPV4, NFNETLINK_V0, 0};
  builder.begin((NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETTABLE, NLM_F_ACK, &header, sizeof header);
  builder.expect("looking up the firewall table");
  builder.text(NFTA_TABLE_NAME, kTable);
  builder.finish();
  NetlinkSocket socket = TRY(NetlinkSocket::open(NETLINK_NETFILTER));
  auto answer = socket.send(builder);
  if (answer) return true;
  if (answer.error().error_number() == ENOENT) return false;
  return Failure(
      std::move(answer).error().with_hint("Publishing ports and outgoing traffic need nftables in the kernel (modules "
                                          "nf_tables, nft_chain_nat, nft_masq)."));
}

Result<void> Firewall::ensure() {
  if (TRY(exists())) return {};
  Batch batch;
  batch.message(NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL, "creating the firewall table");
  batch.builder.text(NFTA_TABLE_NAME, kTable);
  batch.builder.finish();
  add_map(batch, "ports", 1, (kTypeProtocol << 6) | kTypePort, 8);
  add_map(batch, "ports_at", 2, (((kTypeAddress << 6) | kTypeProtocol) << 6) | kTypePort, 12);
  add_chain(batch, "prerouting", NF_INET_PRE_ROUTING, -100);
  add_chain(batch, "output", NF_INET_LOCAL_OUT, -100);
  add_chain(batch, "postrouting", NF_INET_POST_ROUTING, 100);

  std::uint32_t local = RTN_LOCAL;
  std::string is_local(reinterpret_cast<const char*>(&local), 4);
  for (const char* chain : {"prerouting", "output"}) {
    // A port published on one address wins over the same port on all.
    Rule(batch, chain)
        .load_network(16, 4, NFT_REG32_00)
        .load_meta(NFT_META_L4PROTO, NFT_REG32_01)
        .load_port(NFT_REG32_02)
        .look_up("ports_at", NFT_REG32_00, NFT_REG_1)
        .dnat(NFT_REG32_00, NFT_REG32_01);
    Rule(batch, chain)
        .load_address_type(NFT_REG32_00)
        .compare(NFT_CMP_EQ, NFT_REG32_00, is_local)
        .load_meta(NFT_META_L4PROTO, NFT_REG32_00)
        .load_port(NFT_REG32_01)
        .look_up("ports", NFT_REG32_00, NFT_REG_1)
        .dnat(NFT_REG32_00, NFT_REG32_01);
  }
  std::string bridge = bridge_;
  bridge.resize(16, '\0');
  std::uint32_t net_mask = prefix_length_ == 0 ? 0 : ~std::uint32_t{0} << (32 - prefix_length_);
  std::string mask = big_endian(net_mask), subnet = big_endian(subnet_ & net_mask);
  std::uint32_t status = kCtStatusDstNat;
  std::string dst_nat(reinterpret_cast<const char*>(&status), 4);
  // Out of the machine.
  Rule(batch, "postrouting")
      .load_network(12, 4, NFT_REG32_00)
      .mask(NFT_REG32_00, mask)
      .compare(NFT_CMP_EQ, NFT_REG32_00, subnet)
      .load_meta(NFT_META_OIFNAME, NFT_REG_1)
      .compare(NFT_CMP_NEQ, NFT_REG_1, bridge)
      .masquerade();
  // From the host's loopback to a container: answers to 127.0.0.1 would never leave the container.
  Rule(batch, "postrouting")
      .load_network(12, 1, NFT_REG32_00)
      .compare(NFT_CMP_EQ, NFT_REG32_00, std::string(1, '\x7f'))
      .load_meta(NFT_META_OIFNAME, NFT_REG_1)
      .compare(NFT_CMP_EQ, NFT_REG_1, bridge)
      .masquerade();
  // Container to container through a published port: the answer must come back through us.
  Rule(batch, "postrouting")
      .load_network(12, 4, NFT_REG32_00)
      .mask(NFT_REG32_00, mask)
      .compare(NFT_CMP_EQ, NFT_REG32_00, subnet)
      .load_meta(NFT_META_OIFNAME, NFT_REG_1)
      .compare(NFT_CMP_EQ, NFT_REG_1, bridge)
      .load_ct_status(NFT_REG32_00)
      .mask(NFT_REG32_00, dst_nat)
      .compare(NFT_CMP_NEQ, NFT_REG32_00, std::string(4, '\0'))
      .masquerade();
  auto made = batch.send();
  if (!made && made.error().error_number() == EEXIST) return {};  // another dray was first
  return made;
}

Result<void> Firewall::publish(std::uint32_t container_address, const std::vector<PortMapping>& ports) {
  if (ports.empty()) return {};
  // Twice: an element in the way belongs to a container whose monitor was killed.
  for (int attempt = 0;; ++attempt) {
    Batch batch;
    for (const PortMapping& port : ports) {
      MapKey key = key_of(port);
      element(batch, NFT_MSG_NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL, key.map, key.key,
              big_endian(container_address) + padded_port(port.container_port),
              "publishing port " + std::to_string(port.host_port), 0);
    }
    auto published = batch.send();
    if (published || published.error().error_number() != EEXIST || attempt == 1) return published;
    for (const PortMapping& port : ports) {
      MapKey key = key_of(port);
      TRY(delete_element(key.map, key.key));
    }
  }
}

Result<void> Firewall::withdraw(const std::function<bool(std::uint32_t address)>& gone) {
  Result<void> result;
  for (const char* map : {"ports", "ports_at"}) {
    for (const MapElement& published : TRY(list_elements(map))) {
      std::uint32_t address = 0;
      if (published.data.size() < sizeof address) continue;
      std::memcpy(&address, published.data.data(), sizeof address);
      if (!gone(ntohl(address))) continue;
      auto deleted = delete_element(map, published.key);
      if (!deleted && result) result = std::move(deleted);
    }
  }
  return result;
}

}  // namespace dray::network
