// SPDX-License-Identifier: Apache-2.0
// Directories and their rows. The order of steps is the point: a directory is filled under a name that means
// nothing, and its number and its row appear together: the rename happens inside the transaction that inserts
// the row, before its COMMIT. Killed before the COMMIT: a directory without a row, garbage. After: both are
// there. Removal goes the other way round, row first.
//
// A number can meet a leftover of a killed process (its transaction was rolled back, its rename was not);
// holding the write lock we know it is nobody's, and move it aside.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>

#include <dray/core/process.hpp>

#include "layer_format.hpp"
#include "schema.hpp"
#include "snapshotter_state.hpp"

namespace dray::store {
namespace {

constexpr std::string_view kEmptyLayer = "empty";  ///< what stands for "no layers" beneath an overlay

Result<std::int64_t> parse_id(const std::string& id) {
  std::int64_t number = 0;
  auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), number);
  if (error != std::errc() || end != id.data() + id.size() || number <= 0)
    return fail(ErrorCode::not_found, "no such snapshot: \"" + id + "\"");
  return number;
}

Result<void> make_directory(FdRef directory, const std::string& name, unsigned mode) {
  if (::mkdirat(directory.get(), name.c_str(), mode) != 0) return fail_errno("creating directory \"" + name + "\"");
  if (::fchmodat(directory.get(), name.c_str(), mode, 0) != 0) return fail_errno("creating directory \"" + name + "\"");
  return {};
}

/// Renames to a name without a meaning. False if there is nothing.
Result<bool> set_aside(FdRef directory, const std::string& name, std::string* new_name = nullptr) {
  std::string aside = "old-" + random_hex(12);
  if (::renameat(directory.get(), name.c_str(), directory.get(), aside.c_str()) != 0) {
    if (errno == ENOENT) return false;
    return fail_errno("moving snapshot " + name + " aside");
  }
  if (new_name != nullptr) *new_name = std::move(aside);
  return true;
}

/// What cannot be removed now has no row any more: an orphan, which remove_orphans tries again.
void discard(FdRef directory, const std::string& name) {
  std::string aside;
  auto moved = set_aside(directory, name, &aside);
  if (moved && !*moved) return;
  (void)remove_tree(directory, moved ? aside : name);
}

std::string join(const std::vector<DiffId>& layers) {
  std::string text;
  for (const DiffId& layer : layers) text += (text.empty() ? "" : " ") + layer.digest.to_string();
  return text;
}

Result<std::vector<DiffId>> split(const std::string& text) {
  std::vector<DiffId> layers;
  for (std::size_t start = 0; start < text.size();) {
    std::size_t end = std::min(text.find(' ', start), text.size());
    layers.push_back(DiffId{TRY(Digest::parse(std::string_view(text).substr(start, end - start)))});
    start = end + 1;
  }
  return layers;
}

Failure no_such_layer(const DiffId& layer) {
  return fail(ErrorCode::not_found, "layer " + layer.digest.to_string() + " is not in the store");
}

}  // namespace

Result<UnnamedSnapshot> UnnamedSnapshot::create(FdRef snapshots) {
  UnnamedSnapshot snapshot;
  std::string name = "new-" + random_hex(12);
  snapshot.snapshots_ = snapshots;
  TRY(make_directory(snapshots, name, 0700));
  snapshot.name_ = name;
  TRY(make_directory(snapshots, name + "/fs", 0755));
  snapshot.root_ = TRY(open_file_at(snapshots, name + "/fs", O_RDONLY | O_DIRECTORY));
  return snapshot;
}

UnnamedSnapshot::~UnnamedSnapshot() {
  if (!name_.empty()) (void)remove_tree(snapshots_, name_);
}

Snapshotter::Snapshotter(std::unique_ptr<State> state) : state_(std::move(state)) {}
Snapshotter::~Snapshotter() = default;

