// SPDX-License-Identifier: Apache-2.0
// A git tree is known by its commit. The remote is asked which commit a name stands for; only if that is not here, one
// commit is fetched into a repository of its own that is thrown away after the checkout has been copied. Everything a
// repository brings is hostile: see git_command.hpp for what git may do, and the copy resolves paths in the checkout.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <map>

#include <dray/core/rooted_path.hpp>
#include <dray/core/text.hpp>

#include "ops/ops.hpp"
#include "source/credentials.hpp"
#include "source/git_command.hpp"
#include "source/source_layer.hpp"

namespace dray::builder {
namespace {

bool is_hex(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
  });
}
bool is_commit(std::string_view text) { return is_hex(text) && (text.size() == 40 || text.size() == 64); }

Failure refuse(const std::string& what, const std::string& text) {
  return fail(ErrorCode::invalid_argument, "invalid git " + what + " \"" + text.substr(0, 200) + "\"");
}

/// Nothing of these may look like an option, to git or to the ssh it calls.
Result<void> check(const GitOp& op) {
  const auto bad_character = [](const std::string& text) {
    return std::any_of(text.begin(), text.end(),
                       [](char c) { return static_cast<unsigned char>(c) <= ' ' || c == '\x7f'; });
  };
  const bool known = op.remote.starts_with("http://") || op.remote.starts_with("https://") ||
                     op.remote.starts_with("ssh://") || op.remote.starts_with("git://") ||
                     (op.remote.find("://") == std::string::npos && op.remote.find("::") == std::string::npos &&
                      op.remote.find('@') != std::string::npos && op.remote.find(':') != std::string::npos);
  const std::size_t scheme = op.remote.find("://");
  std::string host = op.remote.substr(scheme == std::string::npos ? 0 : scheme + 3);
  if (const std::size_t at = host.substr(0, host.find('/')).rfind('@'); at != std::string::npos) host.erase(0, at + 1);
  if (!known || op.remote.starts_with('-') || host.empty() || host[0] == '-' || bad_character(op.remote))
    return refuse("remote", without_credentials(op.remote));
  if (op.ref.starts_with('-') || bad_character(op.ref) || op.ref.find("..") != std::string::npos ||
      op.ref.find_first_of("~^:?*[\\") != std::string::npos)
    return refuse("ref", op.ref);
  if (op.subdirectory.find('\0') != std::string::npos) return refuse("subdirectory", op.subdirectory);
  if (!op.checksum.empty() && !is_hex(op.checksum))
    return fail(ErrorCode::invalid_argument,
                "invalid checksum " + op.checksum + " for Git URL, expected hex commit hash");
  return {};
}

struct Resolved {
  std::string object;  ///< what is fetched: a commit, or a tag object
  std::string commit;  ///< "" until it is fetched
  std::string ref;     ///< "refs/heads/main"; "" where a commit was named
};

class GitFetch {
 public:
  GitFetch(const GitOp& op, const SourceContext& context) : op_(op), context_(context), git_(context.cancel) {}

  Result<void> authorize(const std::string& temporary) {
    access_ = TRY(git_access(op_.remote, [&](const std::string& id) { return context_.secrets.find(id); }));
    if (access_.scope.empty()) return use_ssh(temporary);
    if (access_.authorization.empty()) return {};
    git_.configure("http." + access_.scope + ".extraheader", "Authorization: " + access_.authorization);
    // git would send the header to wherever the host points.
    git_.configure("http." + access_.scope + ".followRedirects", "false");
    return {};
  }

