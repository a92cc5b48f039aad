// SPDX-License-Identifier: Apache-2.0
// One HTTP exchange through libcurl. curl_easy_perform() would sleep up to a second between looks at its
// callbacks, too long for Ctrl-C; so each client drives its own multi handle with one transfer in it and
// polls for at most 50 ms. Redirects and authentication are left to session.cpp, where the rules on who may
// see credentials are.
#include "http.hpp"

#include <curl/curl.h>
#include <strings.h>
#include <unistd.h>

#include <cstdlib>
#include <mutex>
#include <thread>

#include <dray/core/text.hpp>

#include "url.hpp"

namespace dray::registry {
namespace {

constexpr std::size_t kMaxErrorBody = 64u << 10;
constexpr std::size_t kMaxHeaders = 256u << 10;

struct Transfer {
  const Request& request;
  const Stop& stop;
  Response response;
  std::size_t header_bytes = 0;
  std::uint64_t sent = 0;
  std::optional<Error> error;  ///< why a callback of ours aborted
  bool body_cut = false;       ///< an error page longer than anyone reads: the rest is not fetched
};

std::size_t on_header(char* data, std::size_t, std::size_t size, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  const std::string_view line(data, size);
  transfer.header_bytes += size;
  if (transfer.header_bytes > kMaxHeaders) {
    transfer.error = Error(ErrorCode::corrupt, "the registry sent more than 256 KiB of headers");
    return 0;
  }
  if (line.starts_with("HTTP/")) {  // also after "100 Continue" and a proxy's answer: only the last one counts
    transfer.response.headers.clear();
    const auto blank = line.find(' ');
    transfer.response.status =
        blank == std::string_view::npos ? 0 : std::atoi(std::string(line.substr(blank + 1, 3)).c_str());
    return size;
  }
  const auto colon = line.find(':');
  if (colon == std::string_view::npos) return size;
  transfer.response.headers.emplace_back(to_lower(line.substr(0, colon)), std::string(trim(line.substr(colon + 1))));
  return size;
}

std::size_t on_body(char* data, std::size_t, std::size_t size, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  if (transfer.stop.requested()) {
    transfer.error = Stop::error();
    return CURL_WRITEFUNC_ERROR;
  }
  const int status = transfer.response.status;
  if (status >= 200 && status < 300) {
    if (transfer.request.on_body) {
      auto taken = transfer.request.on_body(transfer.response, std::as_bytes(std::span(data, size)));
      if (taken) return size;
      transfer.error = std::move(taken).error();
      return CURL_WRITEFUNC_ERROR;
    }
    if (transfer.response.body.size() + size > transfer.request.body_limit) {
      transfer.error = Error(ErrorCode::corrupt, "the registry's answer is larger than the limit of " +
                                                     std::to_string(transfer.request.body_limit) + " bytes");
      return CURL_WRITEFUNC_ERROR;
    }
    transfer.response.body.append(data, size);
    return size;
  }
  const std::size_t room = kMaxErrorBody - std::min(kMaxErrorBody, transfer.response.body.size());
  transfer.response.body.append(data, std::min(size, room));
  if (size <= room) return size;
  transfer.body_cut = true;
  return CURL_WRITEFUNC_ERROR;
}

std::size_t on_read(char* buffer, std::size_t, std::size_t size, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  if (transfer.stop.requested()) return CURL_READFUNC_ABORT;
  const FileUpload& upload = *transfer.request.upload;
  const std::uint64_t left = upload.size - std::min(upload.size, transfer.sent);
  const std::size_t wanted = static_cast<std::size_t>(std::min<std::uint64_t>(left, size));
  const ssize_t got = pread(upload.file.get(), buffer, wanted, static_cast<off_t>(upload.offset + transfer.sent));
  if (got < 0 || (got == 0 && wanted > 0)) {
    transfer.error = got < 0 ? Error::from_errno("reading the blob to upload")
                             : Error(ErrorCode::corrupt, "the blob to upload is shorter than it should be");
    return CURL_READFUNC_ABORT;
  }
  transfer.sent += static_cast<std::uint64_t>(got);
  if (upload.on_progress) upload.on_progress(transfer.sent);
  return static_cast<std::size_t>(got);
}

int on_seek(void* user, curl_off_t offset, int origin) {
  if (origin != SEEK_SET) return CURL_SEEKFUNC_CANTSEEK;
  static_cast<Transfer*>(user)->sent = static_cast<std::uint64_t>(offset);
  return CURL_SEEKFUNC_OK;
}

TransferFailure classify(CURLcode code, bool connected) {
  switch (code) {
    case CURLE_OK:
      return TransferFailure::none;
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
      return TransferFailure::unreachable;
    case CURLE_OPERATION_TIMEDOUT:
      return connected ? TransferFailure::interrupted : TransferFailure::unreachable;
    case CURLE_SSL_CONNECT_ERROR:
      return TransferFailure::handshake;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
      return TransferFailure::certificate;
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_HTTP3:
    case CURLE_SEND_FAIL_REWIND:
    case CURLE_AGAIN:
      return TransferFailure::interrupted;
    default:
      return TransferFailure::protocol;
  }
}

/// With TLS 1.3 a server says so only after the handshake, which looks like a connection that breaks.
bool refuses_our_certificate(std::string_view error) {
  const auto has = [&](const char* word) { return error.find(word) != std::string_view::npos; };
  return has(" alert ") && (has("certificate") || has("unknown ca"));
}

struct HeaderList {
  curl_slist* list = nullptr;
  HeaderList() = default;
  HeaderList(const HeaderList&) = delete;
  HeaderList& operator=(const HeaderList&) = delete;
  ~HeaderList() { curl_slist_free_all(list); }
  void add(const std::string& line) {
    if (curl_slist* longer = curl_slist_append(list, line.c_str())) list = longer;
  }
};

void set_tls(CURL* easy, const TlsSettings& tls) {
  if (!tls.verify) {
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
  } else if (!tls.ca_pem.empty()) {
    curl_blob blob{const_cast<char*>(tls.ca_pem.data()), tls.ca_pem.size(), CURL_BLOB_COPY};
    curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &blob);
  } else if (const char* bundle = std::getenv("SSL_CERT_FILE"); bundle != nullptr && *bundle != '\0') {
    curl_easy_setopt(easy, CURLOPT_CAINFO, bundle);
  }
  if (!tls.client_certificate.empty()) {
    curl_easy_setopt(easy, CURLOPT_SSLCERT, tls.client_certificate.c_str());
    curl_easy_setopt(easy, CURLOPT_SSLKEY, tls.client_key.c_str());
  }
}

/// libcurl reads the variables itself, but for HTTP_PROXY, which means a header to CGI programs; we are none.
void set_proxy(CURL* easy, const Origin& origin) {
  // A proxy cannot reach our own loopback interface, whatever no_proxy says.
  if (is_loopback(origin.host_and_port())) {
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
  } else if (const char* proxy = std::getenv("HTTP_PROXY");
             origin.scheme == "http" && proxy != nullptr && std::getenv("http_proxy") == nullptr) {
    curl_easy_setopt(easy, CURLOPT_PROXY, proxy);
  }
}

void set_method(CURL* easy, Transfer& transfer, HeaderList& headers) {
  const Request& request = transfer.request;
  if (request.upload) {
    curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(request.upload->size));
    curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, 512L * 1024);
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(easy, CURLOPT_READDATA, &transfer);
    curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_seek);
    curl_easy_setopt(easy, CURLOPT_SEEKDATA, &transfer);
  } else if (request.method == "HEAD") {
    curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    return;
  } else if (request.method != "GET") {
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request.body.c_str());
    headers.add("Expect:");
  }
  if (request.method != "GET") curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
}

}  // namespace

