// SPDX-License-Identifier: Apache-2.0
// BuildKit writes a build as a list of operations, each after its inputs, equal ones once. One of our vertices can be
// several of theirs (a heredoc is a file made first, --link a merge after it).
#include "plan/llb_json.hpp"

#include <algorithm>
#include <charconv>
#include <map>
#include <set>

#include <nlohmann/json.hpp>

#include <dray/core/base64.hpp>

#include "dockerfile/text.hpp"
#include "plan/values.hpp"

namespace dray::builder {

namespace {

using Json = nlohmann::json;

constexpr int kNothing = -1;  ///< scratch has no operation

/// A user or group: by number, or by name in the rootfs the operation stands on.
Json principal(std::string_view name) {
  std::int32_t id = 0;
  std::string_view digits = name;
  if (digits.starts_with('+')) digits.remove_prefix(1);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), id);
  const bool number = name == "root" || name.empty() || (error == std::errc() && end == digits.data() + digits.size());
  Json user = Json::object();
  if (!number) user["byName"] = {{"name", name}};
  if (number && id != 0) user["byId"] = static_cast<std::uint32_t>(id);
  return {{"User", std::move(user)}};
}

Json owner_of(std::string_view chown) {
  const std::size_t colon = chown.find(':');
  Json owner = {{"user", principal(chown.substr(0, colon))}};
  if (colon != std::string_view::npos) owner["group"] = principal(chown.substr(colon + 1));
  return owner;
}

bool has_wildcard(std::string_view path) {
  for (std::size_t at = 0; at < path.size(); ++at) {
    if (std::string_view("*?[").contains(path[at])) return true;
    if (path[at] == '\\') ++at;
  }
  return false;
}

class Writer {
 public:
  Writer(const Plan& plan, bool stub_bases, bool cache_namespace)
      : plan_(plan), stub_bases_(stub_bases), cache_namespace_(cache_namespace) {}

  Json write() {
    const int result = vertex(plan_.result);
    if (result == kNothing) return nullptr;
    Json last = {{"op", "result"}};
    last["inputs"] = Json::array({reference(result)});
    last["n"] = static_cast<int>(operations_.size());
    operations_.push_back(std::move(last));
    return std::move(operations_);
  }

 private:
  static std::string reference(int number) { return std::to_string(number) + ":0"; }

  /// The number of an operation, or of the equal one that is there. `distinct` tells apart what looks equal.
  int add(Json operation, const std::string& distinct = "") {
    const auto [known, added] =
        numbers_.emplace(operation.dump(-1, ' ', false, Json::error_handler_t::replace) + distinct,
                         static_cast<int>(operations_.size()));
    if (added) {
      operation["n"] = known->second;
      operations_.push_back(std::move(operation));
    }
    return known->second;
  }

  /// The vertices form a chain as long as the Dockerfile, so no recursion.
  int vertex(int id) {
    std::vector<int> open = {id};
    while (!open.empty()) {
      const int at = open.back();
      bool ready = true;
      if (!done_.contains(at)) {
        std::vector<int> order = input_order(at);
        std::reverse(order.begin(), order.end());
        for (const int input : order) {
          if (done_.contains(input)) continue;
          open.push_back(input);
          ready = false;
        }
        if (ready) done_[at] = write_vertex(plan_.vertices[static_cast<std::size_t>(at)]);
      }
      if (ready) open.pop_back();
    }
    return done_.at(id);
  }

  /// In which order a vertex's inputs are numbered: mounts by target, copied things from the last to the first.
  std::vector<int> input_order(int id) const {
    const Vertex& vertex = plan_.vertices[static_cast<std::size_t>(id)];
    if (std::holds_alternative<CopyOp>(vertex.op)) {
      const auto& copy = std::get<CopyOp>(vertex.op);
      std::vector<int> order = {vertex.inputs.front()};
      for (std::size_t i = copy.paths.size(); i-- > 0;) order.push_back(input_of(vertex, copy, i));
      return order;
    }
    if (const auto* run = std::get_if<RunOp>(&vertex.op)) {
      std::vector<int> order = {vertex.inputs.front()};
      for (const RunMount* mount : sorted_mounts(*run))
        if (mount->input >= 0) order.push_back(vertex.inputs[static_cast<std::size_t>(mount->input)]);
      return order;
    }
    return vertex.inputs;
  }

  static int input_of(const Vertex& vertex, const CopyOp& copy, std::size_t path) {
    const int place = copy.path_inputs.empty() ? 1 : copy.path_inputs[path];
    return vertex.inputs.at(static_cast<std::size_t>(place));
  }

  int write_vertex(const Vertex& vertex) {
    return std::visit([&](const auto& op) { return write(op, vertex); }, vertex.op);
  }

