// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dray/runtime/spec.hpp>

#include "json_object.hpp"

// The readers of spec_json.hpp's objects, one a file, and the halves of format_spec(). Readers check what can be said
// of one property alone; validate_spec() does the rest. What is wrong is kept in the object's document.

namespace dray::runtime {

class JsonWriter;

constexpr std::size_t kMaxSpecSize = 16u << 20;

void read_process(const JsonObject& object, Process& process);
void read_resources(const JsonObject& object, Resources& resources);
void read_id_mappings(const JsonObject& object, std::string_view name, std::vector<IdMapping>& mappings);
void read_linux(const JsonObject& object, Spec& spec);

/// The runtime-spec's form of a profile; Docker's is parse_seccomp()'s.
void read_seccomp(const JsonObject& object, Seccomp& profile);

/// format_spec()'s half of the same.
void write_linux(JsonWriter& out, const Spec& spec);
void write_id_mappings(JsonWriter& out, std::string_view name, const std::vector<IdMapping>& mappings);

/// The six devices that every container gets (config-linux.md §default-devices), in runc's order.
std::vector<Device> default_devices();
/// The rules that go behind those of a config.json: runc's.
std::vector<DeviceRule> default_device_rules();
bool operator==(const Device& a, const Device& b);
bool operator==(const DeviceRule& a, const DeviceRule& b);

}  // namespace dray::runtime
