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

Result<std::int64_t> parse_id(const std::string& id) {
  std::int64_t number = 0;
  auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), number);
  if (error != std::errc() || end != id.data() + id.size() || number <= 0)
    return fail(ErrorCode::not_found, "no such snapshot: \"" + id + "\"");
  return number;
}

/// Renames to a name without a meaning. False if there is nothing.
Result<bool> set_aside(FdRef directory, const std::string& name, std::string* new_name) {
  std::string aside = "old-" + random_hex(12);
  if (::renameat(directory.get(), name.c_str(), directory.get(), aside.c_str()) != 0) {
    if (errno == ENOENT) return false;
    return fail_errno("moving snapshot " + name + " aside");
  }
  *new_name = std::move(aside);
  return true;
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

Result<void> make_directory(FdRef directory, const std::string& name, unsigned mode) {
  if (::mkdirat(directory.get(), name.c_str(), mode) != 0) return fail_errno("creating directory \"" + name + "\"");
  if (::fchmodat(directory.get(), name.c_str(), mode, 0) != 0) return fail_errno("creating directory \"" + name + "\"");
  return {};
}

// What cannot be removed now has no row any more: an orphan, which remove_orphans tries again.
void discard(FdRef directory, const std::string& name) {
  std::string aside;
  auto moved = set_aside(directory, name, &aside);
  if (moved && !*moved) return;
  (void)remove_tree(directory, moved ? aside : name);
}

Result<UnnamedSnapshot> UnnamedSnapshot::create(FdRef snapshots) {
  UnnamedSnapshot snapshot;
  std::string name = "new-" + random_hex(12);
  snapshot.snapshots_ = snapshots;
  TRY(make_directory(snapshots, name, 0700));
  snapshot.name_ = name;
  snapshot.directory_ = TRY(open_file_at(snapshots, name, O_RDONLY | O_DIRECTORY));
  return snapshot;
}

UnnamedSnapshot::~UnnamedSnapshot() {
  if (!name_.empty()) (void)remove_tree(snapshots_, name_);
}

Result<void> UnnamedSnapshot::publish(const std::string& name, Database::Transaction& transaction) {
  std::string former;
  TRY(set_aside(snapshots_, name, &former));
  if (::renameat(snapshots_.get(), name_.c_str(), snapshots_.get(), name.c_str()) != 0)
    return fail_errno("naming snapshot " + name);
  auto committed = transaction.commit();
  if (!committed) {
    (void)::renameat(snapshots_.get(), name.c_str(), snapshots_.get(), name_.c_str());
    return committed;
  }
  name_.clear();
  if (!former.empty()) (void)remove_tree(snapshots_, former);
  return {};
}

Snapshotter::Snapshotter(std::unique_ptr<State> state) : state_(std::move(state)) {}
Snapshotter::~Snapshotter() = default;

namespace {

Result<FileDescriptor> open_or_make(const std::string& directory) {
  auto opened = open_file(directory, O_RDONLY | O_DIRECTORY);
  if (opened || opened.error().error_number() != ENOENT) return opened;
  TRY(make_directories(directory, 0700));
  return open_file(directory, O_RDONLY | O_DIRECTORY);
}

Result<void> ensure_empty_layer(FdRef snapshots) {
  const std::string empty(kEmptyLayer);
  if (::faccessat(snapshots.get(), empty.c_str(), F_OK, 0) == 0) return {};
  auto made = make_directory(snapshots, empty, 0755);
  if (!made && made.error().code() != ErrorCode::already_exists) return made;
  return {};
}

}  // namespace

Result<std::shared_ptr<Snapshotter>> Snapshotter::open(const std::string& directory, std::shared_ptr<Database> db,
                                                       std::optional<DriverWish> wish) {
  auto state = std::make_unique<State>();
  state->path = directory;
  state->db = std::move(db);
  state->boot = read_boot_id();
  if (state->boot.empty()) state->boot = random_hex(16);  // then nothing unsynced is believed by anyone else
  state->directory = TRY(open_or_make(directory));
  const StorageDriver driver = TRY(ensure_schema(state->db, [&]() -> Result<StorageDriver> {
    if (wish) return wish->driver;
    DriverChoice choice = TRY(choose_driver(state->directory, directory));
    state->fallback_reason = std::move(choice.refusal);
    return choice.driver;
  }));
  if (wish && wish->driver != driver)
    return Failure(Error(ErrorCode::invalid_argument, "the store has storage driver \"" + std::string(name_of(driver)) +
                                                          "\", not \"" + std::string(name_of(wish->driver)) + "\"")
                       .with_hint("leave " + wish->source + " out, or choose another folder with --root"));
  TRY(ensure_empty_layer(state->directory));
  DriverPlace place{directory, state->directory, state->db, state->boot};
  state->driver =
      driver == StorageDriver::vfs ? make_vfs_driver(std::move(place)) : make_overlay_driver(std::move(place));
  return std::shared_ptr<Snapshotter>(new Snapshotter(std::move(state)));
}

StorageDriver Snapshotter::driver() const { return state_->driver->kind(); }
const std::string& Snapshotter::fallback_reason() const { return state_->fallback_reason; }

bool Snapshotter::contains(const DiffId& diff_id) const {
  auto rows = state_->db->query("SELECT 1 FROM snapshots WHERE diff_id = ? AND boot IN ('', ?)",
                                {diff_id.digest.to_string(), state_->boot});
  return rows && !rows->empty();
}

Result<bool> SnapshotterAccess::publish(Snapshotter& snapshotter, ExtractedLayer layer, const DiffId& diff_id,
                                        const std::string& former) {
  auto& state = *snapshotter.state_;
  const std::string digest = diff_id.digest.to_string();
  auto transaction = TRY(Database::begin(state.db));
  TRY(state.early_sync.check());  // in the transaction: forget_pending() comes before it or after it
  if (!former.empty()) {
    TRY(state.db->execute("DELETE FROM snapshots WHERE id = ? AND diff_id IS NULL", {TRY(parse_id(former))}));
    if (state.db->changes() != 1) return fail(ErrorCode::not_found, "no such snapshot: \"" + former + "\"");
  }
  if (snapshotter.contains(diff_id)) {
    TRY(transaction.commit());
    return false;
  }
  TRY(state.db->execute("DELETE FROM snapshots WHERE diff_id = ?", {digest}));  // not of this boot, never synced
  auto rows = TRY(state.db->query("INSERT INTO snapshots(diff_id, size, flags, boot) VALUES(?, ?, ?, ?) RETURNING id",
                                  {digest, static_cast<std::int64_t>(layer.size), layer.flags, state.boot}));
  TRY_CTX(layer.snapshot.publish(std::to_string(rows.at(0).integer(0)), transaction), "naming layer " + digest);
  return true;
}

Result<Stack> SnapshotterAccess::stack_of(const Snapshotter& snapshotter, const std::vector<DiffId>& layers) {
  const auto& state = *snapshotter.state_;
  Stack stack;
  std::set<std::int64_t> seen;
  for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer) {
    auto rows = TRY(state.db->query("SELECT id, flags FROM snapshots WHERE diff_id = ? AND boot IN ('', ?)",
                                    {layer->digest.to_string(), state.boot}));
    if (rows.empty()) return no_such_layer(*layer);
    const std::int64_t id = rows.front().integer(0), flags = rows.front().integer(1);
    // An image may hold a layer twice, overlay may not. All that the lower one has, the upper one has too.
    if (seen.insert(id).second) stack.layers.push_back({id, state.path + "/" + std::to_string(id) + "/fs", flags});
    if ((flags & kHasOpaqueRoot) != 0) break;  // overlay ignores that mark on the root of a layer
  }
  return stack;
}

