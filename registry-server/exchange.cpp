// SPDX-License-Identifier: Apache-2.0
#include "exchange.hpp"

#include "documents_json.hpp"

namespace dray::registry_server {
namespace {

class Ready : public Exchange {
 public:
  explicit Ready(Reply reply) : reply_(std::move(reply)) {}
  Reply reply() override { return std::move(reply_); }
  bool refused() const override { return reply_.status >= 400; }

 private:
  Reply reply_;
};

class Made : public Exchange {
 public:
  explicit Made(std::function<Reply()> make) : make_(std::move(make)) {}
  Reply reply() override { return make_(); }

 private:
  const std::function<Reply()> make_;
};

}  // namespace

Reply error_reply(int status, std::string_view code, std::string_view message) {
  Reply reply;
  reply.status = status;
  reply.headers.emplace_back("Content-Type", "application/json");
  reply.body = error_document(code, message);
  return reply;
}

Reply failure_reply(const Error& error) {
  switch (error.code()) {
    case ErrorCode::no_space:
      return error_reply(507, "DENIED", "no space left on the registry's disk");
    case ErrorCode::in_use:
    case ErrorCode::unavailable:
      return error_reply(503, "TOOMANYREQUESTS", "busy, try again").with("Retry-After", "1");
    case ErrorCode::corrupt:
      return error_reply(500, "BLOB_UNKNOWN", "what is stored is damaged; push it again");
    default:
      return error_reply(500, "UNSUPPORTED", "the registry failed; its log says why");
  }
}

std::unique_ptr<Exchange> replying(Reply reply) { return std::make_unique<Ready>(std::move(reply)); }
std::unique_ptr<Exchange> replying(std::function<Reply()> make) { return std::make_unique<Made>(std::move(make)); }

}  // namespace dray::registry_server