  int source(const std::string& identifier, Json attributes) {
    Json operation = {{"op", "source"}, {"identifier", identifier}};
    if (!attributes.empty()) operation["attrs"] = std::move(attributes);
    return add(std::move(operation));
  }

  int write(const SourceOp& op, const Vertex&) {
    if (!op.reference || stub_bases_) return kNothing;
    Json operation = {{"op", "source"}, {"identifier", "docker-image://" + op.reference->canonical()}};
    operation["attrs"] = {{"image.resolvemode", "default"}};
    return add(std::move(operation), op.platform.to_string());
  }

  int write(const LocalOp& op, const Vertex&) {
    Json attributes = {{"local.sharedkeyhint", op.name}};
    if (!op.paths.empty())
      attributes["local.followpaths"] = Json(op.paths).dump(-1, ' ', false, Json::error_handler_t::replace);
    return source("local://" + op.name, std::move(attributes));
  }

  int write(const HttpOp& op, const Vertex&) {
    Json attributes = {{"http.filename", op.filename}};
    if (!op.checksum.empty()) attributes["http.checksum"] = op.checksum;
    return source(op.url, std::move(attributes));
  }

  int write(const GitOp& op, const Vertex&) {
    Json attributes = {{"git.fullurl", op.remote},
                       {"git.authheadersecret", "GIT_AUTH_HEADER"},
                       {"git.authtokensecret", "GIT_AUTH_TOKEN"}};
    if (op.keep_git_dir) attributes["git.keepgitdir"] = "true";
    if (!op.checksum.empty()) attributes["git.checksum"] = op.checksum;
    if (op.skip_submodules) attributes["git.skipsubmodules"] = "true";
    if (op.fetch_by_commit) attributes["git.fetchbycommit"] = "true";
    std::string address = op.remote;
    const std::size_t scheme = address.find("://");
    if (scheme == std::string::npos || address.starts_with("ssh://")) attributes["git.mountsshsock"] = "default";
    if (scheme != std::string::npos) address.erase(0, scheme + 3);
    std::size_t slash = std::min(address.find('/'), address.size());
    if (scheme == std::string::npos) {  // user@host:path
      slash = std::min(address.find(':'), address.size());
      if (slash < address.size()) address.replace(slash, 1, address.substr(slash + 1, 1) == "/" ? "" : "/");
    }
    if (const std::size_t user = address.substr(0, slash).rfind('@'); user != std::string::npos)
      address.erase(0, user + 1);
    slash = std::min(address.find('/'), address.size());
    std::string identifier = "git://" + address.substr(0, slash) + clean_path(address.substr(slash));
    if (!op.ref.empty() || !op.subdirectory.empty()) identifier += "#" + op.ref;
    if (!op.subdirectory.empty()) identifier += ":" + op.subdirectory;
    return source(identifier, std::move(attributes));
  }

