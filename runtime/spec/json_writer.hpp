// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dray::runtime {

/// Indented JSON in the order of the calls, laid out as Go's MarshalIndent does it. Callers pair open and close.
class JsonWriter {
 public:
  explicit JsonWriter(std::string_view indent) : indent_(indent) {}

  /// `name` is not looked at for the outermost object and in arrays.
  void open_object(std::string_view name = "") { open(name, '{'); }
  void close_object() { close('}'); }
  void open_array(std::string_view name = "") { open(name, '['); }
  void close_array() { close(']'); }

  void write(std::string_view name, std::string_view value);
  void write(std::string_view name, const char* value) { write(name, std::string_view(value)); }
  void write(std::string_view name, const std::string& value) { write(name, std::string_view(value)); }
  void write(std::string_view name, bool value) { raw(name, value ? "true" : "false"); }
  template <std::integral T>
    requires(!std::same_as<T, bool>)
  void write(std::string_view name, T value) {
    raw(name, std::to_string(value));
  }
  template <typename T>
  void write(std::string_view name, const std::vector<T>& values) {
    open_array(name);
    for (const auto& value : values) write("", value);
    close_array();
  }
  void write(std::string_view name, const std::map<std::string, std::string>& values);

  /// Nothing at all for what Go's "omitempty" leaves out.
  template <typename T>
  void write_if(std::string_view name, const T& value) {
    if (!(value == T{})) write(name, value);
  }
  template <typename T>
  void write_if(std::string_view name, const std::optional<T>& value) {
    if (value) write(name, *value);
  }

  std::string take() && { return std::move(out_); }

 private:
  void open(std::string_view name, char bracket);
  void close(char bracket);
  void raw(std::string_view name, std::string_view text);
  void start(std::string_view name);
  void quote(std::string_view text);

  std::string indent_, out_;
  std::string brackets_;  ///< those that are open
  bool empty_ = true;  ///< nothing yet in the innermost bracket
};

}  // namespace dray::runtime
