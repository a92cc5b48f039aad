// SPDX-License-Identifier: Apache-2.0
// Directories and their rows. A directory is complete before it has a row, and loses its row before it is removed: what a killed
// process leaves is always a directory without a row. Numbers come from SQLite's AUTOINCREMENT and are never used twice.
#include <dray/store/snapshotter.hpp>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>

#include "snapshotter_state.hpp"

namespace dray::store {

Result<std::optional<std::int64_t>> Snapshotter::State::find(const DiffId& diff_id) const {
  auto rows = TRY(db->query("SELECT id FROM snapshots WHERE diff_id=?", {diff_id.digest.to_string()}));
  if (rows.empty()) return std::optional<std::int64_t>();
  return std::optional<std::int64_t>(rows[0].integer(0));
}

Result<std::int64_t> Snapshotter::State::make_directory() const {
  auto rows = TRY(db->query("INSERT INTO snapshot_numbers DEFAULT VALUES RETURNING id"));
  if (rows.empty()) return fail(ErrorCode::internal, "the database gave no snapshot number");
  std::int64_t id = rows[0].integer(0);
  if (::mkdir(path(id).c_str(), 0700) != 0) return fail_errno("creating snapshot directory \"" + path(id) + "\"");
  return id;
}

Result<void> Snapshotter::State::remove_directory(std::int64_t id) const {
  FileDescriptor parent = TRY(open_file(directory, O_RDONLY | O_DIRECTORY));
  return remove_tree(parent, std::to_string(id));
}

namespace {

/// Overlay refuses one directory twice. Of a layer that is in a stack twice (two empty steps, say) only the topmost occurrence can
/// be seen: it covers every path of the lower one.
std::vector<DiffId> without_repetitions(const std::vector<DiffId>& layers) {
  std::vector<DiffId> stack;
  std::set<DiffId> seen;
  for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer) {
    if (seen.insert(*layer).second) stack.insert(stack.begin(), *layer);
  }
  return stack;
}

}  // namespace

Snapshotter::Snapshotter(std::unique_ptr<State> state) : state_(std::move(state)) {}
Snapshotter::~Snapshotter() = default;

Result<std::shared_ptr<Snapshotter>> Snapshotter::open(const std::string& directory, std::shared_ptr<Database> db) {
  TRY(make_directories(directory, 0700));
  TRY(db->execute("CREATE TABLE IF NOT EXISTS snapshot_numbers(id INTEGER PRIMARY KEY AUTOINCREMENT)"));
  TRY(db->execute("CREATE TABLE IF NOT EXISTS snapshots(id INTEGER PRIMARY KEY, diff_id TEXT UNIQUE, size INTEGER, layers TEXT)"));
  auto state = std::make_unique<State>();
  state->directory = directory;
  state->db = std::move(db);
  return std::shared_ptr<Snapshotter>(new Snapshotter(std::move(state)));
}

bool Snapshotter::contains(const DiffId& diff_id) const {
  auto found = state_->find(diff_id);
  return found && found->has_value();
}

Result<UnpackedLayer> Snapshotter::unpack(ByteSource& blob, const DiffId& expected) {
  auto decompressed = make_decompressing_source(blob);
  HashingSource tar(*decompressed);
  UnpackedLayer layer;
  if (contains(expected)) {
    TRY(drain(tar));
    layer.diff_id = DiffId{tar.finish()};
    if (layer.diff_id != expected) return fail(ErrorCode::corrupt, "layer has the diffID " + layer.diff_id.digest.to_string() + ", expected " + expected.digest.to_string());
    layer.size = TRY(layer_size(expected));
    return layer;
  }
  std::int64_t id = TRY(state_->make_directory());
  auto extract = [&]() -> Result<void> {
    std::string target = state_->path(id) + "/fs";
    if (::mkdir(target.c_str(), 0755) != 0 || ::chmod(target.c_str(), 0755) != 0) return fail_errno("creating \"" + target + "\"");
    FileDescriptor root = TRY(open_file(target, O_RDONLY | O_DIRECTORY));
    layer.size = TRY_CTX(extract_layer(tar, root), "unpacking a layer");
    TRY(drain(tar));    // padding after the end-of-archive blocks belongs to the diffID
    TRY(drain(blob));   // and so does what follows the compressed stream to the blob's digest
    layer.diff_id = DiffId{tar.finish()};
    if (layer.diff_id != expected) return fail(ErrorCode::corrupt, "layer has the diffID " + layer.diff_id.digest.to_string() + ", expected " + expected.digest.to_string());
    // One sync of the file system instead of one a file.
    if (::syncfs(root.get()) != 0) return fail_errno("syncing a layer");
    auto recorded = state_->db->execute("INSERT INTO snapshots(id,diff_id,size) VALUES(?,?,?)",
                                        {id, expected.digest.to_string(), static_cast<std::int64_t>(layer.size)});
    // Another process unpacked the same layer meanwhile: its directory serves.
    if (!recorded && recorded.error().code() == ErrorCode::already_exists) return state_->remove_directory(id);
    return recorded;
  };
  auto done = extract();
  if (!done) {
    auto removed = state_->remove_directory(id);
    Error error = std::move(done).error();
    if (!removed) error = std::move(error).with_cleanup_failure(removed.error());
    return Failure(std::move(error));
  }
  return layer;
}