  std::int64_t timestamp() const { return plan_.source_date_epoch ? *plan_.source_date_epoch * 1'000'000'000 : -1; }

  int write(const WorkdirOp& op, const Vertex& vertex) {
    Json mkdir = {{"path", op.path}, {"mode", 0755}, {"makeParents", true}, {"timestamp", timestamp()}};
    if (!op.owner.empty()) mkdir["owner"] = owner_of(op.owner);
    return file(done_.at(vertex.inputs[0]), "mkdir", std::move(mkdir));
  }

  /// A file operation with one action and no second input.
  int file(int base, const char* kind, Json action) {
    Json operation = {{"op", "file"}};
    if (base != kNothing) operation["inputs"] = Json::array({reference(base)});
    operation["actions"] = Json::array({{{"Action", {{kind, std::move(action)}}},
                                         {"input", base == kNothing ? -1 : 0},
                                         {"secondaryInput", -1},
                                         {"output", 0}}});
    return add(std::move(operation));
  }

  int inline_file(const std::string& path, const std::string& content, unsigned mode) {
    Json mkfile = {{"path", path}, {"mode", mode}, {"timestamp", -1}};
    if (!content.empty()) mkfile["data"] = encode_base64(content);
    return file(kNothing, "mkfile", std::move(mkfile));
  }

  /// An input of an operation: its place among them, added where it is new.
  static int place_of(Json& inputs, int number) {
    if (number == kNothing) return -1;
    const std::string wanted = reference(number);
    for (std::size_t i = 0; i < inputs.size(); ++i)
      if (inputs[i] == wanted) return static_cast<int>(i);
    inputs.push_back(wanted);
    return static_cast<int>(inputs.size()) - 1;
  }

  static Json copy_action(const CopyOp& op, const std::string& source) {
    std::string destination = op.destination;
    if (op.destination_dot) destination += ".";
    Json copy = {{"src", source}, {"dest", destination}, {"createDestPath", true}, {"timestamp", -1}};
    unsigned mode = 0;
    const auto [end, error] = std::from_chars(op.chmod.data(), op.chmod.data() + op.chmod.size(), mode, 8);
    if (op.chmod.empty())
      copy["mode"] = -1;
    else if (error != std::errc() || end != op.chmod.data() + op.chmod.size())
      copy["modeStr"] = op.chmod;
    else if (mode != 0)
      copy["mode"] = mode;
    if (!op.chown.empty()) copy["owner"] = owner_of(op.chown);
    if (!op.exclude.empty()) copy["exclude_patterns"] = op.exclude;
    return copy;
  }

  Json path_action(const CopyOp& op, std::size_t index, const Vertex& vertex) const {
    const Op& from = plan_.vertices[static_cast<std::size_t>(input_of(vertex, op, index))].op;
    Json copy = copy_action(op, op.paths[index]);
    if (std::holds_alternative<GitOp>(from)) return copy;
    if (std::holds_alternative<HttpOp>(from)) {
      if (op.unpack) copy["attemptUnpackDockerCompatibility"] = true;
      return copy;
    }
    for (const char* flag : {"allowEmptyWildcard", "allowWildcard", "dirCopyContents", "followSymlink"})
      copy[flag] = true;
    if (op.is_add) copy["attemptUnpackDockerCompatibility"] = true;
    if (op.parents) {
      const std::string& path = op.paths[index];
      const std::size_t pivot = path.find("/./");
      const bool split = pivot != std::string::npos;
      copy["src"] = split && pivot > 0 ? path.substr(0, pivot) : "/";
      copy["include_patterns"] = Json::array({path.substr(split ? pivot + 3 : 1)});
      if (!has_wildcard(path)) copy["required_paths"] = Json::array({clean_path(path)});
    }
    return copy;
  }

  int write(const CopyOp& op, const Vertex& vertex) {
    const int base = done_.at(vertex.inputs[0]);
    std::vector<std::pair<int, Json>> actions;  // what is copied from, and how
    std::vector<int> files(op.files.size());
    for (std::size_t i = op.files.size(); i-- > 0;)
      files[i] = inline_file("/" + op.files[i].name, op.files[i].content, 0644);
    for (std::size_t i = 0; i < op.paths.size(); ++i)
      actions.emplace_back(done_.at(input_of(vertex, op, i)), path_action(op, i, vertex));
    for (std::size_t i = 0; i < files.size(); ++i)
      actions.emplace_back(files[i], copy_action(op, "/" + op.files[i].name));

    const int below = op.link ? kNothing : base;
    Json inputs = Json::array(), list = Json::array();
    const int base_place = place_of(inputs, below);
    std::vector<int> places;
    for (const auto& [number, action] : actions) places.push_back(place_of(inputs, number));
    for (std::size_t i = 0; i < actions.size(); ++i) {
      const int previous = static_cast<int>(inputs.size() + i) - 1;
      list.push_back({{"Action", {{"copy", std::move(actions[i].second)}}},
                      {"input", i == 0 ? base_place : previous},
                      {"secondaryInput", places[i]},
                      {"output", i + 1 == actions.size() ? 0 : -1}});
    }
    Json operation = {{"op", "file"}, {"actions", std::move(list)}};
    if (!inputs.empty()) operation["inputs"] = std::move(inputs);
    const int copied = add(std::move(operation));
    if (!op.link || base == kNothing) return copied;
    Json merge = {{"op", "merge"}};
    merge["inputs"] = Json::array({reference(base), reference(copied)});
    return add(std::move(merge));
  }

  /// Binds, caches and tmpfs by their targets; not secrets and agents, which come last and unsorted.
  static std::vector<const RunMount*> sorted_mounts(const RunOp& op) {
    std::vector<const RunMount*> mounts;
    for (const RunMount& mount : op.mounts)
      if (mount.type != RunMount::Type::secret && mount.type != RunMount::Type::ssh) mounts.push_back(&mount);
    std::stable_sort(mounts.begin(), mounts.end(),
                     [](const RunMount* a, const RunMount* b) { return a->written_target < b->written_target; });
    return mounts;
  }

  Json mount_json(const RunMount& mount, int number, Json& inputs) {
    using Type = RunMount::Type;
    std::string source = mount.source;
    if (mount.type == Type::cache && mount.mode && (source.empty() || source == "/")) {
      Json mkdir = {{"path", "/cache"}, {"mode", *mount.mode & 0777u}, {"timestamp", -1}};
      mkdir["owner"] = {{"user", principal(std::to_string(mount.uid))},
                        {"group", principal(std::to_string(mount.gid))}};
      number = file(number, "mkdir", std::move(mkdir));
      source = "/cache";
    }
    Json json = {{"dest", mount.written_target}, {"input", place_of(inputs, number)}, {"output", -1}};
    json["type"] = mount.type == Type::cache ? "CACHE" : mount.type == Type::tmpfs ? "TMPFS" : "BIND";
    if (mount.read_only) json["readonly"] = true;
    if (!source.empty() && source != "/") json["selector"] = source;
    if (mount.type == Type::cache) {
      json["cache_id"] = (cache_namespace_ ? "" : "/") + mount.id;
      json["cache_sharing"] = mount.sharing == RunMount::Sharing::locked         ? "LOCKED"
                              : mount.sharing == RunMount::Sharing::private_copy ? "PRIVATE"
                                                                                 : "SHARED";
    }
    return json;
  }

  static Json secret_json(const RunMount& mount) {
    const bool agent = mount.type == RunMount::Type::ssh;
    Json json = {{"dest", mount.written_target}, {"input", -1}, {"output", 0}, {"type", agent ? "SSH" : "SECRET"}};
    json[agent ? "ssh_id" : "secret_id"] = mount.default_id ? "" : mount.id;
    json[agent ? "ssh_optional" : "secret_optional"] = !mount.required;
    const std::uint32_t mode = mount.mode.value_or(agent ? 0600 : 0400);
    if (!agent) json["mode"] = mode;
    return json;
  }

  int write(const RunOp& op, const Vertex& vertex) {
    Json inputs = Json::array(), mounts = Json::array(), secrets = Json::array();
    const int base = done_.at(vertex.inputs[0]);
    mounts.push_back({{"dest", "/"}, {"input", place_of(inputs, base)}, {"output", 0}, {"type", "BIND"}});
    std::vector<std::pair<std::string, Json>> sorted;
    if (!op.script.empty()) {
      const std::string path = op.args.back();
      const int script = inline_file("/" + path.substr(std::string_view("/dev/pipes/").size()), op.script, 0755);
      sorted.emplace_back("/dev/pipes/", Json{{"dest", "/dev/pipes/"}, {"input", script}});
    }
    for (const RunMount* mount : sorted_mounts(op)) {
      const int number = mount->input < 0 ? kNothing : done_.at(vertex.inputs[static_cast<std::size_t>(mount->input)]);
      if (!sorted.empty() && sorted[0].first == "/dev/pipes/" && mount->written_target > "/dev/pipes/")
        add_script(sorted, inputs, mounts);
      mounts.push_back(mount_json(*mount, number, inputs));
    }
    add_script(sorted, inputs, mounts);
    for (const RunMount& mount : op.mounts) {
      if (mount.type == RunMount::Type::secret && !mount.env.empty()) {
        Json secret = {{"ID", mount.id}, {"name", mount.env}};
        if (!mount.required) secret["optional"] = true;
        secrets.push_back(std::move(secret));
      }
      if (mount.type == RunMount::Type::secret && !mount.written_target.empty()) mounts.push_back(secret_json(mount));
    }
    for (const RunMount& mount : op.mounts)
      if (mount.type == RunMount::Type::ssh) mounts.push_back(secret_json(mount));

    Json operation = {{"op", "exec"}, {"args", op.args}, {"cwd", op.working_dir}, {"env", op.env.get()}};
    operation["mounts"] = std::move(mounts);
    if (!inputs.empty()) operation["inputs"] = std::move(inputs);
    if (!op.user.empty()) operation["user"] = op.user;
    if (op.network == "none" || op.network == "host") operation["network"] = to_upper(op.network);
    if (op.insecure) operation["security"] = "INSECURE";
    if (!secrets.empty()) operation["secretenv"] = std::move(secrets);
    for (const std::string& name : op.devices) {
      Json device = {{"name", name}};
      if (std::find(op.required_devices.begin(), op.required_devices.end(), name) == op.required_devices.end())
        device["optional"] = true;
      operation["devices"].push_back(std::move(device));
    }
    return add(std::move(operation), op.platform.to_string());
  }

  static void add_script(std::vector<std::pair<std::string, Json>>& script, Json& inputs, Json& mounts) {
    for (auto& [target, mount] : script) {
      const int place = place_of(inputs, mount["input"].get<int>());
      mounts.push_back({{"dest", target},
                        {"input", place},
                        {"output", -1},
                        {"readonly", true},
                        {"selector", "/"},
                        {"type", "BIND"}});
    }
    script.clear();
  }

  const Plan& plan_;
  const bool stub_bases_, cache_namespace_;
  Json operations_ = Json::array();
  std::map<std::string, int> numbers_;
  std::map<int, int> done_;  ///< by vertex: its operation
};

}  // namespace

nlohmann::json llb_operations(const Plan& plan, bool stub_bases, bool cache_namespace) {
  return Writer(plan, stub_bases, cache_namespace).write();
}

}  // namespace dray::builder