bool Stop::sleep(std::chrono::milliseconds duration) const {
  const auto end = std::chrono::steady_clock::now() + duration;
  for (;;) {
    if (requested()) return false;
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    if (left.count() <= 0) return true;
    std::this_thread::sleep_for(std::min(left, std::chrono::milliseconds(50)));
  }
}

std::string_view Response::header(std::string_view name) const {
  for (const auto& [key, value] : headers)
    if (key == name) return value;
  return {};
}

std::vector<std::string> Response::all(std::string_view name) const {
  std::vector<std::string> values;
  for (const auto& [key, value] : headers)
    if (key == name) values.push_back(value);
  return values;
}

struct HttpClient::State {
  CURLM* multi = nullptr;
  CURL* easy = nullptr;
  ~State() {
    if (easy != nullptr) curl_easy_cleanup(easy);
    if (multi != nullptr) curl_multi_cleanup(multi);
  }
};

HttpClient::HttpClient(std::unique_ptr<State> state) : state_(std::move(state)) {}
HttpClient::HttpClient(HttpClient&&) noexcept = default;
HttpClient& HttpClient::operator=(HttpClient&&) noexcept = default;
HttpClient::~HttpClient() = default;

Result<HttpClient> HttpClient::create() {
  static std::once_flag once;
  static CURLcode initialised = CURLE_OK;
  std::call_once(once, [] { initialised = curl_global_init(CURL_GLOBAL_DEFAULT); });
  auto state = std::make_unique<State>();
  state->multi = curl_multi_init();
  state->easy = curl_easy_init();
  if (initialised != CURLE_OK || state->multi == nullptr || state->easy == nullptr)
    return fail(ErrorCode::internal, "starting libcurl failed");
  return HttpClient(std::move(state));
}

