// SPDX-License-Identifier: Apache-2.0
// For programs: each event as the object that BuildKit's client would send (vertexes, statuses, logs, warnings).
#include <mutex>

#include <nlohmann/json.hpp>

#include <dray/core/base64.hpp>
#include <dray/core/digest.hpp>
#include <dray/core/process.hpp>

#include "command.hpp"
#include "progress.hpp"

namespace dray::cli {
namespace {

using nlohmann::ordered_json;

class RawJsonProgress : public ProgressSink {
 public:
  explicit RawJsonProgress(const ProgressOptions& options) : output_(options.output) {}

  void report(const ProgressEvent& event) override {
    std::lock_guard lock(mutex_);
    const std::string time = format_time_now();
    Step* step = event.id == 0 ? nullptr : &steps_[event.id];
    if (step != nullptr && step->digest.empty()) {
      step->name = event.name;
      step->digest = Digest::of(std::to_string(event.id) + " " + event.name).to_string();
    }
    switch (event.kind) {
      case ProgressEvent::Kind::started:
        step->started = time;
        vertex(*step);
        break;
      case ProgressEvent::Kind::completed:
      case ProgressEvent::Kind::cached:
      case ProgressEvent::Kind::failed:
        if (step->started.empty()) step->started = time;
        step->completed = time;
        step->cached = event.kind == ProgressEvent::Kind::cached;
        if (event.kind == ProgressEvent::Kind::failed) step->error = event.text;
        vertex(*step);
        break;
      case ProgressEvent::Kind::output:
        write({{"logs",
                {{{"vertex", step->digest},
                  {"stream", event.is_stderr ? 2 : 1},
                  {"data", encode_base64(event.text)},
                  {"timestamp", time}}}}});
        break;
      case ProgressEvent::Kind::status:
        status(*step, event, time);
        break;
      case ProgressEvent::Kind::warning:
        warning(step, event);
        break;
      case ProgressEvent::Kind::message:
      case ProgressEvent::Kind::excerpt:
        break;  // BuildKit's form has no place for them; the error itself is printed at the end
    }
  }

 private:
  struct Step {
    std::string name, digest, started, completed, error;
    bool cached = false;
    std::map<std::string, std::string> statuses;  ///< when each began
  };

  void vertex(const Step& step) {
    ordered_json object = {{"digest", step.digest}, {"name", step.name}, {"started", step.started}};
    if (!step.completed.empty()) object["completed"] = step.completed;
    if (step.cached) object["cached"] = true;
    if (!step.error.empty()) object["error"] = step.error;
    write({{"vertexes", ordered_json::array({object})}});
  }

  void status(Step& step, const ProgressEvent& event, const std::string& time) {
    const std::string& id = event.name.empty() ? event.text : event.name;
    const std::string& started = step.statuses.try_emplace(id, time).first->second;
    ordered_json object = {{"id", id}, {"vertex", step.digest}};
    if (!event.name.empty() && !event.text.empty()) object["name"] = event.text;
    if (event.total > 0) object["total"] = event.total;
    object["current"] = event.current;
    object["timestamp"] = time;
    object["started"] = started;
    if (event.total > 0 && event.current >= event.total) object["completed"] = time;
    write({{"statuses", ordered_json::array({object})}});
  }

  void warning(const Step* step, const ProgressEvent& event) {
    const ProgressEvent::Source& source = event.source;
    ordered_json object;
    if (step != nullptr) object["vertex"] = step->digest;
    object["level"] = source.level;
    object["short"] = encode_base64(event.name);
    if (!event.text.empty()) object["detail"] = ordered_json::array({encode_base64(event.text)});
    if (!source.url.empty()) object["url"] = source.url;
    if (!source.file.empty()) object["sourceInfo"] = {{"filename", source.file}, {"language", "Dockerfile"}};
    if (source.line > 0)
      object["range"] =
          ordered_json::array({{{"start", {{"line", source.line}}}, {"end", {{"line", source.end_line}}}}});
    write({{"warnings", ordered_json::array({object})}});
  }

  void write(const ordered_json& object) {
    const std::string text = object.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
    if (output_)
      output_(text);
    else
      print_error(text);
  }

  std::mutex mutex_;
  ProgressOutput output_;
  std::map<int, Step> steps_;
};

}  // namespace

std::unique_ptr<ProgressSink> make_rawjson_progress(const ProgressOptions& options) {
  return std::make_unique<RawJsonProgress>(options);
}

}  // namespace dray::cli
