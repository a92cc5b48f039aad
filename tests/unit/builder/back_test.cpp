// SPDX-License-Identifier: Apache-2.0
// Whole builds in a store of their own, with a process that only writes a file and base images of the test.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <mutex>

#include <dray/builder/builder.hpp>
#include <dray/core/rooted_path.hpp>

#include "catch.hpp"
#include "solve/solver.hpp"

using namespace dray;
using namespace dray::builder;

namespace {

/// RUN: "exit N" fails; "rm /x" removes; else the command is appended to /log.
class FakeExecutor : public Executor {
 public:
  Result<ExitStatus> run(const RunRequest& request, const std::function<void(std::string_view, bool)>& output,
                         const CancelToken&) override {
    {
      const std::scoped_lock lock(mutex);
      commands.push_back(request.args.back());
    }
    output("running\n", false);
    const FileDescriptor root = TRY(store::open_mount(request.rootfs));
    if (request.args.back().starts_with("exit ")) return ExitStatus{.code = std::stoi(request.args.back().substr(5))};
    const FileDescriptor log = TRY(open_in_root(root, "/log", O_WRONLY | O_CREAT | O_APPEND, 0644));
    TRY(write_all(log, request.args.back() + "\n"));
    return ExitStatus{};
  }
  std::mutex mutex;
  std::vector<std::string> commands;
};

class StoreOnly : public ImageSource {
 public:
  explicit StoreOnly(store::Store& store) : store_(store) {}
  Result<store::LoadedImage> resolve(const Reference& reference, const image::Platform&, bool, ProgressSink&,
                                     const CancelToken&) override {
    const auto record = TRY(store_.find_image(reference));
    if (!record) return fail(ErrorCode::not_found, "no such image");
    return store_.load_image(*record);
  }
  Result<HttpAnswer> download(const HttpRequest& request, ProgressSink&, const CancelToken&) override {
    const auto page = pages.find(request.url);
    if (page == pages.end()) return fail(ErrorCode::not_found, "404");
    TRY(write_file_atomically(request.file, page->second, 0600, Durability::none));
    return HttpAnswer{.digest = Digest::of(page->second), .size = page->second.size()};
  }
  std::map<std::string, std::string> pages;

 private:
  store::Store& store_;
};

class Recorder : public ProgressSink {
 public:
  void report(const ProgressEvent& event) override {
    const std::scoped_lock lock(mutex_);
    if (event.kind == ProgressEvent::Kind::cached) cached.push_back(event.name);
    if (event.kind == ProgressEvent::Kind::output) output += event.text;
  }
  std::vector<std::string> cached;
  std::string output;

 private:
  std::mutex mutex_;
};

struct Bench {
  TempDir directory = *TempDir::create("/tmp", "dray-back-test-");
  std::shared_ptr<store::Store> store = *store::Store::open(directory.path() + "/root");
  std::string context = directory.path() + "/context";
  FakeExecutor executor;
  StoreOnly images{*store};
  Recorder progress;
  CancelToken cancel;
  std::vector<std::pair<std::string, std::string>> named;  ///< build contexts

  void put(const std::string& path, const std::string& content, unsigned mode = 0644) {
    const std::string full = context + "/" + path;
    REQUIRE_OK(make_directories(full.substr(0, full.rfind('/'))));
    REQUIRE_OK(write_file_atomically(full, content, mode, Durability::none));
  }
  Result<BuildResult> build(const std::string& dockerfile, const std::string& tag = "test") {
    progress.cached.clear();
    REQUIRE_OK(make_directories(context));
    BuildRequest request;
    request.context_directory = context;
    request.dockerfile_text = dockerfile;
    request.tags = {tag};
    request.named_contexts = named;
    return builder::build(*store, executor, images, request, progress, cancel);
  }
  store::LoadedImage load(const std::string& tag = "test") {
    const auto record = store->find_image(*Reference::parse(tag));
    REQUIRE_OK(record);
    REQUIRE(record->has_value());
    auto image = store->load_image(**record);
    REQUIRE_OK(image);
    return *image;
  }
  FileDescriptor rootfs(const std::string& tag = "test") {
    auto recipe = store->snapshots().view(load(tag).config.diff_ids);
    REQUIRE_OK(recipe);
    auto mount = store::open_mount(*recipe);
    REQUIRE_OK(mount);
    return std::move(*mount);
  }
  std::string read(const std::string& path) {
    const auto text = read_regular_file_in_root(rootfs(), path, 1 << 20);
    return text ? *text : "<" + text.error().message() + ">";
  }
};

bool can_mount() { return ::geteuid() == 0; }

}  // namespace

