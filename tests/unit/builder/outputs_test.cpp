// SPDX-License-Identifier: Apache-2.0
// What the command line's outputs, caches and attestations mean, and documents that come from outside.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "attest/attest.hpp"
#include "cache_transfer/cache_transfer.hpp"
#include "catch.hpp"
#include "export/export.hpp"
#include "export/tree.hpp"
#include "export/unset.hpp"
#include "plan/merge_plans.hpp"
#include "source/credentials.hpp"

using namespace dray;
using namespace dray::builder;

namespace {

std::string error_of(const std::string& output) {
  BuildRequest request;
  auto parsed = parse_output(output);
  if (!parsed) return parsed.error().message();
  request.outputs.push_back(*std::move(parsed));
  const auto read = read_outputs(request);
  return read ? "" : read.error().message();
}

OutputOptions output_of(const std::string& text, const BuildRequest& base = {}) {
  BuildRequest request = base;
  request.outputs.push_back(parse_output(text).value());
  return read_outputs(request).value().front();
}

}  // namespace

TEST_CASE("outputs are read from their texts") {
  const TypedOptions quoted = parse_output(R"(type=image,"name=a,b",push=true)").value();
  CHECK(quoted.type == "image");
  CHECK(quoted.attributes.at("name") == "a,b");
  CHECK(parse_output("out/dir").value().type == "local");
  CHECK(parse_output("-").value().type == "tar");
  CHECK_FALSE(parse_output("").has_value());
  CHECK_FALSE(parse_output(R"(type=image,"name=a)").has_value());
  CHECK_FALSE(parse_output("dest=x").has_value());
  CHECK_FALSE(parse_output("type=local,dest=a,dest=b").has_value());
  CHECK(output_of(R"(type=image,"name=a,b:2")").names.size() == 2);
  BuildRequest tagged;
  tagged.tags = {"x:1"};
  CHECK(output_of("type=registry", tagged).push);
  CHECK(output_of("type=docker").type == OutputOptions::Type::image);
  CHECK(output_of("type=docker,dest=x").type == OutputOptions::Type::docker);
  CHECK(output_of("type=oci,dest=x,compression=zstd,compression-level=7").compression.level == 7);
}

TEST_CASE("what an output does not know is refused with a suggestion") {
  CHECK(error_of("type=imag").contains("did you mean image"));
  CHECK(error_of("type=tar,dset=x").contains("did you mean dest"));
  CHECK(error_of("type=local,dest=x,mode=move").contains("use copy or delete"));
  CHECK(error_of("type=oci,dest=x,push=true").contains("unknown key"));
  CHECK(error_of("type=oci,dest=x,compression-level=10").contains("from 0 to 9"));
  CHECK(error_of("type=image,push=true").contains("name to push"));
  CHECK(error_of("type=image,name=a:1,push-by-digest=true").contains("by digest"));
  CHECK(error_of("type=image,annotation-indx.k=v").contains("unknown annotation"));
  CHECK(error_of("type=local,dest=x,attestation-prefix=../").contains("no path"));
}

TEST_CASE("annotations have levels and platforms") {
  BuildRequest request;
  request.annotations = {{"plain", "1"}, {"index,manifest[linux/arm64]:k", "2"}, {"org.x:y", "3"}};
  const OutputOptions output = output_of("type=oci,dest=x,annotation-manifest-descriptor[linux/amd64].a.b=4", request);
  REQUIRE(output.annotations.size() == 5);
  CHECK(output.annotations[0].key == "a.b");
  CHECK(output.annotations[0].level == Annotation::Level::manifest_descriptor);
  CHECK(output.annotations[1].level == Annotation::Level::index);
  CHECK(output.annotations[2].platform->architecture == "arm64");
  CHECK(output.annotations[3].key == "org.x:y");
}

TEST_CASE("caches and attestations are read from their texts") {
  BuildRequest request;
  request.cache_from = {parse_cache_option("host/cache:1").value()};
  request.cache_to = {parse_cache_option("type=local,dest=d,mode=max,ignore-error=true").value(), {"inline", {}}};
  const CacheOptions options = read_cache_options(request).value();
  CHECK(options.from.front().reference->tag() == "1");
  CHECK(options.to.front().max);
  CHECK(options.to.front().ignore_error);
  CHECK(options.in_image);
  request.cache_to = {{"local", {{"dest", "d"}, {"mod", "max"}}}};
  CHECK(read_cache_options(request).error().message().contains("did you mean mode"));
  request.cache_to = {{"registry", {{"ref", "a"}, {"oci-mediatypes", "false"}, {"image-manifest", "true"}}}};
  CHECK_FALSE(read_cache_options(request).has_value());
  CHECK_FALSE(parse_attestation("false", "provenance").value().has_value());
  CHECK(parse_attestation("max", "provenance").value()->attributes.at("mode") == "max");
  CHECK_FALSE(parse_attestation("type=other").has_value());
  request.attestations = {{"provenance", {{"mode", "max"}, {"builder-id", "b"}}}, {"sbom", {}}};
  CHECK(read_attestations(request).value().max);
}

TEST_CASE("a cache document comes back as it was, and hostile ones are refused") {
  CacheDocument document;
  CacheDocument::Layer layer;
  layer.blob.media_type = std::string(image::kOciLayerZstd);
  layer.blob.digest = Digest::of("blob");
  layer.blob.size = 4;
  layer.diff_id = DiffId{Digest::of("tar")};
  layer.created_at = "2020-01-02T03:04:05Z";
  const std::string key = Digest::of("key").hex();
  document.add(layer, {key, Digest::of("other").hex()});
  document.add(layer, {key});
  CHECK(document.layers.size() == 1);
  const std::string text = serialize(document);
  const CacheDocument back = parse_cache_document(text).value();
  CHECK(back.records == document.records);
  CHECK(back.layers.front().blob.digest == layer.blob.digest);
  CHECK(back.layers.front().diff_id == layer.diff_id);
  CHECK(back.layers.front().created_at.starts_with("2020-01-02T03:04:05"));

  const auto with = [&](const std::string& from, const std::string& to) {
    std::string changed = text;
    const std::size_t at = changed.find(from);
    REQUIRE(at != std::string::npos);
    return changed.replace(at, from.size(), to);
  };
  CHECK_FALSE(parse_cache_document(with("\"layer\":0", "\"layer\":1")).has_value());
  CHECK_FALSE(parse_cache_document(with("\"layer\":0", "\"layer\":-1")).has_value());
  CHECK_FALSE(parse_cache_document(with("\"size\":4", "\"size\":-4")).has_value());
  CHECK_FALSE(parse_cache_document(with("layer.v1.tar+zstd", "config.v1+json")).has_value());
  CHECK_FALSE(parse_cache_document(with(layer.blob.digest.to_string(), "sha256:../../x")).has_value());
  CHECK(
      parse_cache_document(with("\"2020-01-02T", "\"<script>")).value().layers.front().created_at.starts_with("1970-"));
  CHECK(parse_cache_document(with("sha256:" + key, "sha256:../" + key)).value().records.size() == 1);
  CHECK_FALSE(parse_cache_document(std::string(100000, '[')).has_value());
  CHECK_FALSE(parse_cache_document("[]").has_value());
  CHECK(parse_cache_document("{}").value().records.empty());
  CHECK_FALSE(parse_inline_cache(R"({"architecture":"amd64"})").value().has_value());
  CHECK_FALSE(parse_inline_cache(R"({"moby.buildkit.cache.v0":"!!!"})").has_value());
}

TEST_CASE("plans of several platforms share what they have in common") {
  const image::Platform amd64 = image::Platform::parse("linux/amd64").value();
  const image::Platform arm64 = image::Platform::parse("linux/arm64").value();
  const auto plan_for = [&](const image::Platform& target) {
    Plan plan;
    plan.vertices.push_back({.id = 0,
                             .op = SourceOp{Reference::parse("tool").value(), amd64},
                             .inputs = {},
                             .title = "",
                             .location = {},
                             .history_created_by = ""});
    plan.vertices.push_back({.id = 1,
                             .op = RunOp{.args = {"fetch"}},
                             .inputs = {0},
                             .title = "[1/2] RUN fetch",
                             .location = {},
                             .history_created_by = ""});
    plan.vertices.push_back({.id = 2,
                             .op = RunOp{.args = {"make"}, .env = {"T=" + target.architecture}},
                             .inputs = {1},
                             .title = "[2/2] RUN make",
                             .location = {},
                             .history_created_by = ""});
    plan.result = 2;
    return plan;
  };
  const MergedPlan merged = merge_plans({plan_for(amd64), plan_for(arm64)}, {amd64, arm64});
  REQUIRE(merged.plan.vertices.size() == 4);
  CHECK(merged.results == std::vector<int>{2, 3});
  CHECK(merged.plan.vertices[3].inputs == std::vector<int>{1});
  CHECK(merged.plan.vertices[3].title == "[linux/arm64 2/2] RUN make");
}

TEST_CASE("a RUN for a foreign machine needs a registered interpreter") {
  const TempDir binfmt = TempDir::create("/tmp", "dray-binfmt-").value();
  const std::string wanted = image::Platform::host().architecture == "s390x" ? "arm64" : "s390x";
  Plan plan;
  plan.vertices.push_back({.id = 0,
                           .op = SourceOp{std::nullopt, image::Platform::parse("linux/" + wanted).value()},
                           .inputs = {},
                           .title = "",
                           .location = {},
                           .history_created_by = ""});
  CHECK(check_emulation(plan, binfmt.path()).has_value());
  plan.vertices.push_back({.id = 1,
                           .op = RunOp{.args = {"true"}},
                           .inputs = {0},
                           .title = "",
                           .location = {.file = "Dockerfile", .line = 2},
                           .history_created_by = ""});
  const auto refused = check_emulation(plan, binfmt.path());
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().location() == "Dockerfile:2");
  CHECK(refused.error().hint().contains("qemu-user-static"));
  const std::string magic =
      wanted == "s390x" ? "7f454c4602020100000000000000000000020016" : "7f454c460201010000000000000000000200b700";
  const std::string entry = "\ninterpreter /usr/bin/qemu\nflags: OCF\noffset 0\nmagic " + magic +
                            "\nmask ffffffffffffff00fffffffffffffffffffeffff\n";
  REQUIRE(write_file_atomically(binfmt.path() + "/qemu", "disabled" + entry, 0644, Durability::none).has_value());
  CHECK_FALSE(check_emulation(plan, binfmt.path()).has_value());
  REQUIRE(write_file_atomically(binfmt.path() + "/qemu", "enabled" + entry, 0644, Durability::none).has_value());
  CHECK(check_emulation(plan, binfmt.path()).has_value());
}

