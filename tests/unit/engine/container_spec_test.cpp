// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"

#include "container_devices.hpp"
#include "container_spec.hpp"
#include "host_ca.hpp"

using namespace dray;
using namespace dray::engine;

TEST_CASE("environment: later wins, order stays", "[engine]") {
  auto env = merge_environment({"PATH=/bin", "A=1"}, {"A=2", "B=3", "AB=4"});
  CHECK(env == std::vector<std::string>{"PATH=/bin", "A=2", "B=3", "AB=4"});
  CHECK(has_variable(env, "AB"));
  CHECK_FALSE(has_variable(env, "P"));
}

TEST_CASE("no effective capabilities without root", "[engine]") {
  CHECK(make_capabilities({"CAP_CHOWN"}, 0).effective.size() == 1);
  auto user = make_capabilities({"CAP_CHOWN"}, 1000);
  CHECK(user.effective.empty());
  CHECK(user.permitted.empty());
  CHECK(user.bounding.size() == 1);
}

TEST_CASE("unknown security options are refused", "[engine]") {
  ContainerOptions options;
  options.security_opt = {"no-new-privileges", "seccomp=unconfined", "label=disable", "apparmor=unconfined"};
  CHECK(check_security_options(options));
  for (const char* text : {"", "no-new-privilege", "apparmor=custom", "secomp=unconfined"}) {
    options.security_opt = {text};
    CHECK_FALSE(check_security_options(options));
  }
}

TEST_CASE("devices", "[engine]") {
  runtime::Spec spec;
  REQUIRE_OK(add_devices(spec, {"/dev/null:/dev/nothing:r", "/dev/zero"}));
  REQUIRE(spec.devices.size() == 2);
  CHECK(spec.devices[0].path == "/dev/nothing");
  CHECK(spec.devices[0].minor == 3);
  REQUIRE(spec.resources.devices.size() == 2);
  CHECK(spec.resources.devices[0].access == "r");
  CHECK(spec.resources.devices[1].access == "rwm");
  for (const char* text : {"", "/dev/null:relative", "/dev/null:/dev/x:rwz", "/etc/passwd", "/dev/no-such-device"}) {
    INFO(text);
    CHECK_FALSE(add_devices(spec, {text}));
  }
}

TEST_CASE("trust in the host's CA leaves the user's variables alone", "[engine]") {
  HostCa trust;
  trust.env = {"SSL_CERT_FILE=/dev/.dray/host-ca.crt", "PIP_CERT=/dev/.dray/host-ca.crt"};
  runtime::Spec spec;
  spec.process.env = {"PIP_CERT=/mine"};
  apply_host_ca(trust, spec);
  CHECK(spec.process.env == std::vector<std::string>{"PIP_CERT=/mine", "SSL_CERT_FILE=/dev/.dray/host-ca.crt"});
}