Result<SnapshotterAccess::Active> SnapshotterAccess::open_active(const Snapshotter& snapshotter,
                                                                 const std::string& id) {
  const auto& state = *snapshotter.state_;
  auto rows =
      TRY(state.db->query("SELECT parents FROM snapshots WHERE id = ? AND diff_id IS NULL", {TRY(parse_id(id))}));
  if (rows.empty()) return fail(ErrorCode::not_found, "no such snapshot: \"" + id + "\"");
  Active active;
  active.path = state.path + "/" + id;
  active.parents = TRY(split(rows.front().text(0)));
  active.stack = TRY(stack_of(snapshotter, active.parents));
  active.tree =
      TRY_CTX(open_file(active.path + "/" + state.driver->parts().front(), O_RDONLY | O_DIRECTORY), "snapshot " + id);
  return active;
}

Result<std::string> Snapshotter::prepare(const std::vector<DiffId>& layers, Durability durability,
                                         const CancelToken& cancel) {
  State& state = *state_;
  const Stack stack = TRY(SnapshotterAccess::stack_of(*this, layers));
  UnnamedSnapshot snapshot = TRY(UnnamedSnapshot::create(state.directory));
  TRY_CTX(state.driver->prepare(snapshot.directory(), stack, durability, cancel), "preparing a snapshot");
  auto transaction = TRY(Database::begin(state.db));
  auto rows = TRY(state.db->query("INSERT INTO snapshots(parents) VALUES(?) RETURNING id", {join(layers)}));
  std::string id = std::to_string(rows.at(0).integer(0));
  TRY_CTX(snapshot.publish(id, transaction), "preparing a snapshot");
  return id;
}