TEST_CASE("SOURCE_DATE_EPOCH is a number of seconds or the context's") {
  BuildRequest request;
  const auto read = [&](const std::string& value) {
    request.build_args = {{"SOURCE_DATE_EPOCH", value}};
    return source_date_epoch(request, 42);
  };
  CHECK(read("17").value() == 17);
  CHECK(read("context").value() == 42);
  CHECK(read("").value() == std::nullopt);
  for (const char* bad : {"-1", "1.5", "yesterday", "99999999999999999999", "999999999999"})
    CHECK_FALSE(read(bad).has_value());
}

TEST_CASE("URLs lose their credentials, package.json is limited") {
  CHECK(without_credentials("https://user:token@host/x@y") == "https://host/x@y");
  CHECK(without_credentials("https://host/a@b") == "https://host/a@b");
  CHECK(without_credentials("git@host:x") == "git@host:x");
  CHECK(without_credentials("ADD https://u:p@a/x?y=http://t@b/ ssh://git@c/d e@f /") ==
        "ADD https://a/x?y=http://b/ ssh://c/d e@f /");
  CHECK(parse_package_json(R"({"name":"a","version":"1"})")->name == "a");
  CHECK_FALSE(parse_package_json(R"({"name":1,"version":"1"})"));
  CHECK_FALSE(parse_package_json(std::string(500000, '[')));
}

