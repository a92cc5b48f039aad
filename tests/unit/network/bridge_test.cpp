// SPDX-License-Identifier: Apache-2.0
// In network namespaces of the test's own. Needs root; says so and passes without.
#include "catch.hpp"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <set>

#include <dray/network/network.hpp>

using namespace dray;
using namespace dray::network;

namespace {

FileDescriptor current_namespace() { return open_file("/proc/thread-self/ns/net", O_RDONLY).value(); }

FileDescriptor new_namespace(FdRef home) {
  REQUIRE(::unshare(CLONE_NEWNET) == 0);
  FileDescriptor made = current_namespace();
  REQUIRE(::setns(home.get(), CLONE_NEWNET) == 0);
  return made;
}

}  // namespace

TEST_CASE("each container gets an address of its own, once", "[network][bridge]") {
  if (::geteuid() != 0) {
    WARN("skipped: needs root");
    return;
  }
  const FileDescriptor before = current_namespace();
  const FileDescriptor home = new_namespace(before);
  REQUIRE(::setns(home.get(), CLONE_NEWNET) == 0);
  const TempDir state = TempDir::create("/tmp", "dray-bridge-").value();

  std::vector<FileDescriptor> containers;
  std::set<std::string> addresses;
  for (int i = 0; i < 8; ++i) {
    containers.push_back(new_namespace(home));
    const auto attached = attach_to_bridge(containers.back(), {}, state.path());
    if (!attached) FAIL_CHECK(attached.error().message());
    if (!attached) break;
    addresses.insert(attached->endpoint.ip_address);
  }
  CHECK(addresses.size() == 8);
  // A namespace that is attached already is an error, not a search through all addresses.
  CHECK(attach_to_bridge(containers.front(), {}, state.path()).error().error_number() == EEXIST);
  REQUIRE(::setns(before.get(), CLONE_NEWNET) == 0);
}
