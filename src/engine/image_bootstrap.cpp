// SPDX-License-Identifier: Apache-2.0
// A base image from Debian's own signed packages, by mmdebstrap. Its tar goes through one pipe into the content store.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>

#include <dray/core/process.hpp>
#include <dray/engine/images.hpp>

#include "apt_sources.hpp"
#include "container_spec.hpp"
#include "layer_image.hpp"

namespace dray::engine {
namespace {

// Empty files in the places where containers get theirs: mount points that no build step has to create. The host's own
// must not be in the image.
constexpr std::string_view kCustomize =
    "rm -f \"$1/etc/resolv.conf\" \"$1/etc/hostname\"; : >\"$1/etc/resolv.conf\"; : >\"$1/etc/hostname\"; "
    "[ -e \"$1/etc/hosts\" ] || : >\"$1/etc/hosts\"; "
    "rm -rf \"$1\"/var/lib/apt/lists/* \"$1\"/var/cache/apt/*.bin \"$1\"/var/log/*.log \"$1\"/var/log/apt";

Result<std::vector<std::string>> make_argv(const BootstrapRequest& request, const std::string& suite) {
  for (const std::string& word : {suite, request.variant, request.mirror}) {
    if (word.starts_with('-') || word.find_first_of(" \n\t") != std::string::npos)
      return fail(ErrorCode::invalid_argument, "invalid argument \"" + word + "\" for a bootstrap");
  }
  std::string hook = "--customize-hook=";
  hook.append(kCustomize);
  std::vector<std::string> argv = {"mmdebstrap", "--variant=" + request.variant, "--format=tar", hook};
  std::string include;
  for (const auto& package : request.include) include += (include.empty() ? "" : ",") + package;
  if (!include.empty()) argv.push_back("--include=" + include);
  argv.push_back(suite);
  argv.push_back("-");
  if (!request.mirror.empty()) {
    argv.push_back("deb " + request.mirror + " " + suite + " main");
  } else {
    auto lines = choose_sources(read_host_sources(), suite);
    argv.insert(argv.end(), lines.begin(), lines.end());
  }
  return argv;
}

struct Streams {
  FdRef out, err;
};

// Takes the tar from stdout and reports stderr, until both end.
Result<void> relay(ChildProcess& child, Streams streams, ByteSink& tar, ProgressSink& progress,
                   const CancelToken& cancel, std::string& last_words) {
  std::vector<std::byte> buffer(256 * 1024);
  struct pollfd items[2] = {{streams.out.get(), POLLIN, 0}, {streams.err.get(), POLLIN, 0}};
  bool asked = false;
  while (items[0].fd >= 0 || items[1].fd >= 0) {
    if (cancel.cancelled() && !asked) {
      child.signal(SIGTERM);  // it has mounts and a directory to clean up
      asked = true;
    }
    int ready = ::poll(items, 2, 200);
    if (ready < 0 && errno != EINTR) return fail_errno("waiting for mmdebstrap");
    for (int i = 0; ready > 0 && i < 2; ++i) {
      if (items[i].fd < 0 || items[i].revents == 0) continue;
      std::size_t count = TRY(read_some(FdRef(items[i].fd), buffer));
      std::span<const std::byte> bytes = std::span<const std::byte>(buffer).first(count);
      if (count == 0) {
        items[i].fd = -1;
      } else if (i == 0) {
        TRY(tar.write(bytes));
      } else {
        ProgressEvent event;
        event.kind = ProgressEvent::Kind::output;
        event.id = 1;
        event.is_stderr = true;
        event.text.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        last_words = (last_words + event.text);
        if (last_words.size() > 2000) last_words.erase(0, last_words.size() - 2000);
        progress.report(event);
      }
    }
  }
  return {};
}

Failure bootstrap_failed(const ExitStatus& status, const std::string& last_words) {
  std::string reason;
  for (std::size_t start = 0; start < last_words.size();) {
    std::size_t end = std::min(last_words.find('\n', start), last_words.size());
    std::string line = last_words.substr(start, end - start);
    if (line.starts_with("E: ")) reason = line.substr(3);
    start = end + 1;
  }
  return fail(ErrorCode::command_failed, "mmdebstrap failed with exit code " + std::to_string(status.exit_code()) +
                                             (reason.empty() ? "" : ": " + reason));
}

Result<store::PackedLayer> run_mmdebstrap(Context& context, const std::vector<std::string>& argv,
                                          ProgressSink& progress, const CancelToken& cancel) {
  Pipe out = TRY(make_pipe());
  Pipe err = TRY(make_pipe());
  SpawnRequest spawn;
  spawn.argv = argv;
  spawn.stdout_fd = out.write_end;
  spawn.stderr_fd = err.write_end;
  auto child = ChildProcess::spawn(spawn);
  if (!child) {
    if (child.error().code() != ErrorCode::not_found) return Failure(std::move(child).error());
    return Failure(Error(ErrorCode::unavailable, "mmdebstrap is not installed")
                       .with_hint("install it: apt-get install mmdebstrap"));
  }
  out.write_end.reset();
  err.write_end.reset();
  store::LayerWriter layer = TRY(store::LayerWriter::begin(context.store->content()));
  std::string last_words;
  TRY(relay(*child, {out.read_end, err.read_end}, layer, progress, cancel, last_words));
  ExitStatus status = TRY(child->wait());
  TRY(cancel.check());
  if (status.exit_code() != 0) return bootstrap_failed(status, last_words);
  return layer.commit();
}

image::ImageConfig make_config(const std::string& suite) {
  image::ImageConfig config;
  config.created = format_time_now();
  config.platform = image::Platform::host();
  config.config.env = {std::string(kDefaultPath)};
  config.config.cmd = {"bash"};
  image::History& history = config.history.emplace_back();
  history.created = config.created;
  history.created_by = "dray image bootstrap " + suite;
  history.comment = "mmdebstrap";
  return config;
}

}  // namespace

Result<Digest> bootstrap_image(Context& context, const BootstrapRequest& request, ProgressSink& progress,
                               const CancelToken& cancel) {
  Reference reference = TRY(Reference::parse(request.reference));
  std::string suite = request.suite.empty() ? reference.tag() : request.suite;
  if (suite.empty() || suite == "latest") suite = "stable";
  auto argv = TRY(make_argv(request, suite));
  store::Store::Lease lease = TRY(context.store->lease());
  ProgressEvent event;
  event.id = 1;
  event.kind = ProgressEvent::Kind::started;
  event.name = "bootstrapping " + reference.familiar() + " (" + suite + ", " + request.variant + ")";
  progress.report(event);
  auto work = [&]() -> Result<Digest> {
    const store::PackedLayer layer = TRY(run_mmdebstrap(context, argv, progress, cancel));
    store::ImageRecord record = TRY(make_layer_image(*context.store, layer, make_config(suite))).record;
    record.reference = reference.canonical();
    TRY(context.store->put_image(record));
    return record.image_id;
  };
  auto outcome = work();
  event.kind = outcome ? ProgressEvent::Kind::completed : ProgressEvent::Kind::failed;
  if (!outcome) event.text = outcome.error().message();
  progress.report(event);
  return outcome;
}

}  // namespace dray::engine
