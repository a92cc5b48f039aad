// SPDX-License-Identifier: Apache-2.0
// The mounts of RUN steps as detached mounts, and what the solver makes of them: seen through their descriptors, as an
// executor would attach them.
#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <thread>

#include <dray/builder/cache.hpp>
#include <dray/builder/cache_mounts.hpp>
#include <dray/core/rooted_path.hpp>

#include "catch.hpp"
#include "mounts/bind.hpp"
#include "mounts/held_lock.hpp"
#include "mounts/secrets.hpp"
#include "mounts/ssh_proxy.hpp"
#include "solve/solver.hpp"

using namespace dray;
using namespace dray::builder;

namespace {

struct Silence : ProgressSink {
  void report(const ProgressEvent& event) override {
    if (event.kind == ProgressEvent::Kind::cached) ++cached;
  }
  std::atomic<int> cached = 0;
};

/// Each RUN is a function that gets the request.
struct Inside : Executor {
  Result<ExitStatus> run(const RunRequest& request, const std::function<void(std::string_view, bool)>&,
                         const CancelToken&) override {
    ++runs;
    const FileDescriptor root = TRY(store::open_mount(request.rootfs));
    if (act) act(request, root);
    return ExitStatus{};
  }
  std::function<void(const RunRequest&, FdRef root)> act;
  std::atomic<int> runs = 0;
};

/// A build without base images.
class NoImages : public ImageSource {
 public:
  Result<store::LoadedImage> resolve(const Reference&, const image::Platform&, bool, ProgressSink&,
                                     const CancelToken&) override {
    return fail(ErrorCode::not_found, "no such image");
  }
};

struct Place {
  TempDir directory = *TempDir::create("/var/tmp", "dray-mounts-test-");
  std::shared_ptr<store::Store> store = *store::Store::open(directory.path() + "/root");
  std::string context = directory.path() + "/context";
  FileDescriptor opened;
  IgnorePatterns ignore;
  Inside executor;
  NoImages images;
  Silence progress;
  CancelToken cancel;
  BuildRequest build;