TEST_CASE("a tree is written below its root only") {
  const TempDir top = TempDir::create("/tmp", "dray-tree-").value();
  REQUIRE(make_directories(top.path() + "/out").has_value());
  REQUIRE(make_directories(top.path() + "/outside").has_value());
  REQUIRE(write_file_atomically(top.path() + "/content", "new", 0600, Durability::none).has_value());
  REQUIRE(::symlink("../outside", (top.path() + "/out/d").c_str()) == 0);
  const FileDescriptor root = open_file(top.path() + "/out", O_RDONLY | O_DIRECTORY).value();
  const FileDescriptor content = open_file(top.path() + "/content", O_RDONLY).value();
  const CancelToken cancel;
  TreeWriter writer(root);
  tar::Entry entry;
  entry.path = "d/file";
  entry.mode = 0640;
  entry.mtime_seconds = 1000;
  REQUIRE(writer.place(entry, content, cancel).has_value());
  REQUIRE(writer.finish().has_value());
  CHECK(::access((top.path() + "/outside/file").c_str(), F_OK) != 0);
  CHECK(read_file(top.path() + "/out/d/file").value() == "new");
  struct stat status;
  REQUIRE(::stat((top.path() + "/out/d/file").c_str(), &status) == 0);
  CHECK(status.st_mtim.tv_sec == 1000);
  CHECK((status.st_mode & 07777) == 0640);
  for (const char* bad : {"../escape", "/abs", "d/../../escape", "..", ".", "", "d//file", "d/"}) {
    entry.path = bad;
    CHECK_FALSE(writer.place(entry, content, cancel).has_value());
    CHECK(::access((top.path() + "/escape").c_str(), F_OK) != 0);
  }
}