#define NEEDS_ROOT()             \
  if (!can_mount()) {            \
    WARN("skipped: needs root"); \
    return;                      \
  }

TEST_CASE("a small Dockerfile becomes an image; again, it is the same one from the cache") {
  NEEDS_ROOT();
  Bench bench;
  bench.put("a.txt", "A");
  const std::string text = "FROM scratch\nCOPY a.txt /a\nRUN [\"x\", \"one\"]\nWORKDIR /w/x\nENV K=V\nCMD [\"/a\"]\n";
  const auto first = bench.build(text);
  REQUIRE_OK(first);
  const store::LoadedImage image = bench.load();
  CHECK(image.config.diff_ids.size() == 3);
  CHECK(image.manifest.layers.size() == 3);
  CHECK(image.config.config.cmd == std::vector<std::string>{"/a"});
  CHECK(image.config.config.working_dir == "/w/x");
  CHECK(image.config.history.size() == 5);
  for (const auto& entry : image.config.history) CHECK_FALSE(entry.created.empty());
  CHECK(bench.read("/a") == "A");
  CHECK(bench.read("/log") == "one\n");
  CHECK(bench.progress.output == "running\n");
  CHECK(bench.store->snapshots().list_active()->empty());

  const auto again = bench.build(text);
  REQUIRE_OK(again);
  CHECK(again->image_id == first->image_id);
  CHECK(bench.progress.cached.size() == 3);
  CHECK(bench.executor.commands.size() == 1);

  ::utimensat(AT_FDCWD, (bench.context + "/a.txt").c_str(), nullptr, 0);
  REQUIRE_OK(bench.build(text));
  CHECK(bench.progress.cached.size() == 3);
  bench.put("a.txt", "B");
  REQUIRE_OK(bench.build(text));
  CHECK(bench.progress.cached.empty());
  CHECK(bench.read("/a") == "B");
}

TEST_CASE("COPY: directories, several sources, wildcards, links, owners and modes") {
  NEEDS_ROOT();
  Bench bench;
  bench.put("etc/passwd", "web:x:33:34::/:/bin/sh\n");
  bench.put("etc/group", "web:x:35:\n");
  bench.put("dir/sub/x", "x", 0755);
  bench.put("dir/skip.tmp", "");
  bench.put("1.md", "1");
  bench.put("2.md", "2");
  REQUIRE(::symlink("x", (bench.context + "/dir/sub/link").c_str()) == 0);
  REQUIRE(::link((bench.context + "/dir/sub/x").c_str(), (bench.context + "/dir/sub/y").c_str()) == 0);
  REQUIRE_OK(
      bench.build("FROM scratch\nCOPY etc /etc\nCOPY --exclude=*.tmp dir /d\nCOPY *.md none* /md/\n"
                  "COPY --chown=web:web --chmod=640 1.md /owned\nCOPY --chown=web 1.md rel/new\n"
                  "COPY 2.md /owned\nCOPY 2.md /d\nCOPY ../1.md /up\nCOPY <<EOF /here\ntext\nEOF\n"));
  CHECK(bench.read("/d/sub/x") == "x");
  CHECK(bench.read("/d/sub/link") == "x");
  CHECK(bench.read("/d/2.md") == "2");
  CHECK(bench.read("/md/2.md") == "2");
  CHECK(bench.read("/owned") == "2");
  CHECK(bench.read("/up") == "1");
  CHECK(bench.read("/here") == "text\n");
  const FileDescriptor root = bench.rootfs();
  CHECK_FALSE(stat_in_root(root, "/d/skip.tmp", FollowLast::no));
  const auto link = stat_in_root(root, "/d/sub/link", FollowLast::no);
  REQUIRE_OK(link);
  CHECK(S_ISLNK(link->st_mode));
  const auto x = stat_in_root(root, "/d/sub/x", FollowLast::no), y = stat_in_root(root, "/d/sub/y", FollowLast::no);
  REQUIRE_OK(x);
  REQUIRE_OK(y);
  CHECK(x->st_ino == y->st_ino);
  CHECK((x->st_mode & 07777) == 0755);
  const auto created = stat_in_root(root, "/rel/new", FollowLast::no);
  REQUIRE_OK(created);
  CHECK(created->st_uid == 33);
  CHECK(created->st_gid == 34);
}

