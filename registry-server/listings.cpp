// SPDX-License-Identifier: Apache-2.0
// Tags, repositories, referrers: sorted lists in pages, each with a Link to the next.
#include <dray/core/percent.hpp>
#include <dray/image/image.hpp>

#include "handlers.hpp"

namespace dray::registry_server {
namespace {

constexpr std::size_t kMostNames = 10000;
constexpr std::size_t kMostReferrers = 1000;
constexpr std::size_t kReferrersAtOnce = 16;  ///< each may have annotations of 4 MiB

Reply bad_page() { return error_reply(400, "UNSUPPORTED", "n is not a number"); }

Reply json_reply(std::string_view type, std::string body) {
  Reply reply;
  reply.headers.emplace_back("Content-Type", type);
  reply.body = std::move(body);
  return reply;
}

/// One more than the page was asked for: if it came, there is a next page.
void cut(std::vector<std::string>& names, const Page& page, std::string_view path, std::string& link) {
  if (names.size() <= page.count) return;
  names.resize(page.count);
  if (!names.empty()) link = next_link(path, page.count, names.back());
}

Reply linked(Reply reply, std::string link) {
  if (!link.empty()) reply.headers.emplace_back("Link", std::move(link));
  return reply;
}

}  // namespace

std::unique_ptr<Exchange> list_tags(Handlers& handlers, const Request& request) {
  const std::string& name = request.target.name;
  const auto page = parse_page(request.target, kMostNames);
  if (!page) return replying(bad_page());
  if (!handlers.repositories.exists(name)) return replying(error_reply(404, "NAME_UNKNOWN", "no repository " + name));
  auto tags = handlers.repositories.tags(name, page->after, page->count + 1);
  if (!tags) return replying(failed(handlers, tags.error()));
  std::string link;
  cut(*tags, *page, location(name, "tags", "list"), link);
  return replying(linked(json_reply("application/json", tags_document(name, *tags)), std::move(link)));
}

std::unique_ptr<Exchange> list_repositories(Handlers& handlers, const Request& request) {
  const auto page = parse_page(request.target, kMostNames);
  if (!page) return replying(bad_page());
  auto names = handlers.repositories.catalog(page->after, page->count + 1);
  if (!names) return replying(failed(handlers, names.error()));
  std::string link;
  cut(*names, *page, "/v2/_catalog", link);
  return replying(linked(json_reply("application/json", catalog_document(*names)), std::move(link)));
}

std::unique_ptr<Exchange> list_referrers(Handlers& handlers, const Request& request) {
  const auto subject = Digest::parse(request.target.reference);
  if (!subject) return replying(error_reply(400, "DIGEST_INVALID", "not a sha256 or sha512 digest"));
  const auto page = parse_page(request.target, kMostReferrers);
  if (!page) return replying(bad_page());
  const std::string* type = request.target.parameter("artifactType");
  if (type != nullptr && type->empty()) type = nullptr;

  std::vector<Referrer> list;
  std::string after = page->after;
  std::size_t bytes = 0;
  bool more = true;
  while (more && list.size() < page->count && bytes < kMaxManifest) {
    const std::size_t wanted = std::min(kReferrersAtOnce, page->count - list.size());
    auto some = handlers.repositories.referrers(request.target.name, *subject, type, after, wanted + 1);
    if (!some) return replying(failed(handlers, some.error()));
    more = some->size() > wanted;
    if (more) some->pop_back();
    for (Referrer& referrer : *some) {
      bytes += referrer.annotations.size();
      list.push_back(std::move(referrer));
    }
    if (!list.empty()) after = list.back().digest;
  }
  std::string link;
  if (more && !list.empty()) {
    std::string path = location(request.target.name, "referrers", subject->to_string());
    if (type != nullptr) path += "?artifactType=" + percent_encode(*type, ":");
    link = next_link(path, page->count, list.back().digest);
  }
  Reply reply = json_reply(image::kOciIndex, referrers_document(list));
  if (type != nullptr) reply.headers.emplace_back("OCI-Filters-Applied", "artifactType");
  return replying(linked(std::move(reply), std::move(link)));
}

}  // namespace dray::registry_server
