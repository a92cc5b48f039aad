// SPDX-License-Identifier: Apache-2.0
// A file by http is known by its content, name and time. What its URL gave last time (digest and validators) is
// remembered, so that an unchanged file costs one question; with --checksum not even that.
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <dray/core/copy_content.hpp>

#include "ops/ops.hpp"
#include "source/source_layer.hpp"

namespace dray::builder {
namespace {

constexpr std::int64_t kForgetAfter = 60 * 24 * 3600;  // s

std::string hashed(const std::vector<std::string>& fields) {
  std::string text = "dray source 1\n";
  for (const std::string& field : fields) text += std::to_string(field.size()) + ":" + field;
  return Digest::of(text).hex();
}

/// host or host:port of a URL, as it is written there.
std::string host_of(const std::string& url) {
  const std::size_t begin = url.find("://");
  if (begin == std::string::npos) return "";
  std::string authority = url.substr(begin + 3, url.find_first_of("/?#", begin + 3) - begin - 3);
  return authority.substr(authority.rfind('@') + 1);
}

/// The header for that host alone, from the secrets HTTP_AUTH_HEADER_<host> and HTTP_AUTH_TOKEN_<host>.
Result<std::string> authorization(const SourceContext& context, const std::string& url) {
  const std::string host = host_of(url);
  std::string value;
  const std::optional<std::string> header = TRY(context.secrets.find("HTTP_AUTH_HEADER_" + host));
  if (header) {
    value = *header;
  } else {
    const std::optional<std::string> token = TRY(context.secrets.find("HTTP_AUTH_TOKEN_" + host));
    if (token) value = "Bearer " + *token;
  }
  while (!value.empty() && (value.back() == '\n' || value.back() == '\r' || value.back() == ' ')) value.pop_back();
  return value;
}

struct Remembered {
  std::string etag, last_modified, digest;
};

class UrlMemory {
 public:
  static Result<UrlMemory> open(const SourceContext& context, std::string key) {
    UrlMemory memory(context, std::move(key));
    TRY(context.store.database()->execute(
        "CREATE TABLE IF NOT EXISTS build_downloads(url TEXT PRIMARY KEY, etag TEXT NOT NULL, modified TEXT NOT NULL, "
        "digest TEXT NOT NULL, used_at INTEGER NOT NULL)"));
    return memory;
  }
  Result<std::optional<Remembered>> find() const {
    const std::vector<store::Row> rows =
        TRY(context_.store.database()->query("SELECT etag, modified, digest FROM build_downloads WHERE url=?", {key_}));
    if (rows.empty()) return std::nullopt;
    return Remembered{rows.front().text(0), rows.front().text(1), rows.front().text(2)};
  }
  Result<void> keep(const Remembered& known) const {
    const auto now = static_cast<std::int64_t>(::time(nullptr));
    TRY(context_.store.database()->execute("INSERT OR REPLACE INTO build_downloads VALUES(?,?,?,?,?)",
                                           {key_, known.etag, known.last_modified, known.digest, now}));
    return context_.store.database()->execute("DELETE FROM build_downloads WHERE used_at<?", {now - kForgetAfter});
  }

