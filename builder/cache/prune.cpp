// SPDX-License-Identifier: Apache-2.0
// See cache.hpp. Several keys may lead to one layer (a step asked for by the layers it reads and by their content, two
// Dockerfiles that do the same): that is one entry.
#include <regex.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <ctime>
#include <map>
#include <set>

#include <dray/builder/cache.hpp>
#include <dray/builder/cache_mounts.hpp>
#include <dray/core/process.hpp>

namespace dray::builder {
namespace {

constexpr std::size_t kIdLength = 25;

Result<std::set<DiffId>> layers_of_images(store::Store& store, const std::vector<DiffId>& container_layers) {
  std::set<DiffId> layers(container_layers.begin(), container_layers.end());
  for (const store::ImageRecord& record : TRY(store.list_images())) {
    const auto image = store.load_image(record);
    if (image) layers.insert(image->config.diff_ids.begin(), image->config.diff_ids.end());
  }
  return layers;
}

Result<std::vector<CacheEntry>> list_layers(store::Store& store, const std::set<DiffId>& shared) {
  std::map<std::string, CacheEntry> entries;
  for (store::BuildCacheRecord& record : TRY(store.list_build_cache())) {
    const std::string name = record.layer ? record.layer->digest.hex() : record.key;
    CacheEntry& entry = entries[name];
    entry.uses += record.uses - (entry.keys.empty() ? 0 : 1);
    if (entry.keys.empty()) {
      entry.id = name.substr(0, kIdLength);
      entry.created_at = record.created_at;
      if (record.layer) {
        const auto size = store.snapshots().layer_size(*record.layer);
        if (size) entry.size += *size;
        entry.is_shared = shared.contains(*record.layer);
      }
      if (record.blob) entry.size += record.blob->size;
    }
    entry.keys.push_back(std::move(record.key));
    entry.created_at = std::min(entry.created_at, record.created_at);
    if (record.last_used_at >= entry.last_used_at) {
      entry.last_used_at = record.last_used_at;
      entry.description = record.description;
    }
  }
  std::vector<CacheEntry> list;
  for (auto& [name, entry] : entries) list.push_back(std::move(entry));
  return list;
}

struct Filter {
  enum class Operator { is, is_not, matches };
  std::string key, value;
  Operator op = Operator::is;
  bool bare = false;
};
Filter parse_filter(const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos) return {.key = text, .bare = true};
  const char before = equals > 0 ? text[equals - 1] : ' ';
  const bool longer = before == '~' || before == '!';
  return {.key = text.substr(0, longer ? equals - 1 : equals),
          .value = text.substr(equals + 1),
          .op = before == '~'   ? Filter::Operator::matches
                : before == '!' ? Filter::Operator::is_not
                                : Filter::Operator::is};
}

/// POSIX's extended regular expressions.
Result<bool> matches(const std::string& value, const std::string& expression) {
  regex_t compiled;
  if (expression.size() > 1000 || ::regcomp(&compiled, expression.c_str(), REG_EXTENDED | REG_NOSUB) != 0)
    return fail(ErrorCode::invalid_argument, "\"" + expression.substr(0, 100) + "\" is no regular expression");
  const bool found = ::regexec(&compiled, value.c_str(), 0, nullptr, 0) == 0;
  ::regfree(&compiled);
  return found;
}

Failure bad_filter(const std::string& text, const std::string& why, const std::string& hint = "") {
  Error error(ErrorCode::invalid_argument, "invalid filter \"" + text + "\"" + (why.empty() ? "" : ": " + why));
  return Failure(hint.empty() ? std::move(error) : std::move(error).with_hint(hint));
}

std::optional<bool> truth(const std::string& value) {
  if (value.empty() || value == "true" || value == "1") return true;
  if (value == "false" || value == "0") return false;
  return std::nullopt;
}

/// How many bytes may stay.
Result<std::uint64_t> bytes_to_keep(const store::Store& store, const CachePolicy& policy, std::uint64_t total) {
  std::uint64_t keep = policy.max_used_space > 0 ? policy.max_used_space : total;
  if (policy.max_used_space == 0 && policy.min_free_space == 0) keep = 0;
  if (policy.min_free_space > 0) {
    struct statvfs disk = {};
    if (::statvfs(store.root().c_str(), &disk) != 0) return fail_errno("reading the free space of the disk");
    const std::uint64_t free = std::uint64_t{disk.f_bavail} * disk.f_frsize;
    const std::uint64_t missing = policy.min_free_space > free ? policy.min_free_space - free : 0;
    keep = std::min(keep, total > missing ? total - missing : 0);
  }
  return std::max(keep, policy.reserved_space);
}

}  // namespace

std::string type_name(CacheEntry::Type type) {
  return type == CacheEntry::Type::regular ? "regular" : "exec.cachemount";
}

bool is_unused_for(const CacheEntry& entry, std::int64_t seconds) {
  const auto used = parse_time(entry.last_used_at);
  return !used || ::time(nullptr) - *used >= seconds;
}