  void put(const std::string& path, const std::string& content, unsigned mode = 0644) {
    const std::string full = context + "/" + path;
    REQUIRE_OK(make_directories(full.substr(0, full.rfind('/'))));
    REQUIRE_OK(write_file_atomically(full, content, mode, Durability::none));
  }
  SourceTree tree() {
    if (!opened.valid()) opened = *open_file(context, O_RDONLY | O_DIRECTORY);
    return {.root = opened, .is_context = true, .ignore = &ignore};
  }
  /// FROM scratch, the context as vertex 1, then `ops`, each standing on the one before and reading the context.
  Plan plan(std::vector<Op> ops) {
    Plan made;
    made.vertices.push_back({.id = 0, .op = SourceOp{}});
    made.vertices.push_back({.id = 1, .op = LocalOp{}});
    int below = 0;
    for (Op& op : ops) {
      const int id = static_cast<int>(made.vertices.size());
      made.vertices.push_back({.id = id, .op = std::move(op), .inputs = {below, 1}, .title = "step"});
      below = id;
    }
    made.result = below;
    return made;
  }
  Result<std::vector<StepResult>> solve(const Plan& made) {
    const std::map<std::string, SourceTree> locals = {{"context", tree()}};
    std::map<int, CopyContent> contents;
    std::map<std::pair<int, std::size_t>, std::vector<std::string>> mounted;
    for (const Vertex& vertex : made.vertices) {
      if (const auto* copy = std::get_if<CopyOp>(&vertex.op))
        contents[vertex.id] = TRY(read_copy_content(tree(), *copy, 1, nullptr, cancel));
      const auto* run = std::get_if<RunOp>(&vertex.op);
      for (std::size_t i = 0; run != nullptr && i < run->mounts.size(); ++i)
        if (run->mounts[i].input == 1)
          mounted[{vertex.id, i}] = TRY(read_mount_content(tree(), run->mounts[i].source, nullptr, cancel)).digests;
    }
    Secrets secrets(build.secrets);
    const SolveRequest request{.store = *store,
                               .executor = executor,
                               .images = images,
                               .locals = locals,
                               .contents = contents,
                               .mounted = mounted,
                               .secrets = secrets,
                               .build = build,
                               .base_layers = {}};
    return builder::solve(made, request, progress, cancel);
  }
};

std::string read_in(FdRef root, const std::string& path) {
  const auto text = read_regular_file_in_root(root, path, 1 << 20);
  return text ? *text : "<" + text.error().message() + ">";
}

bool write_in(FdRef root, const std::string& path, const std::string& text) {
  const auto file = open_in_root(root, path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  return file && write_all(*file, text);
}

RunOp run_with(std::vector<RunMount> mounts) {
  RunOp run;
  run.args = {"x"};
  run.mounts = std::move(mounts);
  return run;
}

CopyOp copy_of(const std::string& from, const std::string& to) {
  CopyOp copy;
  copy.paths = {from};
  copy.destination = to;
  return copy;
}

std::size_t entries(const std::string& path) {
  std::size_t count = 0;
  DIR* listing = ::opendir(path.c_str());
  while (listing != nullptr && ::readdir(listing) != nullptr) ++count;
  if (listing != nullptr) ::closedir(listing);
  return count < 2 ? 0 : count - 2;
}

bool can_mount() { return ::geteuid() == 0; }

}  // namespace

#define NEEDS_ROOT()             \
  if (!can_mount()) {            \
    WARN("skipped: needs root"); \
    return;                      \
  }

TEST_CASE("a context is bound read-only, or over an overlay that forgets", "[builder]") {
  NEEDS_ROOT();
  Place place;
  place.put("dir/file", "F");
  place.put("top", "T");
  const auto plain = bind_directory(*place.store, place.tree(), "/dir", true, place.cancel);
  REQUIRE_OK(plain);
  CHECK(read_in(plain->tree, "/file") == "F");
  CHECK_FALSE(write_in(plain->tree, "/file", "no"));

  {
    const auto writable = bind_directory(*place.store, place.tree(), "/", false, place.cancel);
    REQUIRE_OK(writable);
    CHECK(write_in(writable->tree, "/top", "changed"));
    CHECK(write_in(writable->tree, "/new", "new"));
    CHECK(read_in(writable->tree, "/top") == "changed");
  }
  CHECK(read_in(place.opened, "/top") == "T");
  CHECK_FALSE(stat_in_root(place.opened, "/new", FollowLast::no));
  CHECK(entries(place.store->root() + "/tmp") == 0);
  const auto file = bind_directory(*place.store, place.tree(), "/top", true, place.cancel);
  REQUIRE_OK(file);
  struct stat status = {};
  REQUIRE(::fstat(file->tree.get(), &status) == 0);
  CHECK(S_ISREG(status.st_mode));
  const auto missing = bind_directory(*place.store, place.tree(), "/nosuch", true, place.cancel);
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code() == ErrorCode::not_found);
}

TEST_CASE("a context's view hides what .dockerignore hides, also behind links", "[builder]") {
  NEEDS_ROOT();
  Place place;
  for (const char* name : {"a/secret", "a/b/secret", "a/b/keep", "gone/x", "gone/back", "none/x/y", "top"})
    place.put(name, name);
  REQUIRE(::symlink("a/secret", (place.context + "/detour").c_str()) == 0);
  place.ignore = *IgnorePatterns::parse("**/secret\ngone\n!gone/back\nnone\n!none/z\n");
  const auto view = bind_directory(*place.store, place.tree(), "/", true, place.cancel);
  REQUIRE_OK(view);
  CHECK(read_in(view->tree, "/a/b/keep") == "a/b/keep");
  CHECK(read_in(view->tree, "/gone/back") == "gone/back");
  CHECK(read_in(view->tree, "/top") == "top");
  for (const char* name : {"/a/secret", "/a/b/secret", "/gone/x", "/none", "/none/x/y", "/detour"}) {
    INFO(name);
    CHECK_FALSE(stat_in_root(view->tree, name, FollowLast::yes));
  }
  CHECK_FALSE(bind_directory(*place.store, place.tree(), "/detour", true, place.cancel));
  struct stat shown = {}, real = {};
  REQUIRE(::fstatat(view->tree.get(), "a", &shown, 0) == 0);
  REQUIRE(::stat((place.context + "/a").c_str(), &real) == 0);
  CHECK(shown.st_mtim.tv_nsec == real.st_mtim.tv_nsec);
  CHECK(shown.st_mode == real.st_mode);
}

