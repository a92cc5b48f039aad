// SPDX-License-Identifier: Apache-2.0
// A plain file by http(s), for ADD and remote build contexts. What the server names (Content-Disposition) is not
// looked at; the caller knows what the file is called.
#include <charconv>

#include <dray/core/digest.hpp>
#include <dray/registry/client.hpp>

#include "http.hpp"
#include "url.hpp"

namespace dray::registry {
namespace {

constexpr int kMaxRedirects = 10;
constexpr std::uint64_t kReportEvery = 1u << 20;

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/// For messages: neither user information nor query, which may hold keys.
std::string shown(const std::string& url) {
  std::string text = url.substr(0, url.find_first_of("?#"));
  const std::size_t begin = text.find("://");
  if (begin == std::string::npos) return text;
  const std::size_t host_end = std::min(text.find('/', begin + 3), text.size());
  const std::size_t at = text.rfind('@', host_end);
  if (at != std::string::npos && at > begin) text.erase(begin + 3, at - begin - 2);
  return text;
}

Failure too_large(const DownloadRequest& request) {
  return fail(ErrorCode::no_space,
              "\"" + shown(request.url) + "\" is larger than the limit of " + std::to_string(request.limit) + " bytes");
}

/// Takes the body of the one 2xx answer.
class Body {
 public:
  Body(const DownloadRequest& request, ProgressSink& progress) : request_(request), progress_(progress) {}

  Result<void> take(const Response& head, std::span<const std::byte> bytes) {
    if (size_ == 0) {
      const std::string_view length = head.header("content-length");
      std::from_chars(length.data(), length.data() + length.size(), total_);
      if (total_ > request_.limit) return too_large(request_);
    }
    size_ += bytes.size();
    if (size_ > request_.limit) return too_large(request_);
    hasher_.update(bytes);
    TRY(write_all(request_.file, std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size())));
    if (size_ - reported_ >= kReportEvery) {
      reported_ = size_;
      progress_.report({.kind = ProgressEvent::Kind::status, .text = "Downloading", .current = size_, .total = total_});
    }
    return {};
  }
  std::uint64_t size() const { return size_; }
  Digest digest() { return hasher_.finish(); }

 private:
  const DownloadRequest& request_;
  ProgressSink& progress_;
  Hasher hasher_;
  std::uint64_t size_ = 0, total_ = 0, reported_ = 0;
};

Failure failed(const DownloadRequest& request, const Response& response) {
  const std::string what = "fetching \"" + shown(request.url) + "\"";
  if (response.failure != TransferFailure::none)
    return fail(ErrorCode::unavailable, what + ": " + response.failure_text);
  const ErrorCode code = response.status == 404 || response.status == 410   ? ErrorCode::not_found
                         : response.status == 401 || response.status == 403 ? ErrorCode::permission_denied
                                                                            : ErrorCode::unavailable;
  return fail(code, what + ": invalid response status " + std::to_string(response.status));
}

}  // namespace

Result<Download> download(const DownloadRequest& wanted, ProgressSink& progress, const CancelToken& cancel) {
  HttpClient client = TRY(HttpClient::create());
  const Stop stop(cancel);
  const Origin first = TRY(parse_origin(wanted.url));
  const bool has_validator = !wanted.etag.empty() || !wanted.last_modified.empty();
  Body body(wanted, progress);
  Request request;
  request.url = wanted.url.substr(0, wanted.url.find('#'));
  request.authorization = wanted.authorization;
  request.stall_timeout = wanted.stall_timeout;
  if (!wanted.etag.empty()) request.headers.push_back("If-None-Match: " + wanted.etag);
  if (wanted.etag.empty() && !wanted.last_modified.empty())
    request.headers.push_back("If-Modified-Since: " + wanted.last_modified);
  request.on_body = [&](const Response& head, std::span<const std::byte> bytes) { return body.take(head, bytes); };
  for (int hops = 0; hops <= kMaxRedirects; ++hops) {
    const Response response = TRY(client.perform(request, stop));
    if (response.failure != TransferFailure::none) return failed(wanted, response);
    if (is_redirect(response.status)) {
      auto next = resolve_location(request.url, std::string(response.header("location")));
      if (!next) return Failure(std::move(next).error().with_context("fetching \"" + shown(wanted.url) + "\""));
      const Origin to = TRY(parse_origin(*next));
      if (to != first) request.authorization.clear();
      request.url = std::move(*next);
      continue;
    }
    Download result;
    result.not_modified = response.status == 304 && has_validator;
    if (response.status != 200 && !result.not_modified) return failed(wanted, response);
    result.etag = response.header("etag");
    result.last_modified = response.header("last-modified");
    result.size = body.size();
    if (!result.not_modified) result.digest = body.digest();
    return result;
  }
  return fail(ErrorCode::unavailable,
              "fetching \"" + shown(wanted.url) + "\": more than " + std::to_string(kMaxRedirects) + " redirects");
}

}  // namespace dray::registry