Result<std::shared_ptr<Snapshotter>> Snapshotter::open(const std::string& directory, std::shared_ptr<Database> db) {
  TRY(ensure_schema(db));
  auto state = std::make_unique<State>();
  state->path = directory;
  state->db = std::move(db);
  state->boot = read_boot_id();
  if (state->boot.empty()) state->boot = random_hex(16);  // then nothing unsynced is believed by anyone else
  auto opened = open_file(directory, O_RDONLY | O_DIRECTORY);
  if (!opened && opened.error().error_number() == ENOENT) {
    TRY(make_directories(directory, 0700));
    opened = open_file(directory, O_RDONLY | O_DIRECTORY);
  }
  if (!opened) return Failure(std::move(opened).error());
  state->directory = *std::move(opened);
  const std::string empty(kEmptyLayer);
  if (::faccessat(state->directory.get(), empty.c_str(), F_OK, 0) != 0) {
    auto made = make_directory(state->directory, empty, 0755);
    if (!made && made.error().code() != ErrorCode::already_exists) return Failure(std::move(made).error());
  }
  return std::shared_ptr<Snapshotter>(new Snapshotter(std::move(state)));
}

bool Snapshotter::contains(const DiffId& diff_id) const {
  auto rows = state_->db->query("SELECT 1 FROM snapshots WHERE diff_id = ? AND boot IN ('', ?)",
                                {diff_id.digest.to_string(), state_->boot});
  return rows && !rows->empty();
}

Result<bool> SnapshotterAccess::publish(Snapshotter& snapshotter, ExtractedLayer layer, const DiffId& diff_id) {
  auto& state = *snapshotter.state_;
  const std::string digest = diff_id.digest.to_string();
  auto transaction = TRY(Database::begin(state.db));
  if (snapshotter.contains(diff_id)) return false;
  TRY(state.db->execute("DELETE FROM snapshots WHERE diff_id = ?", {digest}));  // not of this boot, never synced
  auto rows = TRY(state.db->query("INSERT INTO snapshots(diff_id, size, flags, boot) VALUES(?, ?, ?, ?) RETURNING id",
                                  {digest, static_cast<std::int64_t>(layer.size), layer.flags, state.boot}));
  const std::string id = std::to_string(rows.at(0).integer(0));
  TRY(set_aside(state.directory, id));
  if (::renameat(state.directory.get(), layer.snapshot.name().c_str(), state.directory.get(), id.c_str()) != 0)
    return fail_errno("naming layer " + digest);
  auto committed = transaction.commit();
  if (!committed) {
    (void)::renameat(state.directory.get(), id.c_str(), state.directory.get(), layer.snapshot.name().c_str());
    return Failure(std::move(committed).error());
  }
  layer.snapshot.release();
  return true;
}

Result<std::string> Snapshotter::prepare(const std::vector<DiffId>& layers) {
  State& state = *state_;
  // An overlay shows the upper directory's own attributes as those of the root.
  struct stat root{};
  root.st_mode = 0755;
  MountRecipe below = TRY(view(layers));
  if (!layers.empty() && ::stat(below.lower.front().c_str(), &root) != 0)
    return fail_errno("layer " + layers.back().digest.to_string() + " is damaged");

  auto transaction = TRY(Database::begin(state.db));
  auto rows = TRY(state.db->query("INSERT INTO snapshots(parents) VALUES(?) RETURNING id", {join(layers)}));
  const std::string id = std::to_string(rows.at(0).integer(0));
  TRY(set_aside(state.directory, id));
  auto fill = [&]() -> Result<void> {
    TRY(make_directory(state.directory, id, 0700));
    TRY(make_directory(state.directory, id + "/work", 0700));
    TRY(make_directory(state.directory, id + "/upper", 0755));
    const std::string upper = id + "/upper";
    if ((root.st_uid != 0 || root.st_gid != 0) &&
        ::fchownat(state.directory.get(), upper.c_str(), root.st_uid, root.st_gid, 0) != 0)
      return fail_errno("changing the owner of a snapshot");
    if ((root.st_mode & 07777) != 0755 &&
        ::fchmodat(state.directory.get(), upper.c_str(), root.st_mode & 07777, 0) != 0)
      return fail_errno("changing the mode of a snapshot");
    return transaction.commit();
  };
  auto filled = fill();
  if (!filled) {
    (void)remove_tree(state.directory, id);
    return Failure(std::move(filled).error().with_context("preparing a snapshot"));
  }
  return id;
}