Result<Response> HttpClient::perform(const Request& request, const Stop& stop) {
  const Origin origin = TRY(parse_origin(request.url));
  CURL* easy = state_->easy;
  curl_easy_reset(easy);
  Transfer transfer{request, stop, {}, 0, 0, {}, false};
  transfer.response.url = request.url;

  HeaderList headers;
  set_method(easy, transfer, headers);
  for (const std::string& line : request.headers) headers.add(line);
  if (!request.authorization.empty()) headers.add("Authorization: " + request.authorization);
  char error_text[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(easy, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers.list);
  curl_easy_setopt(easy, CURLOPT_USERAGENT, "dray/0.1.0");
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, error_text);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(request.connect_timeout.count()));
  curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, static_cast<long>(request.stall_timeout.count()));
  curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 256L * 1024);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  set_proxy(easy, origin);
  set_tls(easy, request.tls);

  if (curl_multi_add_handle(state_->multi, easy) != CURLM_OK)
    return fail(ErrorCode::internal, "libcurl refused a transfer");
  CURLcode code = CURLE_OK;
  bool cancelled = false;
  for (int running = 1;;) {
    if (curl_multi_perform(state_->multi, &running) != CURLM_OK) {
      code = CURLE_FAILED_INIT;
      break;
    }
    int queued = 0;
    if (const CURLMsg* message = curl_multi_info_read(state_->multi, &queued);
        message != nullptr && message->msg == CURLMSG_DONE) {
      code = message->data.result;
      break;
    }
    if (running == 0) break;
    cancelled = stop.requested();
    if (cancelled) break;
    curl_multi_poll(state_->multi, nullptr, 0, 50, nullptr);
  }
  curl_off_t connect_time = 0;
  curl_easy_getinfo(easy, CURLINFO_PRETRANSFER_TIME_T, &connect_time);
  curl_multi_remove_handle(state_->multi, easy);

  if (cancelled || (code != CURLE_OK && stop.requested())) return Failure(Stop::error());
  if (transfer.error) return Failure(*std::move(transfer.error));
  if (transfer.body_cut) return std::move(transfer.response);
  transfer.response.failure = classify(code, connect_time > 0);
  if (refuses_our_certificate(error_text)) transfer.response.failure = TransferFailure::own_certificate;
  if (code != CURLE_OK) transfer.response.failure_text = *error_text != '\0' ? error_text : curl_easy_strerror(code);
  return std::move(transfer.response);
}

}  // namespace dray::registry
