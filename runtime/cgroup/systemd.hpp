// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <dray/runtime/cgroup.hpp>

#include "dbus.hpp"

// The pieces of the systemd functions that are tested without systemd.

namespace dray::runtime::systemd {

struct Properties {
  std::vector<dbus::Property> list;
  std::vector<std::string> warnings;
};
/// Resources as unit properties, as far as systemd (of this version) has them. Quota and period, memory and swap are
/// taken as one value each: whoever changes one alone has filled in the other.
Result<Properties> resource_properties(const Resources& resources, bool unified, int version);
/// DevicePolicy and DeviceAllow: systemd (v1) writes its own idea of them whenever it is reloaded.
Result<std::vector<dbus::Property>> device_properties(const std::vector<DeviceRule>& rules);
/// "0-2,9" as AllowedCPUs wants it: bit n of byte n / 8.
Result<std::vector<std::uint8_t>> cpu_mask(const std::string& list);
/// "252", "v252.4-1.fc36"; -1 = unknown.
int parse_version(std::string_view text);

Result<dbus::Typed> parse_gvariant(const std::string& text);
/// Of an annotation "org.systemd.property.<name>".
Result<dbus::Property> annotated_property(std::string name, const std::string& text);

/// Over a connection that is there; see the public functions.
Result<void> start_unit(dbus::Connection& connection, const SystemdUnit& unit,
                        const std::vector<dbus::Property>& properties);
Result<void> set_properties(dbus::Connection& connection, const SystemdUnit& unit,
                            const std::vector<dbus::Property>& properties);
Result<void> stop_unit(dbus::Connection& connection, const SystemdUnit& unit);
Result<int> read_version(dbus::Connection& connection);
/// A property of the manager that is a text.
Result<std::string> read_text(dbus::Connection& connection, const char* property);

}  // namespace dray::runtime::systemd