Result<std::vector<CacheEntry>> list_cache(store::Store& store, const std::vector<DiffId>& container_layers) {
  const std::set<DiffId> shared = TRY(layers_of_images(store, container_layers));
  std::vector<CacheEntry> entries = TRY(list_layers(store, shared));
  for (CacheMountInfo& info : TRY(list_cache_mounts(store.root()))) {
    CacheEntry entry{.type = CacheEntry::Type::cache_mount, .id = info.directory.substr(0, kIdLength)};
    entry.description = "cache mount " + info.id;
    entry.created_at = std::move(info.created_at);
    entry.last_used_at = std::move(info.last_used_at);
    entry.size = info.size;
    entry.in_use = info.in_use;
    entry.directory = std::move(info.directory);
    entries.push_back(std::move(entry));
  }
  std::stable_sort(entries.begin(), entries.end(),
                   [](const CacheEntry& a, const CacheEntry& b) { return a.last_used_at < b.last_used_at; });
  return entries;
}

Result<bool> fits_filters(const CacheEntry& entry, const std::vector<std::string>& filters) {
  using Operator = Filter::Operator;
  const bool is_mount = entry.type == CacheEntry::Type::cache_mount;
  const std::map<std::string, bool> words = {{"inuse", entry.in_use},
                                             {"shared", entry.is_shared},
                                             {"private", !entry.is_shared},
                                             {"mutable", is_mount},
                                             {"immutable", !is_mount}};
  const std::map<std::string, std::string> texts = {
      {"type", type_name(entry.type)}, {"id", entry.id}, {"description", entry.description}};
  for (const std::string& text : filters) {
    const Filter filter = parse_filter(text);
    bool good = false;
    if (const auto word = words.find(filter.key); word != words.end()) {
      const std::optional<bool> wanted = truth(filter.value);
      if (!wanted || filter.op == Operator::matches) return bad_filter(text, "true or false");
      good = word->second == (*wanted == (filter.op == Operator::is));
    } else if (const auto known = texts.find(filter.key); known != texts.end() && !filter.bare) {
      const std::string& value = known->second;
      // IDs are shown shortened.
      const bool same = filter.key == "id" ? value.starts_with(filter.value) : value == filter.value;
      good = filter.op == Operator::matches ? TRY(matches(value, filter.value)) : same == (filter.op == Operator::is);
    } else if (filter.key == "parents" || filter.key == "parent") {
      return bad_filter(text, "a layer of this cache has no parents: it serves on every layer below");
    } else {
      return bad_filter(text, "",
                        "filters are until, unused-for, id, type, description, inuse, shared, private, mutable, "
                        "immutable");
    }
    if (!good) return false;
  }
  return true;
}

Result<void> check_cache_filters(const std::vector<std::string>& filters) {
  TRY(fits_filters(CacheEntry{}, {}));
  for (const std::string& filter : filters) TRY(fits_filters(CacheEntry{}, {filter}));
  return {};
}

Result<CachePruned> prune_cache(store::Store& store, const CachePolicy& policy,
                                const std::vector<DiffId>& container_layers) {
  TRY(check_cache_filters(policy.filters));
  std::vector<CacheEntry> entries = TRY(list_cache(store, container_layers));
  std::uint64_t total = 0;
  for (const CacheEntry& entry : entries) total += entry.is_shared ? 0 : entry.size;
  const std::uint64_t keep = TRY(bytes_to_keep(store, policy, total));
  const bool bounded = policy.max_used_space > 0 || policy.min_free_space > 0 || policy.reserved_space > 0;
  CachePruned pruned;
  bool layers_removed = false;
  for (CacheEntry& entry : entries) {
    if (bounded && total <= keep) break;
    // A shared one gives no room back; only who asks for all of it wants to lose the record.
    if (entry.in_use || (entry.is_shared && (!policy.all || bounded))) continue;
    if (policy.unused_for && !is_unused_for(entry, *policy.unused_for)) continue;
    if (!TRY(fits_filters(entry, policy.filters))) continue;
    if (entry.type == CacheEntry::Type::cache_mount) {
      auto removed = remove_cache_mount(store.root(), entry.directory);
      if (!removed && removed.error().code() == ErrorCode::in_use) continue;
      if (!removed) return Failure(std::move(removed).error());
      pruned.bytes += entry.size;
    } else {
      for (const std::string& key : entry.keys)
        TRY(store.database()->execute("DELETE FROM build_cache WHERE key = ?", {key}));
      layers_removed = true;
    }
    total -= entry.is_shared ? 0 : std::min(total, entry.size);
    pruned.removed.push_back(std::move(entry));
  }
  if (!layers_removed) return pruned;
  auto garbage = store.collect_garbage(container_layers);
  if (!garbage && garbage.error().code() != ErrorCode::in_use) return Failure(std::move(garbage).error());
  pruned.is_deferred = !garbage;
  if (garbage) pruned.bytes += garbage->bytes;
  return pruned;
}

Result<std::uint64_t> cached_layer_bytes(store::Store& store) {
  const auto rows = TRY(store.database()->query(
      "SELECT SUM(s.size + c.blob_size) FROM (SELECT DISTINCT layer, blob_size FROM build_cache) c "
      "JOIN snapshots s ON s.diff_id = c.layer"));
  return rows.empty() ? 0 : static_cast<std::uint64_t>(rows.front().integer(0));
}

}  // namespace dray::builder
