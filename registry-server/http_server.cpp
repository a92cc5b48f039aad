// SPDX-License-Identifier: Apache-2.0
// Between libmicrohttpd's callbacks and exchanges. The library parses heads within a fixed memory pool a connection, so
// a head of any size costs no more than that; it asks us for each part of a body as it arrives.
#include "http_server.hpp"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <thread>

#include <dray/core/process.hpp>

#include "connections.hpp"

namespace dray::registry_server {
namespace {

constexpr std::size_t kPool = 160 * 1024;  // half of it is the buffer that bodies arrive in
constexpr std::size_t kStack = 256 * 1024;
constexpr std::size_t kBlock = 128 * 1024;
constexpr std::uint64_t kMostRefused = 8u << 20;  // of a body read only to get the refusal across
constexpr auto kGrace = std::chrono::seconds(10);

/// One request. Made by the library's first word of it (the target), gone when it is over.
struct Call {
  std::string target;
  std::string method;
  std::unique_ptr<Exchange> exchange;
  std::chrono::steady_clock::time_point begun = std::chrono::steady_clock::now();
  std::uint64_t received = 0, sent = 0;
  int status = 0;
};

std::string printable(std::string_view text, std::size_t most) {
  std::string result;
  for (const char c : text.substr(0, most)) result += c > ' ' && c != 0x7f && c != '"' ? c : '_';
  return result;
}

std::string header_of(MHD_Connection* connection, std::string_view name) {
  const char* value = nullptr;
  std::size_t size = 0;
  if (MHD_lookup_connection_value_n(connection, MHD_HEADER_KIND, name.data(), name.size(), &value, &size) != MHD_YES ||
      value == nullptr)
    return "";
  return {value, size};
}

std::string address_of(MHD_Connection* connection) {
  const MHD_ConnectionInfo* info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
  if (info == nullptr || info->client_addr == nullptr) return "-";
  char text[INET6_ADDRSTRLEN] = "-";
  if (info->client_addr->sa_family == AF_INET)
    ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(info->client_addr)->sin_addr, text, sizeof text);
  if (info->client_addr->sa_family == AF_INET6)
    ::inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(info->client_addr)->sin6_addr, text, sizeof text);
  return text;
}

struct Arriving {
  ArrivingBody body;
};

ssize_t read_arriving(void* context, std::uint64_t position, char* buffer, std::size_t size) {
  const auto& body = static_cast<Arriving*>(context)->body;
  const std::size_t got =
      body.bytes->read(body.slice.first + position, std::as_writable_bytes(std::span(buffer, size)));
  return got > 0 ? static_cast<ssize_t>(got) : MHD_CONTENT_READER_END_WITH_ERROR;
}

void free_arriving(void* context) { delete static_cast<Arriving*>(context); }

struct ResponseDeleter {
  void operator()(MHD_Response* response) const { MHD_destroy_response(response); }
};
using Response = std::unique_ptr<MHD_Response, ResponseDeleter>;

Response response_of(Reply& reply, std::uint64_t& size) {
  if (auto* text = std::get_if<std::string>(&reply.body)) {
    size = text->size();
    return Response(MHD_create_response_from_buffer(text->size(), text->data(), MHD_RESPMEM_MUST_COPY));
  }
  if (auto* file = std::get_if<FileBody>(&reply.body)) {
    size = file->slice.size;
    const int fd = file->file.release();
    Response response(MHD_create_response_from_fd_at_offset64(file->slice.size, fd, file->slice.first));
    if (!response) ::close(fd);
    return response;
  }
  auto arriving = std::make_unique<Arriving>(std::move(std::get<ArrivingBody>(reply.body)));
  size = arriving->body.slice.size;
  Response response(MHD_create_response_from_callback(size, kBlock, read_arriving, arriving.get(), free_arriving));
  if (response) (void)arriving.release();
  return response;
}

}  // namespace

struct HttpServer::State {
  Begin begin;
  Log log;
  Connections connections;
  MHD_Daemon* daemon = nullptr;

  MHD_Result send(MHD_Connection* connection, Call& call, Reply reply) {
    std::uint64_t size = 0;
    const Response response = response_of(reply, size);
    if (!response) return MHD_NO;
    reply.headers.emplace_back("Docker-Distribution-Api-Version", "registry/2.0");
    reply.headers.emplace_back("X-Content-Type-Options", "nosniff");
    for (const auto& [name, value] : reply.headers)
      if (MHD_add_response_header(response.get(), name.c_str(), value.c_str()) != MHD_YES) return MHD_NO;
    call.status = reply.status;
    call.sent = call.method == "HEAD" ? 0 : size;
    connections.enter(connection, Connections::Phase::sending);
    return MHD_queue_response(connection, static_cast<unsigned>(reply.status), response.get());
  }

  MHD_Result start_call(MHD_Connection* connection, Call& call, const char* method) {
    connections.enter(connection, Connections::Phase::working);
    call.method = method;
    Request request;
    request.method = method;
    request.path = call.target;
    request.header = [connection](std::string_view name) { return header_of(connection, name); };
    const std::string length = request.header("Content-Length");
    if (!length.empty()) request.content_length = parse_number(length);
    auto target = parse_target(call.target);
    if (target) {
      request.target = *std::move(target);
      call.exchange = begin(request);
    } else {
      call.exchange = replying(error_reply(400, "NAME_INVALID", "malformed path or query"));
    }
    // Before a client that waits for "100 Continue" sends a body in vain, or a long one is read for nothing.
    const bool waits = !request.header("Expect").empty();
    const bool long_body = request.content_length && *request.content_length > kMostRefused;
    if (call.exchange->refused() && (waits || long_body)) return send(connection, call, call.exchange->reply());
    connections.enter(connection, Connections::Phase::receiving);
    return MHD_YES;
  }