Result<std::string> Snapshotter::prepare(const std::vector<DiffId>& layers) {
  std::string stack;
  for (const DiffId& layer : without_repetitions(layers)) {
    auto id = TRY(state_->find(layer));
    if (!id) return fail(ErrorCode::not_found, "layer " + layer.digest.to_string() + " is not in the store");
    stack += (stack.empty() ? "" : ",") + std::to_string(*id);
  }
  std::int64_t id = TRY(state_->make_directory());
  std::string base = state_->path(id);
  auto make = [&]() -> Result<void> {
    for (const char* name : {"/upper", "/work"}) {
      if (::mkdir((base + name).c_str(), 0755) != 0 || ::chmod((base + name).c_str(), 0755) != 0) return fail_errno("creating \"" + base + name + "\"");
    }
    return state_->db->execute("INSERT INTO snapshots(id,layers) VALUES(?,?)", {id, stack});
  };
  auto made = make();
  if (!made) {
    (void)state_->remove_directory(id);
    return Failure(std::move(made).error());
  }
  return std::to_string(id);
}

Result<MountRecipe> Snapshotter::view(const std::vector<DiffId>& layers) const {
  MountRecipe recipe;
  auto stack = without_repetitions(layers);
  for (auto layer = stack.rbegin(); layer != stack.rend(); ++layer) {
    auto id = TRY(state_->find(*layer));
    if (!id) return fail(ErrorCode::not_found, "layer " + layer->digest.to_string() + " is not in the store");
    recipe.lower.push_back(state_->path(*id) + "/fs");
  }
  return recipe;
}

namespace {

Result<std::int64_t> parse_id(const std::string& id) {
  std::int64_t number = 0;
  auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), number);
  if (error != std::errc() || end != id.data() + id.size() || number <= 0) return fail(ErrorCode::invalid_argument, "\"" + id + "\" is not a snapshot");
  return number;
}

}  // namespace

Result<MountRecipe> Snapshotter::mount_recipe(const std::string& id, bool is_volatile) const {
  std::int64_t number = TRY(parse_id(id));
  auto rows = TRY(state_->db->query("SELECT layers FROM snapshots WHERE id=? AND diff_id IS NULL", {number}));
  if (rows.empty()) return fail(ErrorCode::not_found, "snapshot " + id + " does not exist");
  MountRecipe recipe;
  std::string stack = rows[0].text(0);
  for (std::size_t start = 0; start < stack.size();) {
    std::size_t end = std::min(stack.find(',', start), stack.size());
    recipe.lower.insert(recipe.lower.begin(), state_->directory + "/" + stack.substr(start, end - start) + "/fs");
    start = end + 1;
  }
  recipe.upper = state_->path(number) + "/upper";
  recipe.work = state_->path(number) + "/work";
  recipe.is_volatile = is_volatile;
  return recipe;
}