TEST_CASE("a source's links stay in the source (CVE-2024-1753)", "[builder]") {
  NEEDS_ROOT();
  Place place;
  place.put("f", "F");
  REQUIRE(::symlink("/", (place.context + "/root").c_str()) == 0);
  REQUIRE(::symlink("../../../../../etc", (place.context + "/up").c_str()) == 0);
  const auto results = place.solve(place.plan({copy_of("/", "/")}));
  REQUIRE_OK(results);
  const std::vector<DiffId>& layers = results->back().layers;
  for (const bool read_only : {true, false}) {
    const auto root = bind_layers(*place.store, layers, "/root", read_only);
    REQUIRE_OK(root);
    CHECK(read_in(root->tree, "/f") == "F");
    CHECK_FALSE(stat_in_root(root->tree, "/etc/passwd", FollowLast::yes));
    CHECK_FALSE(bind_layers(*place.store, layers, "/up", read_only));
    CHECK_FALSE(bind_layers(*place.store, layers, "/../../etc", read_only));
  }
  const auto root = bind_directory(*place.store, place.tree(), "/root", true, place.cancel);
  REQUIRE_OK(root);
  CHECK(read_in(root->tree, "/f") == "F");
}

TEST_CASE("a stage's files are bound, and written to for one step only", "[builder]") {
  NEEDS_ROOT();
  Place place;
  place.put("f", "F");
  const auto results = place.solve(place.plan({copy_of("/f", "/d/f")}));
  REQUIRE_OK(results);
  const std::vector<DiffId>& layers = results->back().layers;
  {
    const auto bound = bind_layers(*place.store, layers, "/d", false);
    REQUIRE_OK(bound);
    CHECK(write_in(bound->tree, "/f", "changed"));
  }
  const auto again = bind_layers(*place.store, layers, "/d", true);
  REQUIRE_OK(again);
  CHECK(read_in(again->tree, "/f") == "F");
  CHECK_FALSE(write_in(again->tree, "/f", "no"));
}

TEST_CASE("cache mounts: kept, shared, alone, or a copy of one's own", "[builder]") {
  Place place;
  const std::string root = place.store->root();
  using Sharing = CacheMountWish::Sharing;
  CacheMountWish wish{.id = "../../../../escape"};
  {
    const auto first = open_cache_mount(root, wish, {}, {}, place.cancel);
    REQUIRE_OK(first);
    CHECK(write_in(first->data, "/x", "X"));
    REQUIRE_OK(open_cache_mount(root, wish, {}, {}, place.cancel));  // shared
    CacheMountWish own = wish;
    own.sharing = Sharing::private_copy;
    const auto copy = open_cache_mount(root, own, {}, {}, place.cancel);
    REQUIRE_OK(copy);
    CHECK(copy->directory != first->directory);
    CHECK_FALSE(stat_in_root(copy->data, "/x", FollowLast::no));
    CHECK(find_cache_mount(root, first->directory)->in_use);
    CHECK(remove_cache_mount(root, first->directory).error().code() == ErrorCode::in_use);

    CacheMountWish alone = wish;
    alone.sharing = Sharing::locked;
    CancelToken soon;
    bool waited = false;
    const auto refused = open_cache_mount(root, alone, {}, [&] { waited = true, soon.cancel(); }, soon);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == ErrorCode::cancelled);
    CHECK(waited);
  }
  const auto again = open_cache_mount(root, wish, {}, {}, place.cancel);
  REQUIRE_OK(again);
  CHECK(read_in(again->data, "/x") == "X");
  CHECK(list_cache_mounts(root)->size() == 2);
  CHECK_FALSE(find_cache_mount(root, "../../../../escape"));  // two have it
  CHECK(find_cache_mount(root, again->directory.substr(0, 12))->id == wish.id);
  CHECK(entries(place.directory.path()) == 1);

  const std::string own = list_cache_mounts(root)->front().directory == again->directory
                              ? list_cache_mounts(root)->back().directory
                              : list_cache_mounts(root)->front().directory;
  REQUIRE_OK(remove_cache_mount(root, own));
  CHECK(list_cache_mounts(root)->size() == 1);
  CHECK(entries(root + "/cache-mounts") == 2);  // the store and its lock

  // One that has lost its description takes space all the same.
  REQUIRE(::unlink((root + "/cache-mounts/" + again->directory + "/about").c_str()) == 0);
  REQUIRE(list_cache_mounts(root)->size() == 1);
  const CacheMountInfo lost = list_cache_mounts(root)->front();
  CHECK(lost.id.empty());
  CHECK(lost.size > 0);
  CHECK(lost.in_use);
}