Result<MountRecipe> Snapshotter::view(const std::vector<DiffId>& layers) const {
  MountRecipe recipe;
  std::set<std::int64_t> seen;
  std::int64_t flags = 0;
  for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer) {
    auto rows = TRY(state_->db->query("SELECT id, flags FROM snapshots WHERE diff_id = ? AND boot IN ('', ?)",
                                      {layer->digest.to_string(), state_->boot}));
    if (rows.empty()) return no_such_layer(*layer);
    std::int64_t id = rows.front().integer(0);
    flags = rows.front().integer(1);
    // An image may hold a layer twice, overlay may not. All that the lower one has, the upper one has too.
    if (seen.insert(id).second) recipe.lower.push_back(state_->path + "/" + std::to_string(id) + "/fs");
    if ((flags & kHasOpaqueRoot) != 0) break;  // overlay ignores that mark on the root of a layer
  }
  const std::string empty = state_->path + "/" + std::string(kEmptyLayer);
  // A single layer is shown by a bind mount, which would show its whiteouts; over an empty one an overlay
  // hides them.
  if (recipe.lower.empty() || (recipe.lower.size() == 1 && (flags & (kHasWhiteouts | kHasOpaqueRoot)) != 0))
    recipe.lower.push_back(empty);
  return recipe;
}

Result<MountRecipe> Snapshotter::mount_recipe(const std::string& id, bool is_volatile) const {
  std::int64_t number = TRY(parse_id(id));
  auto rows = TRY(state_->db->query("SELECT parents FROM snapshots WHERE id = ? AND diff_id IS NULL", {number}));
  if (rows.empty()) return fail(ErrorCode::not_found, "no such snapshot: \"" + id + "\"");
  std::vector<DiffId> parents = TRY(split(rows.front().text(0)));
  MountRecipe recipe = TRY(view(parents));
  recipe.upper = state_->path + "/" + id + "/upper";
  recipe.work = state_->path + "/" + id + "/work";
  recipe.is_volatile = is_volatile;
  // A volatile overlay leaves a mark that forbids mounting it again, in case the system went down meanwhile.
  // Our snapshots of build steps do not outlive their build, so there the mark says nothing.
  const std::string mark = id + "/work/work/incompat";
  if (::faccessat(state_->directory.get(), mark.c_str(), F_OK, 0) == 0) TRY(remove_tree(state_->directory, mark));
  return recipe;
}

Result<void> Snapshotter::remove(const std::string& id) {
  auto number = parse_id(id);
  if (!number) return {};
  const std::string deletion = "DELETE FROM snapshots WHERE id = ? AND diff_id IS NULL";
  auto deleted = state_->db->execute(deletion, {*number});
  if (!deleted && deleted.error().code() == ErrorCode::no_space) {
    // A disk that is full has no room to say so. What filled it may be this very snapshot.
    auto active = TRY(state_->db->query("SELECT 1 FROM snapshots WHERE id = ? AND diff_id IS NULL", {*number}));
    if (!active.empty()) discard(state_->directory, id);
    deleted = state_->db->execute(deletion, {*number});
  }
  TRY(std::move(deleted));
  // A committed snapshot has kept its number: its directory is a layer now. Without a row the number is
  // nobody's.
  auto rows = TRY(state_->db->query("SELECT 1 FROM snapshots WHERE id = ?", {*number}));
  if (rows.empty()) discard(state_->directory, id);
  const std::lock_guard lock(state_->mutex);
  state_->diff_bytes.erase(id);
  return {};
}

Result<void> Snapshotter::commit(const std::string& id, const DiffId& diff_id) {
  State& state = *state_;
  std::int64_t number = TRY(parse_id(id));
  std::uint64_t size = 0;
  bool counted = false;
  {
    const std::lock_guard lock(state.mutex);
    auto known = state.diff_bytes.find(id);
    counted = known != state.diff_bytes.end();
    if (counted) size = known->second;
  }
  if (!counted) {
    class Nowhere : public ByteSink {
      Result<void> write(std::span<const std::byte>) override { return {}; }
    } nowhere;
    size = TRY(write_diff(id, nowhere, CancelToken())).bytes;
  }

  auto transaction = TRY(Database::begin(state.db));
  if (contains(diff_id)) {
    TRY(transaction.commit());
    return remove(id);
  }
  TRY(state.db->execute("DELETE FROM snapshots WHERE diff_id = ?", {diff_id.digest.to_string()}));
  // Whiteouts are assumed: looking for them would cost more than the overlay that hides them.
  TRY(state.db->execute(
      "UPDATE snapshots SET diff_id = ?, size = ?, flags = ?, boot = ?, parents = '' WHERE id = ? AND "
      "diff_id IS NULL",
      {diff_id.digest.to_string(), static_cast<std::int64_t>(size), kHasWhiteouts, state.boot, number}));
  if (state.db->changes() != 1) return fail(ErrorCode::not_found, "no such snapshot: \"" + id + "\"");
  const std::string upper = id + "/upper", fs = id + "/fs";
  if (::renameat(state.directory.get(), upper.c_str(), state.directory.get(), fs.c_str()) != 0)
    return fail_errno("committing snapshot " + id);
  // Killed here, the row still says "active", with a directory that cannot be mounted: its build is dead
  // anyway.
  auto committed = transaction.commit();
  if (!committed) {
    (void)::renameat(state.directory.get(), fs.c_str(), state.directory.get(), upper.c_str());
    return Failure(std::move(committed).error());
  }
  (void)remove_tree(state.directory, id + "/work");
  return {};
}