 private:
  UrlMemory(const SourceContext& context, std::string key) : context_(context), key_(std::move(key)) {}
  const SourceContext& context_;
  std::string key_;  ///< a hash: a URL may hold a password
};

/// "Thu, 01 Jan 1970 00:16:40 GMT"; nullopt for anything else.
std::optional<timespec> parse_http_date(const std::string& text) {
  std::tm fields = {};
  const char* end = ::strptime(text.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &fields);
  if (end == nullptr || *end != '\0') return std::nullopt;
  return timespec{::timegm(&fields), 0};
}

Result<void> check_name(const HttpOp& op) {
  if (op.filename.empty() || op.filename == "." || op.filename == ".." || op.filename.size() > 255 ||
      op.filename.find_first_of(std::string_view("/\0", 2)) != std::string::npos)
    return fail(ErrorCode::invalid_argument, "\"" + op.filename + "\" cannot be a file's name");
  return {};
}

/// Puts the file into the root filesystem as BuildKit does: ours, 0600, of the server's time.
Result<void> place(FdRef root, const HttpOp& op, const std::string& path, const std::string& last_modified,
                   const CancelToken& cancel) {
  const FileDescriptor from = TRY(open_file(path, O_RDONLY));
  const FileDescriptor to = TRY(open_file_at(root, op.filename, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  TRY_CTX(copy_content(from, to, cancel), "copying \"" + op.filename + "\"");
  if (::fchmod(to.get(), 0600) != 0) return fail_errno("changing the mode of \"" + op.filename + "\"");
  // The epoch where the server gives no time: the same bytes shall make the same layer.
  const timespec time = parse_http_date(last_modified).value_or(timespec{});
  const timespec times[2] = {time, time};
  if (::futimens(to.get(), times) != 0) return fail_errno("setting the time of \"" + op.filename + "\"");
  // The root of a mount is held by an O_PATH descriptor, which futimens() refuses.
  if (::utimensat(root.get(), ".", times, 0) != 0) return fail_errno("setting the time of the root");
  return {};
}

}  // namespace

Result<SourceLayer> fetch_http(const HttpOp& op, const SourceContext& context) {
  TRY(check_name(op));
  std::optional<Digest> wanted;
  if (!op.checksum.empty()) wanted = TRY_CTX(Digest::parse(op.checksum), "checksum \"" + op.checksum + "\"");
  const auto key_of = [&](const std::string& digest, const std::string& last_modified) {
    return hashed({"http", op.filename, digest, last_modified});
  };
  const std::string pinned = wanted ? key_of(wanted->to_string(), "any time") : "";
  if (wanted) {
    std::optional<SourceLayer> hit = TRY(find_source_layer(context, pinned));
    if (hit) return *hit;
  }
  HttpRequest request;
  request.url = op.url;
  request.authorization = TRY(authorization(context, op.url));
  // Another credential may see another file.
  const UrlMemory memory = TRY(UrlMemory::open(context, hashed({op.url, op.filename, request.authorization})));
  std::optional<Remembered> known = TRY(memory.find());
  std::optional<SourceLayer> held;
  if (known) held = TRY(find_source_layer(context, key_of(known->digest, known->last_modified)));
  if (held) {
    request.etag = known->etag;
    request.last_modified = known->last_modified;
  }
  const TempDir directory = TRY(TempDir::create(context.temporary(), "download-"));
  request.file = directory.path() + "/body";
  const HttpAnswer answer = TRY(context.network.download(request, context.progress, context.cancel));
  const auto check = [&](const std::string& digest) -> Result<void> {
    if (!wanted || digest == wanted->to_string()) return {};
    return fail(ErrorCode::corrupt,
                "digest mismatch for " + op.filename + ": " + digest + " (expected: " + wanted->to_string() + ")");
  };
  if (answer.not_modified) {
    if (!held) return fail(ErrorCode::corrupt, "the server says \"not modified\" of a file we don't have");
    TRY(check(known->digest));
    return *held;
  }
  const std::string digest = answer.digest.to_string();
  TRY(check(digest));
  const std::string key = key_of(digest, answer.last_modified);
  std::optional<SourceLayer> same = TRY(find_source_layer(context, key));
  if (!same) {
    const auto fill = [&](FdRef root) { return place(root, op, request.file, answer.last_modified, context.cancel); };
    same = TRY(make_source_layer(context, {key}, "http source " + op.filename, fill));
  }
  if (wanted) TRY(remember_source_layer(context, pinned, "http source " + op.filename, *same));
  TRY(memory.keep({answer.etag, answer.last_modified, digest}));
  return *same;
}

}  // namespace dray::builder
