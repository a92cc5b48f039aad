// SPDX-License-Identifier: Apache-2.0
// /etc/resolv.conf and /etc/hosts of a container.
#include <arpa/inet.h>

#include <dray/network/network.hpp>

namespace dray::network {
namespace {

struct ResolvConf {
  std::vector<std::string> servers, search, options;
};

std::vector<std::string> words_of(std::string_view line) {
  std::vector<std::string> words;
  for (std::size_t at = 0; (at = line.find_first_not_of(" \t\r", at)) != std::string_view::npos;) {
    std::size_t end = std::min(line.find_first_of(" \t\r", at), line.size());
    words.emplace_back(line.substr(at, end - at));
    at = end;
  }
  return words;
}

ResolvConf read_resolv_conf(const std::string& path) {
  ResolvConf conf;
  auto text = read_file(path, 1 << 16);
  if (!text) return conf;
  for (std::size_t start = 0; start < text->size();) {
    std::size_t end = std::min(text->find('\n', start), text->size());
    auto words = words_of(std::string_view(*text).substr(start, end - start));
    start = end + 1;
    if (words.size() < 2) continue;
    if (words[0] == "nameserver") conf.servers.push_back(words[1]);
    if (words[0] == "search" || words[0] == "domain") conf.search.assign(words.begin() + 1, words.end());
    if (words[0] == "options") conf.options.insert(conf.options.end(), words.begin() + 1, words.end());
  }
  return conf;
}

/// In a container's own network namespace, a loopback server would be the container itself. IPv6 servers cannot be
/// reached (the bridge is IPv4).
void drop_unreachable(std::vector<std::string>& servers) {
  std::erase_if(servers, [](const std::string& server) {
    return server.starts_with("127.") || server.find(':') != std::string::npos;
  });
}

bool is_address(const std::string& text) {
  unsigned char raw[16];
  return ::inet_pton(AF_INET, text.c_str(), raw) == 1 || ::inet_pton(AF_INET6, text.c_str(), raw) == 1;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words) text += " " + word;
  return text;
}

/// A line break in a value would add lines of the caller's making.
Result<void> check_words(const std::vector<std::string>& words, const std::string& flag) {
  for (const auto& word : words)
    if (word.empty() || word.find_first_of(" \t\n\r") != std::string::npos)
      return fail(ErrorCode::invalid_argument, "invalid value for " + flag + ": \"" + word + "\"");
  return {};
}

}  // namespace

Result<std::string> make_resolv_conf(const DnsOptions& options, bool host_network) {
  ResolvConf conf = read_resolv_conf("/etc/resolv.conf");
  if (!host_network) {
    drop_unreachable(conf.servers);
    if (conf.servers.empty()) {
      conf = read_resolv_conf("/run/systemd/resolve/resolv.conf");
      drop_unreachable(conf.servers);
    }
    if (conf.servers.empty()) conf.servers = {"8.8.8.8", "8.8.4.4"};  // Docker's choice, too
  }
  for (const auto& server : options.servers)
    if (!is_address(server))
      return fail(ErrorCode::invalid_argument, "invalid IP address for --dns: \"" + server + "\"");
  TRY(check_words(options.search, "--dns-search"));
  TRY(check_words(options.options, "--dns-option"));
  if (!options.servers.empty()) conf.servers = options.servers;
  if (!options.search.empty()) conf.search = options.search;
  if (options.search == std::vector<std::string>{"."}) conf.search.clear();
  if (!options.options.empty()) conf.options = options.options;
  std::string text;
  for (const auto& server : conf.servers) text += "nameserver " + server + "\n";
  if (!conf.search.empty()) text += "search" + joined(conf.search) + "\n";
  if (!conf.options.empty()) text += "options" + joined(conf.options) + "\n";
  return text;
}

Result<std::string> make_hosts_file(const std::string& hostname, const std::string& ip_address,
                                    const std::vector<std::string>& add_hosts, const std::string& gateway) {
  std::string text =
      "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost "
      "ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";
  for (const auto& entry : add_hosts) {
    std::size_t separator = entry.find_first_of(":=");
    std::string name = entry.substr(0, separator);
    std::string address = separator == std::string::npos ? "" : entry.substr(separator + 1);
    if (address.starts_with('[') && address.ends_with(']')) address = address.substr(1, address.size() - 2);
    if (address == "host-gateway") address = gateway.empty() ? "127.0.0.1" : gateway;
    TRY(check_words({name}, "--add-host"));
    if (!is_address(address))
      return fail(ErrorCode::invalid_argument,
                  "invalid IP address in add-host: \"" + address + "\" (expected host:ip)");
    text += address + "\t" + name + "\n";
  }
  if (!ip_address.empty() && !hostname.empty()) text += ip_address + "\t" + hostname + "\n";
  return text;
}

}  // namespace dray::network
