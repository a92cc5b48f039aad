// SPDX-License-Identifier: Apache-2.0
// COPY and ADD: where each source comes from (context, stage, image, URL, git), and the paths in it.
#include <algorithm>

#include <dray/core/percent.hpp>

#include "dockerfile/text.hpp"
#include "plan/stage_builder.hpp"
#include "plan/values.hpp"
#include "source/credentials.hpp"
#include "source/git_reference.hpp"

namespace dray::builder {

namespace {

Failure invalid(std::string message) { return fail(ErrorCode::invalid_argument, std::move(message)); }

Result<bool> is_git(const std::string& source) {
  const auto git = parse_git_reference(source);
  if (!git) return Failure(git.error());
  return git->has_value() && !(*git)->looks_local;
}

/// The last part of a URL's path, or what BuildKit calls a file whose URL names none.
std::string file_name(std::string_view url) {
  std::string_view path = url.substr(url.find("://") + 3);
  path = path.substr(0, path.find_first_of("?#"));
  const std::size_t slash = path.find('/');
  const auto decoded = percent_decode(slash == std::string_view::npos ? "" : path.substr(slash));
  const std::string clean = clean_path(decoded.value_or(""));
  const std::string name = clean.substr(clean.rfind('/') + 1);
  return name.empty() ? "__unnamed__" : name;
}

Result<void> check_digest(const std::string& text) {
  const auto digest = Digest::parse(text);
  if (!digest) return invalid("invalid checksum \"" + text + "\": " + digest.error().message());
  return {};
}

}  // namespace

Result<StageBuilder::CopySource> StageBuilder::git_source(const CopyInstruction& copy, const std::string& text,
                                                          std::string& checksum) {
  const GitReference git = *TRY(parse_git_reference(text));
  if (!copy.is_add) return invalid("source can't be a git ref for COPY");
  if (copy.keep_git_dir && git.keep_git_dir && *copy.keep_git_dir != *git.keep_git_dir)
    return invalid("inconsistent keep-git-dir configuration");
  if (!is_http(text)) context_.builder.reads(-1, clean_path(text));  // as BuildKit, which takes it for a path here
  if (!checksum.empty() && !git.checksum.empty() && checksum != git.checksum)
    return invalid("checksum mismatch \"" + checksum + "\" != \"" + git.checksum + "\"");
  if (!git.checksum.empty()) checksum = git.checksum;
  GitOp op = git_op(git);
  op.checksum = checksum;
  op.keep_git_dir = git.keep_git_dir.value_or(copy.keep_git_dir.value_or(false));
  const SourceLocation location{context_.dockerfile.file, command_->instruction->line};
  return CopySource{"/", context_.builder.source_vertex(std::move(op), "ADD " + without_credentials(text), location)};
}

Result<StageBuilder::CopySource> StageBuilder::copy_source(const CopyInstruction& copy, const std::string& text,
                                                           std::string& checksum, int local) {
  if (TRY(is_git(text))) return git_source(copy, text, checksum);
  if (is_http(text)) {
    if (!copy.is_add) return invalid("source can't be a URL for COPY");
    if (!checksum.empty()) TRY(check_digest(checksum));
    const std::string name = file_name(text);
    const SourceLocation location{context_.dockerfile.file, command_->instruction->line};
    const int vertex =
        context_.builder.source_vertex(HttpOp{text, checksum, name}, "ADD " + without_credentials(text), location);
    return CopySource{clean_path(name), vertex};
  }
  if (copy.from.empty() && context_.options.ignore != nullptr)
    checks_->copy_source(text, copy.is_add, *context_.options.ignore);
  CopySource source{clean_path(text), local};
  if (const std::size_t pivot = text.find("/./"); copy.parents && pivot != std::string::npos) {
    const std::string parent = clean_path(text.substr(0, pivot));
    source.path = (parent == "/" ? "" : parent) + "/." + clean_path(text.substr(pivot + 3));
  }
  const int node = command_->sources.empty() ? -1 : command_->sources[0];
  context_.builder.reads(node, clean_path(text));
  return source;
}

Result<void> StageBuilder::copy_files(const CopyInstruction& copy, CopyOp& op, std::string& text) {
  ShellLex lex('\\');
  lex.skip_quotes = true;
  for (const Heredoc& heredoc : copy.heredocs) {
    text += " <<" + heredoc.name;
    std::string content = heredoc.content;
    if (heredoc.expand) content = TRY(expand(lex, content));
    const std::string name = clean_path(heredoc.name).substr(1);
    if (name.empty()) return invalid("\"" + heredoc.name + "\" is no name for a file");
    op.files.push_back({name, std::move(content)});
  }
  return {};
}

Result<void> StageBuilder::run(const CopyInstruction& copy) {
  CopyOp op;
  op.is_add = copy.is_add && copy.unpack.value_or(true);
  op.unpack = copy.unpack.value_or(false);
  op.if_exists = copy.if_exists;
  op.parents = copy.parents;
  op.exclude = copy.exclude;
  op.chown = TRY(expand(copy.chown));
  op.chmod = TRY(expand(copy.chmod));
  TRY(check_mode(op.chmod));
  op.link = copy.link && op.chmod.empty();  // as BuildKit
  std::string checksum = TRY(expand(copy.checksum));
  std::string text = copy.is_add ? "ADD" : "COPY";
  if (copy.parents) text += " --parents";
  if (!op.chown.empty()) text += " --chown=" + op.chown;
  if (!op.chmod.empty()) text += " --chmod=" + op.chmod;

  std::vector<std::string> sources;
  for (const std::string& source : copy.sources) sources.push_back(TRY(expand(source)));
  const std::string destination = TRY(expand(copy.destination));
  if (!checksum.empty()) {
    if (sources.size() != 1) return invalid("checksum can't be specified for multiple sources");
    if (!is_http(sources[0]) && !TRY(is_git(sources[0]))) return invalid("checksum requires HTTP(S) or Git sources");
  }

  int local = -1;
  if (!command_->sources.empty()) {
    local = TRY(context_.builder.node_vertex(command_->sources[0]));
    if (local < 0)
      return invalid("cannot copy from stage \"" + copy.from + "\", it needs to be defined before current stage \"" +
                     context_.name + "\"");
  }
  std::vector<int> inputs = {state_.vertex};
  std::vector<int> places;
  for (const std::string& path : sources) {
    text += " " + path;
    CopySource source = TRY(copy_source(copy, path, checksum, local));
    if (source.vertex < 0) source.vertex = local = context_.builder.context_vertex();
    const auto known = std::find(inputs.begin() + 1, inputs.end(), source.vertex);
    places.push_back(static_cast<int>(known - inputs.begin()));
    if (known == inputs.end()) inputs.push_back(source.vertex);
    op.paths.push_back(std::move(source.path));
  }
  if (std::any_of(places.begin(), places.end(), [](int place) { return place != 1; }))
    op.path_inputs = std::move(places);
  TRY(copy_files(copy, op, text));

  text += " " + destination;
  op.destination = join_path(working_directory(), destination);
  op.destination_dot = destination.ends_with("/.");
  const bool directory = destination.empty() || destination == "." || destination.ends_with('/') || op.destination_dot;
  if (directory && op.destination != "/") op.destination += "/";
  std::string shown = without_credentials(title(lex_, command_->instruction->original));
  return layer(std::move(op), std::move(inputs), std::move(shown), text + " # buildkit");
}

}  // namespace dray::builder