  Result<Resolved> resolve() {
    Resolved result;
    if (is_commit(op_.ref) || op_.fetch_by_commit) {
      result.object = result.commit = is_commit(op_.ref) ? op_.ref : op_.checksum;
      if (!is_commit(result.commit))
        return fail(ErrorCode::invalid_argument, "fetch-by-commit requires a full commit SHA checksum");
      return result;
    }
    std::string ref = op_.ref;
    std::vector<std::string> arguments = {"ls-remote", "--symref", "--", access_.remote, ref.empty() ? "HEAD" : ref};
    if (!ref.empty()) arguments.push_back(ref + "^{}");
    const std::string listing = TRY(run("", arguments, {.total = std::chrono::minutes(2)}));
    std::string head, branch, tag, exact;
    std::map<std::string, std::string> peeled;
    const auto plain = [&](const std::string& prefix) { return ref.starts_with(prefix) ? ref : prefix + ref; };
    for (std::size_t begin = 0; begin < listing.size();) {
      const std::size_t end = std::min(listing.find('\n', begin), listing.size());
      const std::string line = listing.substr(begin, end - begin);
      begin = end + 1;
      const std::size_t tab = line.find('\t');
      if (tab == std::string::npos) continue;
      const std::string value = line.substr(0, tab), name = line.substr(tab + 1);
      if (name == "HEAD" && value.starts_with("ref: ")) result.ref = value.substr(5);
      if (name == "HEAD" && is_commit(value)) head = value;
      if (ref.empty()) continue;
      if (name == (ref.starts_with("refs/") ? ref : "refs/" + ref)) exact = value;
      if (name == plain("refs/heads/")) branch = value;
      if (name == plain("refs/tags/")) tag = value;
      if (name.ends_with("^{}")) peeled[name.substr(0, name.size() - 3)] = value;
    }
    // As git checkout: a branch before a tag of the same name.
    if (ref.empty() || ref == "HEAD") {
      result.object = result.commit = head;
    } else if (!exact.empty()) {
      result.object = exact;
      result.ref = ref.starts_with("refs/") ? ref : "refs/" + ref;
    } else if (!branch.empty()) {
      result.object = result.commit = branch;
      result.ref = plain("refs/heads/");
    } else {
      result.object = tag;
      result.ref = plain("refs/tags/");
    }
    if (result.commit.empty()) {
      const auto found = peeled.find(result.ref);
      result.commit = found == peeled.end() ? result.object : found->second;
    }
    if (!is_commit(result.object) || !is_commit(result.commit))
      return fail(ErrorCode::not_found, "repository " + without_credentials(op_.remote) + " does not contain ref " +
                                            (ref.empty() ? "HEAD" : ref));
    context_.report(result.object + "\t" + (result.ref.empty() ? "HEAD" : result.ref));
    return result;
  }

  /// One commit into `repository`, checked out there. Returns its time.
  Result<std::int64_t> check_out(const std::string& repository, const Resolved& resolved) {
    TRY(run("", {"init", "--quiet", "--", repository}));
    TRY(run(repository, {"config", "remote.origin.url", access_.remote}));
    std::string refspec = resolved.object;
    if (op_.keep_git_dir && !resolved.ref.empty() && resolved.ref.starts_with("refs/tags/"))
      refspec += ":" + resolved.ref;
    else if (op_.keep_git_dir && resolved.ref.starts_with("refs/heads/"))
      refspec += ":refs/remotes/origin/" + resolved.ref.substr(11);
    const std::vector<std::string> shallow = {"fetch", "--quiet",      "--no-tags", "--depth=1",
                                              "--",    access_.remote, refspec};
    if (auto fetched = run(repository, shallow); !fetched) {
      if (context_.cancel.cancelled()) return Failure(std::move(fetched).error());
      // A server that gives no single commit (old, or "dumb"): all it has.
      auto all = run(repository, {"fetch", "--quiet", "--", access_.remote, "+refs/heads/*:refs/remotes/origin/*",
                                  "+refs/tags/*:refs/tags/*"});
      if (!all) return Failure(std::move(all).error());
    }
    const std::string parsed =
        TRY_CTX(run(repository, {"rev-parse", "--verify", resolved.object + "^{commit}"}), "commit " + resolved.object);
    const std::string commit(trim(parsed));
    if (commit != resolved.commit && is_commit(resolved.commit) && resolved.ref.starts_with("refs/"))
      return fail(ErrorCode::corrupt, "the repository gave commit " + commit + " for " + resolved.commit);
    TRY(run(repository, {"checkout", "--quiet", "--force", "--detach", commit}));
    if (!op_.skip_submodules)
      TRY(run(repository, {"submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"}));
    if (op_.keep_git_dir) TRY(settle_git_directory(repository));
    const std::string shown = TRY(run(repository, {"show", "--no-patch", "--format=%ct", commit}));
    const std::string_view time = trim(shown);
    std::int64_t seconds = 0;
    std::from_chars(time.data(), time.data() + time.size(), seconds);
    return seconds;
  }

 private:
  /// Of what git keeps, that which is not the same for every fetch of the commit: an index knows the inodes and times
  /// of the files it was made with; one that was read from a tree knows none.
  Result<void> settle_git_directory(const std::string& repository) {
    const std::string command = "git read-tree HEAD && rm -f \"$(git rev-parse --git-dir)/FETCH_HEAD\"";
    TRY(run(repository, {"read-tree", "HEAD"}));
    ::unlink((repository + "/.git/FETCH_HEAD").c_str());
    if (!op_.skip_submodules) TRY(run(repository, {"submodule", "--quiet", "foreach", "--recursive", command}));
    return {};
  }