  MHD_Result answer(MHD_Connection* connection, Call& call, const char* method, const char* data, std::size_t* size) {
    if (!call.exchange) return start_call(connection, call, method);
    connections.enter(connection, Connections::Phase::working);
    if (*size == 0) return send(connection, call, call.exchange->reply());
    call.received += *size;
    if (call.exchange->refused() && call.received > kMostRefused) return MHD_NO;
    call.exchange->take(std::as_bytes(std::span(data, *size)));
    *size = 0;
    connections.enter(connection, Connections::Phase::receiving);
    return MHD_YES;
  }

  void completed(MHD_Connection* connection, const Call& call, MHD_RequestTerminationCode code) {
    const auto took =
        std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - call.begun);
    std::string line = address_of(connection) + " " + (call.method.empty() ? "-" : printable(call.method, 16)) + " " +
                       printable(call.target, 512) + " " + std::to_string(call.status) +
                       " in=" + std::to_string(call.received) + " out=" + std::to_string(call.sent) + " " +
                       std::to_string(took.count()) + "ms \"" + printable(header_of(connection, "User-Agent"), 80) +
                       "\"";
    if (code != MHD_REQUEST_TERMINATED_COMPLETED_OK) line += " (connection lost)";
    log(line);
    connections.enter(connection, Connections::Phase::head);
  }

  static void* on_target(void*, const char* target, MHD_Connection*) {
    auto* call = new Call;
    call->target = target;
    return call;
  }
  static MHD_Result on_request(void* self, MHD_Connection* connection, const char*, const char* method, const char*,
                               const char* data, std::size_t* size, void** call) {
    return static_cast<State*>(self)->answer(connection, *static_cast<Call*>(*call), method, data, size);
  }
  static void on_completed(void* self, MHD_Connection* connection, void** call, MHD_RequestTerminationCode code) {
    if (*call == nullptr) return;
    const std::unique_ptr<Call> ended(static_cast<Call*>(*call));
    *call = nullptr;
    static_cast<State*>(self)->completed(connection, *ended, code);
  }
  static void on_connection(void* self, MHD_Connection* connection, void**, MHD_ConnectionNotificationCode code) {
    auto& connections = static_cast<State*>(self)->connections;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) return connections.closed(connection);
    const MHD_ConnectionInfo* info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info != nullptr) connections.opened(connection, info->connect_fd);
  }
  /// Targets are decoded by target.cpp, from the raw text.
  static std::size_t keep_escapes(void*, MHD_Connection*, char* text) { return std::strlen(text); }
};

HttpServer::HttpServer(std::unique_ptr<State> state) : state_(std::move(state)) {}

Result<std::unique_ptr<HttpServer>> HttpServer::start(FileDescriptor listener, const Options& options, Begin begin,
                                                      Log log) {
  auto state = std::make_unique<State>();
  state->begin = std::move(begin);
  state->log = std::move(log);
  const bool tls = !options.certificate_pem.empty();
  unsigned flags = MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | MHD_USE_ITC;
  if (tls) flags |= MHD_USE_TLS;
  std::vector<MHD_OptionItem> more;
  if (tls) {
    more.push_back({MHD_OPTION_HTTPS_MEM_CERT, 0, const_cast<char*>(options.certificate_pem.c_str())});
    more.push_back({MHD_OPTION_HTTPS_MEM_KEY, 0, const_cast<char*>(options.key_pem.c_str())});
    more.push_back({MHD_OPTION_HTTPS_PRIORITIES, 0, const_cast<char*>("NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2")});
  }
  more.push_back({MHD_OPTION_END, 0, nullptr});
  state->daemon = MHD_start_daemon(flags, 0, nullptr, nullptr, &State::on_request, state.get(),       //
                                   MHD_OPTION_LISTEN_SOCKET, listener.get(),                          //
                                   MHD_OPTION_URI_LOG_CALLBACK, &State::on_target, state.get(),       //
                                   MHD_OPTION_NOTIFY_COMPLETED, &State::on_completed, state.get(),    //
                                   MHD_OPTION_NOTIFY_CONNECTION, &State::on_connection, state.get(),  //
                                   MHD_OPTION_UNESCAPE_CALLBACK, &State::keep_escapes, state.get(),   //
                                   MHD_OPTION_CONNECTION_LIMIT, options.most_connections,
                                   MHD_OPTION_CONNECTION_MEMORY_LIMIT, kPool,  //
                                   MHD_OPTION_THREAD_STACK_SIZE, kStack, MHD_OPTION_STRICT_FOR_CLIENT, 1,
                                   MHD_OPTION_ARRAY, more.data(), MHD_OPTION_END);
  if (state->daemon == nullptr)
    return fail(ErrorCode::invalid_argument,
                tls ? "the certificate and key can't be used for TLS (both in PEM, and of each other)"
                    : "starting the HTTP server failed");
  (void)listener.release();  // the daemon's now
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(state)));
}

HttpServer::~HttpServer() {
  const int listener = MHD_quiesce_daemon(state_->daemon);
  if (listener >= 0) ::close(listener);
  const auto deadline = std::chrono::steady_clock::now() + kGrace;
  while (state_->connections.busy() > 0 && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  MHD_stop_daemon(state_->daemon);
}

void HttpServer::tick() {
  const int count = state_->connections.cut_slow();
  if (count > 0) state_->log("cut off " + std::to_string(count) + " slow connection(s)");
}

}  // namespace dray::registry_server