TEST_CASE("a cache mount without its description can be pruned", "[builder]") {
  Place place;
  const std::string root = place.store->root();
  const std::string name = open_cache_mount(root, {.id = "x"}, {}, {}, place.cancel)->directory;
  REQUIRE(::unlink((root + "/cache-mounts/" + name + "/about").c_str()) == 0);
  REQUIRE(list_cache(*place.store, {})->size() == 1);
  REQUIRE_OK(prune_cache(*place.store, {.all = true}, {}));
  CHECK(list_cache_mounts(root)->empty());
}

TEST_CASE("cache mounts start with mode, owner and content; others of the same id are others", "[builder]") {
  NEEDS_ROOT();
  Place place;
  const std::string root = place.store->root();
  const CacheMountWish wish{.id = "c", .origin = "o", .mode = 0770, .uid = 7, .gid = 8};
  int filled = 0;
  const auto fill = [&](FdRef directory) -> Result<void> {
    ++filled;
    return write_in(directory, "/seed", "S") ? Result<void>() : fail(ErrorCode::internal, "no");
  };
  const auto mount = open_cache_mount(root, wish, fill, {}, place.cancel);
  REQUIRE_OK(mount);
  struct stat status = {};
  REQUIRE(::fstat(mount->data.get(), &status) == 0);
  CHECK((status.st_mode & 07777) == 0770);
  CHECK(status.st_uid == 7);
  CHECK(status.st_gid == 8);
  CHECK(read_in(mount->data, "/seed") == "S");
  REQUIRE_OK(open_cache_mount(root, wish, fill, {}, place.cancel));
  CHECK(filled == 1);
  CHECK(open_cache_mount(root, {.id = "c"}, {}, {}, place.cancel)->directory != mount->directory);
  const auto broken = [](FdRef) -> Result<void> { return fail(ErrorCode::no_space, "full"); };
  CHECK_FALSE(open_cache_mount(root, {.id = "d"}, broken, {}, place.cancel));
  CHECK(list_cache_mounts(root)->size() == 2);
}

TEST_CASE("a cache mount goes out as a tar and comes back", "[builder]") {
  NEEDS_ROOT();
  Place place;
  const std::string root = place.store->root();
  const auto make = [&](const char* id) { return *open_cache_mount(root, {.id = id}, {}, {}, place.cancel); };
  {
    const CacheMount mount = make("from");
    write_in(mount.data, "/f", "F");
    REQUIRE(::mkdirat(mount.data.get(), "d", 0700) == 0);
    REQUIRE(::symlinkat("/etc/passwd", mount.data.get(), "d/link") == 0);
    REQUIRE(::linkat(mount.data.get(), "f", mount.data.get(), "g", 0) == 0);
    REQUIRE(::mkfifoat(mount.data.get(), "pipe", 0600) == 0);
  }
  struct Kept : ByteSink {
    Result<void> write(std::span<const std::byte> part) override {
      bytes.append(reinterpret_cast<const char*>(part.data()), part.size());
      return {};
    }
    std::string bytes;
  } tar;
  REQUIRE_OK(export_cache_mount(root, *find_cache_mount(root, "from"), tar, place.cancel));
  CHECK_FALSE(tar.bytes.contains("root:x:0"));
  {
    const CacheMount old = make("to");
    write_in(old.data, "/old", "O");
  }
  const std::string file = place.directory.path() + "/tar";
  REQUIRE_OK(write_file_atomically(file, tar.bytes, 0600, Durability::none));
  const auto source = make_fd_source(*open_file(file, O_RDONLY));
  REQUIRE_OK(import_cache_mount(root, {.id = "to"}, *source, place.cancel));
  {
    const CacheMount to = make("to");
    CHECK(read_in(to.data, "/g") == "F");
    CHECK_FALSE(stat_in_root(to.data, "/old", FollowLast::no));
    CHECK(S_ISLNK(stat_in_root(to.data, "/d/link", FollowLast::no)->st_mode));
  }
  REQUIRE_OK(write_file_atomically(file, tar.bytes.substr(0, 700), 0600, Durability::none));
  const auto half = make_fd_source(*open_file(file, O_RDONLY));
  CHECK_FALSE(import_cache_mount(root, {.id = "to"}, *half, place.cancel));
  CHECK(read_in(make("to").data, "/g") == "F");
}

