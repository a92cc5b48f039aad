// SPDX-License-Identifier: Apache-2.0
#include "listener.hpp"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <strings.h>
#include <sys/socket.h>

#include <memory>

#include "ranges.hpp"

namespace dray::registry_server {
namespace {

constexpr int kBacklog = 128;

bool is_loopback(const sockaddr* address) {
  if (address->sa_family == AF_INET)
    return (ntohl(reinterpret_cast<const sockaddr_in*>(address)->sin_addr.s_addr) >> 24) == 127;
  return IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr);
}

std::string text_of(int socket) {
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  char text[INET6_ADDRSTRLEN] = "";
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&bound), &size) != 0) return "";
  if (bound.ss_family == AF_INET) {
    const auto* address = reinterpret_cast<const sockaddr_in*>(&bound);
    ::inet_ntop(AF_INET, &address->sin_addr, text, sizeof text);
    return std::string(text) + ":" + std::to_string(ntohs(address->sin_port));
  }
  const auto* address = reinterpret_cast<const sockaddr_in6*>(&bound);
  ::inet_ntop(AF_INET6, &address->sin6_addr, text, sizeof text);
  return "[" + std::string(text) + "]:" + std::to_string(ntohs(address->sin6_port));
}

}  // namespace

Result<ListenAddress> parse_listen_address(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  ListenAddress address;
  if (colon != std::string::npos) {
    address.host = text.substr(0, colon);
    address.port = text.substr(colon + 1);
  }
  const bool bracketed = address.host.starts_with('[') && address.host.ends_with(']');
  if (bracketed) address.host = address.host.substr(1, address.host.size() - 2);
  const auto port = parse_number(address.port);
  if (!port || *port > 65535 || (!bracketed && address.host.find(':') != std::string::npos))
    return fail(ErrorCode::invalid_argument,
                "\"" + text + "\" is no address to listen on (HOST:PORT, [IPv6]:PORT or :PORT)");
  return address;
}

bool is_host_of_loopback(const std::string& header, const std::string& listen_host) {
  std::string host = header;
  const bool bracketed = host.starts_with('[');
  const std::size_t end = bracketed ? host.find(']') : host.find(':');
  if (bracketed && end == std::string::npos) return false;
  host = host.substr(bracketed ? 1 : 0, bracketed ? end - 1 : end);
  if (host.empty()) return false;
  in_addr address{};
  in6_addr address6{};
  if (bracketed) return ::inet_pton(AF_INET6, host.c_str(), &address6) == 1 && IN6_IS_ADDR_LOOPBACK(&address6);
  if (::inet_pton(AF_INET, host.c_str(), &address) == 1) return (ntohl(address.s_addr) >> 24) == 127;
  return ::strcasecmp(host.c_str(), "localhost") == 0 || ::strcasecmp(host.c_str(), listen_host.c_str()) == 0;
}

Result<Listener> listen_on(const std::string& text) {
  const ListenAddress wanted = TRY(parse_listen_address(text));
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  const int outcome =
      ::getaddrinfo(wanted.host.empty() ? nullptr : wanted.host.c_str(), wanted.port.c_str(), &hints, &found);
  if (outcome != 0)
    return fail(ErrorCode::invalid_argument, "listening on \"" + text + "\": " + ::gai_strerror(outcome));
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> list(found, &::freeaddrinfo);
  Listener listener;
  listener.socket = FileDescriptor(::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int yes = 1;
  if (!listener.socket.valid() ||
      ::setsockopt(listener.socket.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
      ::bind(listener.socket.get(), found->ai_addr, found->ai_addrlen) != 0 ||
      ::listen(listener.socket.get(), kBacklog) != 0)
    return fail_errno("listening on \"" + text + "\"");
  listener.loopback = is_loopback(found->ai_addr);
  listener.address = text_of(listener.socket.get());
  return listener;
}

}  // namespace dray::registry_server
