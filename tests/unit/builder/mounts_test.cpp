// SPDX-License-Identifier: Apache-2.0
// The mounts of RUN steps as detached mounts: seen through their descriptors, as an executor would attach them.
#include "solve_bench.hpp"

using namespace dray;
using namespace dray::builder;

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
  CHECK_FALSE(open_file(descriptor_path(*file), O_WRONLY));
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
    std::strcpy(inner.sun_path, descriptor_path(mount).c_str());
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