TEST_CASE("a tree gets no devices, and no rights of an owner that is not kept") {
  const TempDir top = TempDir::create("/tmp", "dray-tree-").value();
  REQUIRE(make_directories(top.path() + "/out").has_value());
  REQUIRE(write_file_atomically(top.path() + "/content", "new", 0600, Durability::none).has_value());
  const FileDescriptor root = open_file(top.path() + "/out", O_RDONLY | O_DIRECTORY).value();
  const CancelToken cancel;
  TreeWriter writer(root);
  const auto place = [&](const std::string& path, tar::EntryType type, unsigned owner, const std::string& link = "") {
    const FileDescriptor content = open_file(top.path() + "/content", O_RDONLY).value();
    tar::Entry entry;
    entry.path = path;
    entry.type = type;
    entry.mode = type == tar::EntryType::directory ? 07755 : 06755;
    entry.uid = entry.gid = owner;
    entry.link_target = link;
    entry.device_major = 1;
    entry.device_minor = 3;
    entry.xattrs["security.capability"] = std::string("\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
    REQUIRE(writer.place(entry, content, cancel).has_value());
  };
  const unsigned other = ::geteuid() + 1000;
  place("character", tar::EntryType::character_device, 0);
  place("block", tar::EntryType::block_device, 0);
  place("link", tar::EntryType::hardlink, 0, "character");
  place("fifo", tar::EntryType::fifo, other);
  place("program", tar::EntryType::regular, other);
  place("directory", tar::EntryType::directory, other);
  if (::geteuid() == ::getegid()) place("ours", tar::EntryType::regular, ::geteuid());
  REQUIRE(writer.finish().has_value());
  CHECK(writer.skipped() == std::set<std::string>{"block", "character", "link"});
  struct stat status;
  for (const std::string& name : writer.skipped()) CHECK(::lstat((top.path() + "/out/" + name).c_str(), &status) != 0);
  const auto mode = [&](const std::string& name) {
    return ::lstat((top.path() + "/out/" + name).c_str(), &status) == 0 ? status.st_mode : 0;
  };
  CHECK(mode("fifo") == (S_IFIFO | 0755));
  CHECK(mode("program") == (S_IFREG | 0755));
  CHECK(mode("directory") == (S_IFDIR | 01755));
  if (::geteuid() == ::getegid()) CHECK(mode("ours") == (S_IFREG | 06755));
  CHECK(::getxattr((top.path() + "/out/program").c_str(), "security.capability", nullptr, 0) < 0);
}