TEST_CASE("stages: files of another image keep mode and owner; equal layers may repeat") {
  NEEDS_ROOT();
  Bench bench;
  bench.put("f", "F", 0600);
  REQUIRE_OK(
      bench.build("FROM scratch AS one\nCOPY --chown=5:6 f /dir/f\nFROM scratch AS two\nRUN [\"x\", \"two\"]\n"
                  "FROM scratch\nCOPY --from=one /dir /d/\nCOPY --from=two /log /\nWORKDIR /d\nWORKDIR /d\n"));
  CHECK(bench.read("/d/f") == "F");
  CHECK(bench.read("/log") == "two\n");
  const auto file = stat_in_root(bench.rootfs(), "/d/f", FollowLast::no);
  REQUIRE_OK(file);
  CHECK(file->st_uid == 5);
  CHECK((file->st_mode & 07777) == 0600);
  REQUIRE_OK(bench.build("FROM test\nRUN [\"x\", \"more\"]\n", "child"));
  CHECK(bench.load("child").manifest.layers.size() == bench.load().manifest.layers.size() + 1);
}

TEST_CASE("what is not in the context cannot be copied") {
  NEEDS_ROOT();
  Bench bench;
  bench.put(".dockerignore", "# no\nhidden\n");
  bench.put("hidden", "");
  bench.put("../secret", "S");
  REQUIRE(::symlink("/etc", (bench.context + "/out").c_str()) == 0);
  REQUIRE(::symlink("../secret", (bench.context + "/up").c_str()) == 0);
  for (const std::string name : {"nosuch", "out", "out/passwd", "up", "../secret"}) {
    INFO(name);
    const auto result = bench.build("FROM scratch\nCOPY " + name + " /\n");
    REQUIRE_FALSE(result);
    CHECK(result.error().code() == ErrorCode::not_found);
    CHECK(result.error().location() == "Dockerfile:2");
  }
  // As with BuildKit, a wildcard may name nothing.
  REQUIRE_OK(bench.build("FROM scratch\nCOPY *.none /empty/\n"));
  CHECK_FALSE(stat_in_root(bench.rootfs(), "/empty", FollowLast::no));
  REQUIRE(::symlink("hidden", (bench.context + "/detour").c_str()) == 0);
  CHECK_FALSE(bench.build("FROM scratch\nCOPY detour /\n"));
  const auto hidden = bench.build("FROM scratch\nCOPY hidden /\n");
  REQUIRE_FALSE(hidden);
  CHECK(hidden.error().message() == "failed to compute cache key: \"/hidden\": not found");
  CHECK(hidden.error().hint() == "excluded by .dockerignore:2");
}

TEST_CASE("a failed RUN says why and leaves nothing active") {
  NEEDS_ROOT();
  Bench bench;
  const auto result = bench.build("FROM scratch\nRUN exit 3\n");
  REQUIRE_FALSE(result);
  CHECK(result.error().code() == ErrorCode::command_failed);
  CHECK(result.error().to_string().starts_with(
      "Dockerfile:2: process \"/bin/sh -c exit 3\" did not complete successfully: exit code: 3"));
  CHECK(bench.store->snapshots().list_active()->empty());
  CHECK(bench.store->list_images()->empty());
  bench.cancel.cancel();
  const auto cancelled = bench.build("FROM scratch\nRUN true\n");
  REQUIRE_FALSE(cancelled);
  CHECK(cancelled.error().code() == ErrorCode::cancelled);
}

TEST_CASE("ADD unpacks archives, COPY does not; a context may be an archive; both are hostile") {
  NEEDS_ROOT();
  Bench bench;
  REQUIRE_OK(make_directories(bench.context));
  const std::string c = bench.context;
  REQUIRE(std::system(("cd " + c +
                       " && mkdir t && printf F >t/f && printf 'FROM scratch\\nCOPY t/f /f\\n' >Dockerfile && "
                       "tar czf a.tar.gz -C t f && tar czf ../ctx.tgz . && printf note >note && "
                       "tar cPf bad.tar --transform 's,^f$,../../evil,' -C t f")
                          .c_str()) == 0);
  REQUIRE_OK(bench.build("FROM scratch\nADD a.tar.gz /p/q\nCOPY a.tar.gz /asis/\nADD note /\n"));
  CHECK(bench.read("/p/q/f") == "F");
  CHECK(bench.read("/note") == "note");
  CHECK(stat_in_root(bench.rootfs(), "/asis/a.tar.gz", FollowLast::no).has_value());
  CHECK_FALSE(bench.build("FROM scratch\nADD bad.tar /\n"));

  for (const char* name : {"ctx.tgz", "context/Dockerfile", "context/bad.tar"}) {
    INFO(name);
    const FileDescriptor file = *open_file(bench.directory.path() + "/" + name, O_RDONLY);
    BuildRequest request;
    request.context_tar = file;
    request.tags = {"fromtar"};
    const auto result =
        builder::build(*bench.store, bench.executor, bench.images, request, bench.progress, bench.cancel);
    CHECK(result.has_value() == (std::string(name) == "ctx.tgz"));
  }
}