TEST_CASE("the lock of a file that was removed is no lock", "[builder]") {
  Place place;
  const std::string path = place.directory.path() + "/lock";
  auto held = try_named_lock(path, FileLock::Mode::exclusive);
  REQUIRE(held);
  REQUIRE(held->has_value());
  CHECK_FALSE(try_named_lock(path, FileLock::Mode::shared)->has_value());
  std::atomic<bool> got = false;
  std::thread waiter([&] { got = wait_for_named_lock(path, FileLock::Mode::exclusive, {}, place.cancel).has_value(); });
  REQUIRE(::unlink(path.c_str()) == 0);
  held->reset();
  waiter.join();
  CHECK(got);
  CHECK(::access(path.c_str(), F_OK) == 0);
}

TEST_CASE("secrets: from files, variables and pipes, within a limit, in memory", "[builder]") {
  NEEDS_ROOT();
  Place place;
  place.put("s", "top secret");
  place.put("big", std::string((500u << 10) + 1, 'x'));
  REQUIRE(::setenv("DRAY_TEST_SECRET", "of the environment", 1) == 0);
  const std::vector<SecretSource> sources = {
      {.id = "file", .file = place.context + "/s", .env = ""}, {.id = "env", .file = "", .env = "DRAY_TEST_SECRET"},
      {.id = "DRAY_TEST_SECRET", .file = "", .env = ""},       {.id = "big", .file = place.context + "/big", .env = ""},
      {.id = "dir", .file = place.context, .env = ""},         {.id = "no", .file = place.context + "/no", .env = ""}};
  Secrets secrets(sources);
  CHECK(**secrets.find("file") == "top secret");
  CHECK(**secrets.find("env") == "of the environment");
  CHECK(**secrets.find("DRAY_TEST_SECRET") == "of the environment");
  CHECK_FALSE(secrets.find("other")->has_value());
  for (const char* id : {"big", "dir", "no"}) CHECK_FALSE(secrets.find(id));
  const auto file = make_memory_file("S", 0440, 3, 4, false);
  REQUIRE_OK(file);
  struct stat status = {};
  REQUIRE(::fstat(file->get(), &status) == 0);
  CHECK((status.st_mode & 07777) == 0440);
  CHECK(status.st_uid == 3);
  CHECK(status.st_size == 1);
  CHECK_FALSE(open_file("/proc/self/fd/" + std::to_string(file->get()), O_WRONLY));
}