Result<void> Snapshotter::remove(const std::string& id) {
  std::int64_t number = TRY(parse_id(id));
  TRY(state_->db->execute("DELETE FROM snapshots WHERE id=? AND diff_id IS NULL", {number}));
  auto rows = TRY(state_->db->query("SELECT 1 FROM snapshots WHERE id=?", {number}));
  if (!rows.empty()) return fail(ErrorCode::invalid_argument, "snapshot " + id + " is a layer");
  return state_->remove_directory(number);
}

Result<void> Snapshotter::commit(const std::string& id, const DiffId& diff_id) {
  std::int64_t number = TRY(parse_id(id));
  if (contains(diff_id)) return remove(id);
  std::string base = state_->path(number);
  FileDescriptor upper = TRY(open_file(base + "/upper", O_RDONLY | O_DIRECTORY));
  // The step's mount was volatile: nothing is on disk for certain until now.
  if (::syncfs(upper.get()) != 0) return fail_errno("syncing a layer");
  std::uint64_t size = 0;
  {
    auto rows = TRY(state_->db->query("SELECT size FROM snapshots WHERE id=?", {number}));
    if (!rows.empty()) size = static_cast<std::uint64_t>(rows[0].integer(0));
  }
  if (::rename((base + "/upper").c_str(), (base + "/fs").c_str()) != 0) return fail_errno("committing a snapshot");
  auto recorded = state_->db->execute("UPDATE snapshots SET diff_id=?, size=?, layers=NULL WHERE id=?",
                                      {diff_id.digest.to_string(), static_cast<std::int64_t>(size), number});
  if (!recorded && recorded.error().code() == ErrorCode::already_exists) return remove(id);
  TRY(std::move(recorded));
  FileDescriptor parent = TRY(open_file(base, O_RDONLY | O_DIRECTORY));
  return remove_tree(parent, "work");
}

Result<std::uint64_t> Snapshotter::layer_size(const DiffId& diff_id) const {
  auto rows = TRY(state_->db->query("SELECT size FROM snapshots WHERE diff_id=?", {diff_id.digest.to_string()}));
  if (rows.empty()) return fail(ErrorCode::not_found, "layer " + diff_id.digest.to_string() + " is not in the store");
  return static_cast<std::uint64_t>(rows[0].integer(0));
}

Result<void> Snapshotter::remove_layer(const DiffId& diff_id) {
  auto id = TRY(state_->find(diff_id));
  if (!id) return {};
  TRY(state_->db->execute("DELETE FROM snapshots WHERE id=?", {*id}));
  return state_->remove_directory(*id);
}

Result<std::vector<DiffId>> Snapshotter::list_layers() const {
  std::vector<DiffId> layers;
  for (const Row& row : TRY(state_->db->query("SELECT diff_id FROM snapshots WHERE diff_id IS NOT NULL"))) layers.push_back(DiffId{TRY(Digest::parse(row.text(0)))});
  return layers;
}

Result<std::vector<std::string>> Snapshotter::list_active() const {
  std::vector<std::string> ids;
  for (const Row& row : TRY(state_->db->query("SELECT id FROM snapshots WHERE diff_id IS NULL"))) ids.push_back(std::to_string(row.integer(0)));
  return ids;
}

Result<std::uint64_t> Snapshotter::remove_orphans() {
  std::vector<std::int64_t> known;
  for (const Row& row : TRY(state_->db->query("SELECT id FROM snapshots"))) known.push_back(row.integer(0));
  std::sort(known.begin(), known.end());
  DIR* listing = ::opendir(state_->directory.c_str());
  if (listing == nullptr) return fail_errno("listing \"" + state_->directory + "\"");
  std::vector<std::string> orphans;
  while (dirent* entry = ::readdir(listing)) {
    auto number = parse_id(entry->d_name);
    if (number && !std::binary_search(known.begin(), known.end(), *number)) orphans.push_back(entry->d_name);
  }
  ::closedir(listing);
  FileDescriptor parent = TRY(open_file(state_->directory, O_RDONLY | O_DIRECTORY));
  for (const std::string& name : orphans) TRY(remove_tree(parent, name));
  // Numbers are only kept to know the highest one.
  TRY(state_->db->execute("DELETE FROM snapshot_numbers WHERE id < (SELECT MAX(id) FROM snapshot_numbers)"));
  return orphans.size();
}

}  // namespace dray::store