TEST_CASE("an ADD of files and URLs: each from its place, in order; the cache sees each of them") {
  NEEDS_ROOT();
  Bench bench;
  bench.put("a.txt", "A");
  bench.put("dir/f", "F");
  bench.images.pages = {{"http://h/one", "1"}, {"http://h/two", "2"}};
  const std::string text = "FROM scratch\nADD http://h/one a.txt http://h/two dir <<EOF /d/\nE\nEOF\n";
  REQUIRE_OK(bench.build(text));
  CHECK(bench.read("/d/one") == "1");
  CHECK(bench.read("/d/a.txt") == "A");
  CHECK(bench.read("/d/two") == "2");
  CHECK(bench.read("/d/f") == "F");
  CHECK(bench.read("/d/EOF") == "E\n");
  const auto layers = bench.load().config.diff_ids;
  REQUIRE_OK(bench.build(text));
  CHECK(bench.load().config.diff_ids == layers);
  const auto is_add = [](const std::string& name) { return name.find("ADD http://h/one a.txt") != std::string::npos; };
  CHECK(std::ranges::any_of(bench.progress.cached, is_add));
  bench.put("a.txt", "other");
  REQUIRE_OK(bench.build(text));
  CHECK(bench.read("/d/a.txt") == "other");
  bench.images.pages["http://h/two"] = "other 2";
  REQUIRE_OK(bench.build(text));
  CHECK(bench.read("/d/two") == "other 2");
  bench.images.pages.erase("http://h/two");
  CHECK_FALSE(bench.build(text));
}

TEST_CASE("FROM a directory: its files are the root filesystem, root's, without what is ignored") {
  NEEDS_ROOT();
  Bench bench;
  const std::string other = bench.directory.path() + "/other";
  REQUIRE_OK(make_directories(other + "/etc"));
  REQUIRE_OK(write_file_atomically(other + "/etc/name", "N", 0640, Durability::none));
  REQUIRE_OK(write_file_atomically(other + "/hidden", "H", 0640, Durability::none));
  REQUIRE_OK(write_file_atomically(other + "/.dockerignore", "hidden\n", 0640, Durability::none));
  REQUIRE(::chown((other + "/etc/name").c_str(), 1234, 1234) == 0);
  bench.named = {{"base", other}};
  REQUIRE_OK(bench.build("FROM base\nRUN [\"x\", \"one\"]\n"));
  CHECK(bench.read("/etc/name") == "N");
  CHECK(bench.read("/log") == "one\n");
  CHECK_FALSE(open_in_root(bench.rootfs(), "/hidden", O_RDONLY));
  const auto file = open_in_root(bench.rootfs(), "/etc/name", O_RDONLY);
  REQUIRE_OK(file);
  struct stat status = {};
  REQUIRE(::fstat(file->get(), &status) == 0);
  CHECK(status.st_uid == 0);
  CHECK((status.st_mode & 07777) == 0640);
  CHECK(bench.load().config.diff_ids.size() == 2);
  CHECK(bench.load().config.history.size() == 2);
  REQUIRE_OK(bench.build("FROM base\nRUN [\"x\", \"one\"]\n"));
  CHECK(bench.progress.cached.size() == 2);
  REQUIRE_OK(write_file_atomically(other + "/etc/name", "M", 0640, Durability::none));
  REQUIRE_OK(bench.build("FROM base AS a\nFROM a\nCOPY --from=base /etc/name /again\n"));
  CHECK(bench.read("/again") == "M");
  CHECK(bench.load().config.diff_ids.size() == 2);
  // A stage of that name is replaced: what stands on it and the target itself alike.
  REQUIRE_OK(bench.build("FROM scratch AS base\nRUN [\"x\", \"never\"]\nFROM base\nRUN [\"x\", \"two\"]\n"));
  CHECK(bench.read("/etc/name") == "M");
  CHECK(bench.read("/log") == "two\n");
  REQUIRE_OK(bench.build("FROM scratch AS base\nRUN [\"x\", \"never\"]\n"));
  CHECK(bench.read("/etc/name") == "M");
  CHECK(bench.load().config.history.size() == 1);
}