  /// The agent or keys of --ssh default. A host whose key is known must show it; others are taken as they are, and
  /// remembered nowhere.
  Result<void> use_ssh(const std::string& temporary) {
    std::string options = " -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile=" + temporary + "/known_hosts";
    const char* home = std::getenv("HOME");
    if (home != nullptr) {
      const auto known = read_file(std::string(home) + "/.ssh/known_hosts");
      if (known) TRY(write_file_atomically(temporary + "/known_hosts", *known, 0600, Durability::none));
    }
    for (const SshSource& source : context_.build.ssh) {
      if (source.id != "default") continue;
      const char* agent = std::getenv("SSH_AUTH_SOCK");
      if (source.paths.empty() && agent != nullptr) git_.set_environment(std::string("SSH_AUTH_SOCK=") + agent);
      for (const std::string& path : source.paths) {
        struct stat status = {};
        if (::stat(path.c_str(), &status) != 0) return fail_errno("--ssh: \"" + path + "\"");
        if (S_ISSOCK(status.st_mode))
          git_.set_environment("SSH_AUTH_SOCK=" + path);
        else
          options += " -o IdentitiesOnly=yes -i " + quoted(path);
      }
    }
    git_.set_ssh_options(options);
    return {};
  }

  /// For the shell that GIT_SSH_COMMAND is given to.
  static std::string quoted(const std::string& text) {
    std::string result = "'";
    for (const char c : text) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return result + "'";
  }

  Result<std::string> run(const std::string& directory, const std::vector<std::string>& arguments,
                          const GitLimits& limits = {}) {
    auto output = git_.run(directory, arguments, limits);
    if (output) return output;
    return fail(output.error().code(), "fetching " + without_credentials(op_.remote) + ": " + output.error().message());
  }

  const GitOp& op_;
  const SourceContext& context_;
  GitCommand git_;
  GitAccess access_;
};

/// The checkout, or a directory of it, becomes the root filesystem: all of it root's, and of the commit's time, so that
/// the same commit makes the same layer.
Result<void> place(FdRef root, const GitOp& op, const std::string& repository, std::int64_t time,
                   const CancelToken& cancel) {
  const FileDescriptor checkout = TRY(open_file(repository, O_RDONLY | O_DIRECTORY));
  const std::string subdirectory = clean_path("/" + op.subdirectory);
  const auto opened = open_in_root(checkout, subdirectory, O_RDONLY | O_DIRECTORY);
  if (!opened)
    return Failure(
        Error(opened.error()).with_context("subdirectory \"" + subdirectory.substr(1) + "\" of the git repository"));
  if (!op.keep_git_dir && (subdirectory + "/").starts_with("/.git/")) return refuse("subdirectory", op.subdirectory);
  const SourceTree tree{.root = *opened, .is_context = true};
  CopyOp copy;
  copy.paths = {"/"};
  copy.destination = "/";
  if (!op.keep_git_dir) copy.exclude = {"**/.git"};
  CopyContent content;
  content.sources = TRY(find_sources(tree, "/", TRY(IgnorePatterns::from_list(copy.exclude)), cancel));
  for (Source& source : content.sources)
    for (TreeEntry& entry : source.entries) entry.status.st_mtim = {static_cast<time_t>(time), 0};
  return copy_sources(root, copy, parts_of(tree, content.sources), cancel);
}

}  // namespace

Result<SourceLayer> fetch_git(const GitOp& op, const SourceContext& context) {
  TRY(check(op));
  const TempDir directory = TRY(TempDir::create(context.temporary(), "git-"));
  GitFetch fetch(op, context);
  TRY(fetch.authorize(directory.path()));
  const Resolved resolved = TRY(fetch.resolve());
  if (!op.checksum.empty() && !resolved.commit.starts_with(op.checksum) && !resolved.object.starts_with(op.checksum))
    return fail(ErrorCode::corrupt, "expected checksum to match " + op.checksum + ", got " + resolved.commit);
  std::string fields = "dray git source 1\n" + op.remote + "\n" + resolved.commit + "\n" + op.subdirectory + "\n";
  if (op.keep_git_dir) fields += "keep " + resolved.object + " " + resolved.ref;
  if (op.skip_submodules) fields += "\nno submodules";
  const std::string key = Digest::of(fields).hex();
  std::optional<SourceLayer> hit = TRY(find_source_layer(context, key));
  if (hit) return *hit;
  const std::string repository = directory.path() + "/repository";
  const std::int64_t time = TRY(fetch.check_out(repository, resolved));
  return make_source_layer(context, {key}, "git source " + without_credentials(op.remote) + " " + resolved.commit,
                           [&](FdRef root) { return place(root, op, repository, time, context.cancel); });
}

}  // namespace dray::builder
