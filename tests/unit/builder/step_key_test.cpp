// SPDX-License-Identifier: Apache-2.0
// What a step's key stands for, and what of a step is remembered.
#include <sys/xattr.h>

#include "solve_bench.hpp"

using namespace dray;
using namespace dray::builder;

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
    const std::map<std::pair<int, std::size_t>, CopyContent> mounted;
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
    const auto file = open_file(descriptor_path(request.mounts[0].tree), O_RDONLY);
    REQUIRE_OK(file);
    seen = *read_all(*file, 1000);
  };
  REQUIRE_OK(place.solve(place.plan({run})));
  CHECK(seen == run.script);
}

TEST_CASE("a store that one step mounts twice is locked once", "[builder]") {
  NEEDS_ROOT();
  Place place;
  place.put("x", "");
  RunMount one{.type = RunMount::Type::cache, .sharing = RunMount::Sharing::locked, .target = "/a", .id = "c"};
  RunMount other = one;
  other.target = "/b";
  other.sharing = RunMount::Sharing::shared;
  place.executor.act = [](const RunRequest& request, FdRef) { CHECK(request.mounts.size() == 2); };
  REQUIRE_OK(place.solve(place.plan({run_with({one, other})})));
  CHECK(place.executor.runs == 1);
}

TEST_CASE("a COPY is known by file capabilities, too", "[builder]") {
  NEEDS_ROOT();
  Place place;
  place.put("program", "x");
  const auto digest = [&] {
    return read_copy_content(place.tree(), copy_of("/program", "/p"), 1, nullptr, place.cancel)->digests;
  };
  const auto plain = digest();
  const unsigned char raised[20] = {1, 0, 0, 2, 0, 4};  // VFS_CAP_REVISION_2, effective; CAP_NET_BIND_SERVICE
  const std::string file = place.context + "/program";
  REQUIRE(::setxattr(file.c_str(), "security.capability", raised, sizeof raised, 0) == 0);
  CHECK(digest() != plain);
  REQUIRE(::removexattr(file.c_str(), "security.capability") == 0);
  CHECK(digest() == plain);
}

TEST_CASE("a file that was written to since it was listed is noticed", "[builder]") {
  Place place;
  place.put("d/f", "one");
  const auto content = read_copy_content(place.tree(), copy_of("/d", "/d"), 1, nullptr, place.cancel);
  REQUIRE_OK(content);
  CHECK(is_unchanged(place.tree(), content->sources.at(0)));
  place.put("d/f", "two");
  CHECK_FALSE(is_unchanged(place.tree(), content->sources.at(0)));
}

TEST_CASE("whether a mount shows what was listed", "[builder]") {
  Place place;
  place.put("f", "F");
  place.put("hidden", "H");
  const IgnorePatterns ignore = *IgnorePatterns::parse("hidden*\n");
  SourceTree tree = place.tree();
  tree.ignore = &ignore;
  const auto listed = [&] { return *read_mount_content(tree, "/", nullptr, place.cancel); };
  CopyContent content = listed();
  CHECK(shows_the_same(tree, content, place.cancel));
  place.put("hidden too", "H");
  CHECK(shows_the_same(tree, content, place.cancel));
  place.put("new", "N");
  CHECK_FALSE(shows_the_same(tree, content, place.cancel));
  content = listed();
  place.put("f", "another length");
  CHECK_FALSE(shows_the_same(tree, content, place.cancel));
}

TEST_CASE("a large context is told of while it is looked at", "[builder]") {
  Place place;
  for (int n = 0; n < 600; ++n) place.put("f" + std::to_string(n), "");
  std::vector<std::uint64_t> told;
  ScanProgress progress([&](std::uint64_t listed, std::uint64_t looked_at) { told.push_back(listed + looked_at); },
                        std::chrono::milliseconds(0));
  SourceTree tree = place.tree();
  tree.progress = &progress;
  REQUIRE_OK(read_mount_content(tree, "/", nullptr, place.cancel));
  CHECK(told.size() == 4);
  CHECK(std::ranges::is_sorted(told));
}