TEST_CASE("an agent behind the proxy lists and signs, and does nothing else", "[builder]") {
  NEEDS_ROOT();
  Place place;
  const std::string path = place.directory.path() + "/agent";
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, path.c_str());
  const FileDescriptor listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  REQUIRE(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  REQUIRE(::listen(listener.get(), 4) == 0);
  std::string asked;
  std::thread agent([&] {
    for (int i = 0; i < 2; ++i) {  // the proxy looks once whether anybody is there
      const FileDescriptor client(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
      char question[64];
      ssize_t count;
      while ((count = ::read(client.get(), question, sizeof question)) > 0) {
        asked.append(question, static_cast<std::size_t>(count));
        (void)!::write(client.get(), "\0\0\0\5\14\0\0\0\0", 9);
      }
    }
  });
  {
    auto proxy = SshProxy::start(path, 0640, 5, 6);
    REQUIRE_OK(proxy);
    const FileDescriptor mount = (*proxy)->take_mount();
    struct stat status = {};
    REQUIRE(::fstat(mount.get(), &status) == 0);
    CHECK(S_ISSOCK(status.st_mode));
    CHECK((status.st_mode & 07777) == 0640);
    CHECK(status.st_uid == 5);
    sockaddr_un inner = {};
    inner.sun_family = AF_UNIX;
    std::strcpy(inner.sun_path, ("/proc/self/fd/" + std::to_string(mount.get())).c_str());
    const FileDescriptor client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(::connect(client.get(), reinterpret_cast<sockaddr*>(&inner), sizeof inner) == 0);
    char reply[64];
    REQUIRE(::write(client.get(), "\0\0\0\1\21", 5) == 5);  // SSH_AGENTC_ADD_IDENTITY
    REQUIRE(::recv(client.get(), reply, 5, MSG_WAITALL) == 5);
    CHECK(reply[4] == 5);                                   // SSH_AGENT_FAILURE
    REQUIRE(::write(client.get(), "\0\0\0\1\13", 5) == 5);  // SSH_AGENTC_REQUEST_IDENTITIES
    REQUIRE(::recv(client.get(), reply, 9, MSG_WAITALL) == 9);
    CHECK(reply[4] == 12);
  }
  agent.join();
  CHECK(asked == std::string("\0\0\0\1\13", 5));
  const auto key = find_agent({{.id = "k", .paths = {"/etc/passwd"}}}, "k");
  REQUIRE_FALSE(key);
  CHECK(key.error().code() == ErrorCode::unsupported);
  CHECK(key.error().hint().contains("ssh-add"));
}

TEST_CASE("a RUN's key has the content its bind mounts show, not that of caches and secrets", "[builder]") {
  NEEDS_ROOT();
  Place place;
  place.put("src/a", "A");
  place.put("other", "O");
  place.put("secret", "S");
  place.build.secrets = {{.id = "s", .file = place.context + "/secret", .env = ""}};
  const RunMount bind{.target = "/src", .input = 1, .source = "/src", .read_only = true};
  const RunMount cache{.type = RunMount::Type::cache, .target = "/cache", .id = "/cache"};
  const RunMount secret{.type = RunMount::Type::secret, .target = "/run/secrets/s", .id = "s", .env = "TOKEN"};
  std::string seen, environment;
  place.executor.act = [&](const RunRequest& request, FdRef root) {
    for (const StepMount& mount : request.mounts) {
      if (mount.target == "/src") seen += read_in(mount.tree, "/a");
      if (mount.target == "/cache") seen += write_in(mount.tree, "/kept", "K") ? "" : "cannot write";
    }
    for (const std::string& entry : request.env) environment += entry + ";";
    write_in(root, "/result", seen);
  };
  const Plan plan = place.plan({run_with({bind, cache, secret})});
  REQUIRE_OK(place.solve(plan));
  CHECK(seen == "A");
  CHECK(environment == "TOKEN=S;");
  CHECK(place.executor.runs == 1);
  place.put("other", "changed");
  place.put("secret", "changed");
  REQUIRE_OK(place.solve(plan));
  CHECK(place.executor.runs == 1);
  place.put("src/a", "B");
  REQUIRE_OK(place.solve(plan));
  CHECK(place.executor.runs == 2);
  CHECK(seen == "AB");
  RunMount required = secret;
  required.id = "unknown";
  required.required = true;
  const auto missing = place.solve(place.plan({run_with({required})}));
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code() == ErrorCode::not_found);
  CHECK(list_cache_mounts(place.store->root())->size() == 1);
  CHECK(place.store->snapshots().list_active()->empty());
}