Result<void> Snapshotter::make_durable() {
  State& state = *state_;
  // Only these: one committed during the sync is not covered by it.
  auto pending = TRY(state.db->query("SELECT id FROM snapshots WHERE boot = ? AND diff_id IS NOT NULL", {state.boot}));
  if (pending.empty()) return {};
  if (::syncfs(state.directory.get()) != 0) return fail_errno("syncing \"" + state.path + "\"");
  auto transaction = TRY(Database::begin(state.db));
  for (const Row& row : pending)
    TRY(state.db->execute("UPDATE snapshots SET boot = '' WHERE id = ?", {row.integer(0)}));
  return transaction.commit();
}

Result<std::uint64_t> Snapshotter::layer_size(const DiffId& diff_id) const {
  auto rows = TRY(state_->db->query("SELECT size FROM snapshots WHERE diff_id = ? AND boot IN ('', ?)",
                                    {diff_id.digest.to_string(), state_->boot}));
  if (rows.empty()) return no_such_layer(diff_id);
  return static_cast<std::uint64_t>(rows.front().integer(0));
}

Result<void> Snapshotter::remove_layer(const DiffId& diff_id) {
  return SnapshotterAccess::remove_layers(*this, {diff_id});
}

Result<void> SnapshotterAccess::remove_layers(Snapshotter& snapshotter, const std::vector<DiffId>& layers) {
  auto& state = *snapshotter.state_;
  if (layers.empty()) return {};
  std::vector<std::string> directories;
  auto transaction = TRY(Database::begin(state.db));
  for (const DiffId& layer : layers) {
    const auto rows =
        TRY(state.db->query("DELETE FROM snapshots WHERE diff_id = ? RETURNING id", {layer.digest.to_string()}));
    for (const Row& row : rows) directories.push_back(std::to_string(row.integer(0)));
  }
  TRY(transaction.commit());
  TRY(state.db->sync());
  for (const std::string& name : directories) discard(state.directory, name);
  return {};
}

Result<std::vector<DiffId>> Snapshotter::list_layers() const {
  std::vector<DiffId> layers;
  for (const Row& row : TRY(state_->db->query(
           "SELECT diff_id FROM snapshots WHERE diff_id IS NOT NULL AND boot IN ('', ?) ORDER BY id", {state_->boot})))
    layers.push_back(DiffId{TRY(Digest::parse(row.text(0)))});
  return layers;
}

const std::string& Snapshotter::boot_id() const { return state_->boot; }

Result<std::vector<std::string>> Snapshotter::list_active() const {
  std::vector<std::string> ids;
  for (const Row& row : TRY(state_->db->query("SELECT id FROM snapshots WHERE diff_id IS NULL ORDER BY id")))
    ids.push_back(std::to_string(row.integer(0)));
  return ids;
}

Result<std::uint64_t> Snapshotter::remove_orphans() {
  State& state = *state_;
  // Layers of a former boot that were never synced: half of their files may be missing.
  TRY(state.db->execute("DELETE FROM snapshots WHERE diff_id IS NOT NULL AND boot NOT IN ('', ?)", {state.boot}));
  std::set<std::string> known{std::string(kEmptyLayer)};
  for (const Row& row : TRY(state.db->query("SELECT id FROM snapshots"))) known.insert(std::to_string(row.integer(0)));
  std::uint64_t count = 0;
  std::optional<Error> first_error;
  for (const auto& name : TRY(list_directory(state.directory))) {
    if (known.contains(name)) continue;
    auto removed = remove_tree(state.directory, name);
    if (removed) {
      ++count;
    } else if (!first_error) {
      first_error = std::move(removed).error();
    }
  }
  if (first_error) return Failure(std::move(*first_error).with_context("removing leftover snapshots"));
  return count;
}

}  // namespace dray::store