Result<MountRecipe> Snapshotter::view(const std::vector<DiffId>& layers) const {
  return state_->driver->view(TRY(SnapshotterAccess::stack_of(*this, layers)));
}

Result<MountRecipe> Snapshotter::mount_recipe(const std::string& id, bool is_volatile) const {
  const auto active = TRY(SnapshotterAccess::open_active(*this, id));
  return state_->driver->writable(active.path, active.stack, is_volatile);
}

Result<MountRecipe> Snapshotter::view_active(const std::string& id) const {
  const auto active = TRY(SnapshotterAccess::open_active(*this, id));
  return state_->driver->readable(active.path, active.stack);
}

std::vector<std::string> Snapshotter::directories_of(const std::string& id) const {
  std::vector<std::string> paths;
  for (const std::string& part : state_->driver->parts()) paths.push_back(state_->path + "/" + id + "/" + part);
  return paths;
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
  // Without a row the number is nobody's; with one it is a layer's.
  auto rows = TRY(state_->db->query("SELECT 1 FROM snapshots WHERE id = ?", {*number}));
  if (rows.empty()) discard(state_->directory, id);
  const std::lock_guard lock(state_->mutex);
  state_->diff_bytes.erase(id);
  return {};
}

Result<void> Snapshotter::commit(const std::string& id, const DiffId& diff_id) {
  State& state = *state_;
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

  ExtractedLayer layer{TRY(UnnamedSnapshot::create(state.directory)), size};
  {
    const auto active = TRY(SnapshotterAccess::open_active(*this, id));
    layer.flags = TRY_CTX(state.driver->gather(active.path, active.stack, layer.snapshot.directory()),
                          "committing snapshot " + id);
  }
  // Killed here, the row still says "active", with a directory that cannot be mounted: its build is dead
  // anyway.
  TRY(SnapshotterAccess::publish(*this, std::move(layer), diff_id, id));
  return remove(id);
}

void SnapshotterAccess::sync_early(const Snapshotter& snapshotter) {
  Snapshotter::State& state = *snapshotter.state_;  // outlives the thread
  state.early_sync.start(state.directory, [&state] { forget_pending(*state.db, state.boot); });
}

void SnapshotterAccess::forget_pending(Database& db, const std::string& boot) {
  // Where the database can't be written either, nothing more can be done.
  (void)db.execute("DELETE FROM snapshots WHERE boot = ? AND diff_id IS NOT NULL", {boot});
}

Result<void> SnapshotterAccess::sync(FdRef directory, Database& db, const std::string& boot) {
  if (::syncfs(directory.get()) == 0) return {};
  auto failure = fail_errno("syncing");
  forget_pending(db, boot);
  return failure;
}

Result<void> Snapshotter::make_durable() {
  State& state = *state_;
  TRY(state.early_sync.check());
  // Only these: one committed during the sync is not covered by it.
  auto pending = TRY(state.db->query("SELECT id FROM snapshots WHERE boot = ? AND diff_id IS NOT NULL", {state.boot}));
  if (pending.empty()) return {};
  TRY_CTX(SnapshotterAccess::sync(state.directory, *state.db, state.boot), "\"" + state.path + "\"");
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
    for (const Row& row : rows) {
      directories.push_back(std::to_string(row.integer(0)));
      for (std::string& name : TRY(state.driver->forget_layer(row.integer(0)))) directories.push_back(std::move(name));
    }
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

Result<std::set<std::string>> Snapshotter::lasting_directories() const {
  std::set<std::string> names{std::string(kEmptyLayer)};
  for (std::string& name : TRY(state_->driver->shared_directories())) names.insert(std::move(name));
  for (const Row& row : TRY(state_->db->query("SELECT id FROM snapshots WHERE diff_id IS NOT NULL")))
    names.insert(std::to_string(row.integer(0)));
  return names;
}

Result<std::uint64_t> Snapshotter::remove_orphans() {
  State& state = *state_;
  // Layers of a former boot that were never synced: half of their files may be missing.
  TRY(state.db->execute("DELETE FROM snapshots WHERE diff_id IS NOT NULL AND boot NOT IN ('', ?)", {state.boot}));
  std::set<std::string> known = TRY(lasting_directories());
  for (std::string& id : TRY(list_active())) known.insert(std::move(id));
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