TEST_CASE("a stage's content decides for a bind mount, not how the stage was made", "[builder]") {
  NEEDS_ROOT();
  Place place;
  place.put("f", "F");
  place.put("noise", "1");
  const auto build = [&] {
    Plan plan = place.plan({copy_of("/f", "/d/f"), copy_of("/noise", "/noise")});
    RunOp run = run_with({{.target = "/m", .input = 1, .source = "/d", .read_only = true}});
    plan.vertices.push_back({.id = 4, .op = std::move(run), .inputs = {0, 3}, .title = "run"});
    plan.result = 4;
    Plan copy = plan;
    return copy;
  };
  const auto solve = [&](const Plan& plan) {
    // Its input 1 is the stage here, not the context.
    const std::map<std::string, SourceTree> locals = {{"context", place.tree()}};
    std::map<int, CopyContent> contents;
    for (const int id : {2, 3})
      contents[id] = *read_copy_content(place.tree(), std::get<CopyOp>(plan.vertices[static_cast<std::size_t>(id)].op),
                                        1, nullptr, place.cancel);
    const std::map<std::pair<int, std::size_t>, std::vector<std::string>> mounted;
    Secrets secrets(place.build.secrets);
    const SolveRequest request{.store = *place.store,
                               .executor = place.executor,
                               .images = place.images,
                               .locals = locals,
                               .contents = contents,
                               .mounted = mounted,
                               .secrets = secrets,
                               .build = place.build,
                               .base_layers = {}};
    return builder::solve(plan, request, place.progress, place.cancel);
  };
  REQUIRE_OK(solve(build()));
  place.put("noise", "2");
  REQUIRE_OK(solve(build()));
  CHECK(place.executor.runs == 1);
  place.put("f", "G");
  REQUIRE_OK(solve(build()));
  CHECK(place.executor.runs == 2);
}

TEST_CASE("COPY --link is one layer wherever it stands", "[builder]") {
  NEEDS_ROOT();
  Place place;
  place.put("f", "F");
  CopyOp link = copy_of("/f", "/x/f");
  link.link = true;
  place.executor.act = [](const RunRequest& request, FdRef root) { write_in(root, "/" + request.args.back(), "1"); };
  RunOp one, two;
  one.args = {"one"};
  two.args = {"two"};
  const auto first = place.solve(place.plan({one, link}));
  REQUIRE_OK(first);
  const auto second = place.solve(place.plan({two, link}));
  REQUIRE_OK(second);
  CHECK(place.progress.cached == 1);
  CHECK(first->back().layers.back() == second->back().layers.back());
  CHECK(first->back().layers.front() != second->back().layers.front());
  const auto view = place.store->snapshots().view(second->back().layers);
  REQUIRE_OK(view);
  const auto root = store::open_mount(*view);
  REQUIRE_OK(root);
  CHECK(read_in(*root, "/x/f") == "F");
  CHECK(read_in(*root, "/two") == "1");
}

TEST_CASE("the same step wanted twice at once runs once", "[builder]") {
  NEEDS_ROOT();
  Place place;
  place.put("f", "F");
  std::atomic<int> inside = 0;
  place.executor.act = [&](const RunRequest&, FdRef root) {
    ++inside;
    for (int i = 0; i < 50 && inside < 2; ++i) ::usleep(2000);
    write_in(root, "/x", "X");
  };
  (void)place.tree();
  const Plan plan = place.plan({run_with({})});
  Result<std::vector<StepResult>> results[2] = {fail(ErrorCode::internal, ""), fail(ErrorCode::internal, "")};
  std::thread other([&] { results[1] = place.solve(plan); });
  results[0] = place.solve(plan);
  other.join();
  REQUIRE_OK(results[0]);
  REQUIRE_OK(results[1]);
  CHECK(place.executor.runs == 1);
  CHECK(results[0]->back().layers == results[1]->back().layers);
  CHECK(entries(place.store->root() + "/build-locks") == 0);
}

TEST_CASE("a script of RUN is a file in memory where its name says", "[builder]") {
  NEEDS_ROOT();
  Place place;
  REQUIRE_OK(make_directories(place.context));
  RunOp run;
  run.args = {"/dev/pipes/EOF"};
  run.script = "#!/bin/cat\nhello\n";
  std::string seen;
  place.executor.act = [&](const RunRequest& request, FdRef) {
    REQUIRE(request.mounts.size() == 1);
    CHECK(request.mounts[0].target == "/dev/pipes/EOF");
    const auto file = open_file("/proc/self/fd/" + std::to_string(request.mounts[0].tree.get()), O_RDONLY);
    REQUIRE_OK(file);
    seen = *read_all(*file, 1000);
  };
  REQUIRE_OK(place.solve(place.plan({run})));
  CHECK(seen == run.script);
}
