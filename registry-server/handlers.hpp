// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>

#include <dray/core/digest.hpp>

#include "exchange.hpp"
#include "htpasswd.hpp"
#include "repositories.hpp"
#include "uploads.hpp"

// The endpoints of distribution-spec 1.1, by subject.

namespace dray::registry_server {

class PullThrough;

struct Handlers {
  Repositories& repositories;
  Uploads& uploads;
  const Htpasswd* users = nullptr;  ///< nullptr: everybody may do everything
  PullThrough* upstream = nullptr;  ///< a pull-through cache: nothing is pushed or deleted by clients
  std::function<void(const std::string& line)> log;
  /// Served to everybody on loopback only: requests must name this host in "Host", or an address of loopback. A name
  /// that a web page made point here (DNS rebinding) is refused.
  std::optional<std::string> only_host{};

  /// Never null.
  std::unique_ptr<Exchange> begin(const Request& request);
};

// One function an endpoint; the name is checked, the method is one it has.
std::unique_ptr<Exchange> read_blob(Handlers& handlers, const Request& request, const Digest& digest);
std::unique_ptr<Exchange> delete_blob(Handlers& handlers, const Request& request, const Digest& digest);
std::unique_ptr<Exchange> start_upload(Handlers& handlers, const Request& request);
std::unique_ptr<Exchange> continue_upload(Handlers& handlers, const Request& request);
std::unique_ptr<Exchange> read_manifest_of(Handlers& handlers, const Request& request);
std::unique_ptr<Exchange> put_manifest_of(Handlers& handlers, const Request& request);
std::unique_ptr<Exchange> delete_manifest_of(Handlers& handlers, const Request& request);
std::unique_ptr<Exchange> list_tags(Handlers& handlers, const Request& request);
std::unique_ptr<Exchange> list_repositories(Handlers& handlers, const Request& request);
std::unique_ptr<Exchange> list_referrers(Handlers& handlers, const Request& request);

/// Logged with its text; the client gets failure_reply.
Reply failed(Handlers& handlers, const Error& error);
/// "/v2/NAME/KIND/REFERENCE"
std::string location(const std::string& name, std::string_view kind, std::string_view reference);

}  // namespace dray::registry_server
