// SPDX-License-Identifier: Apache-2.0
// Trust in the host's certificate authorities, without a trace in the image. A mount point that has to be created would
// land in the layer, so the bundle is shown below /dev, which is a fresh tmpfs in every container, and programs are
// pointed to it by their variables; apt and wget, which have none for this, by a configuration file named in theirs. In
// containers (never in build steps) it is bound over the bundles that the image has, too.
#include "host_ca.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <dray/core/rooted_path.hpp>

#include "container_spec.hpp"

namespace dray::engine {
namespace {

constexpr const char* kHostBundles[] = {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                                        "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"};
constexpr const char* kImageBundles[] = {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                                         "/etc/ssl/cert.pem", "/etc/ssl/ca-bundle.pem"};
constexpr std::string_view kPlace = "/dev/.dray/";
constexpr const char* kVariables[] = {"SSL_CERT_FILE",       "REQUESTS_CA_BUNDLE",   "PIP_CERT",
                                      "NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE",       "GIT_SSL_CAINFO",
                                      "AWS_CA_BUNDLE",       "CARGO_HTTP_CAINFO",    "NIX_SSL_CERT_FILE",
                                      "DENO_CERT",           "PERL_LWP_SSL_CA_FILE", "HEX_CACERTS_PATH"};

std::string in_place(std::string_view name) {
  std::string path(kPlace);
  path.append(name);
  return path;
}

Result<std::string> find_host_bundle() {
  for (const char* path : kHostBundles) {
    struct stat status;
    if (::stat(path, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0) return std::string(path);
  }
  return Failure(Error(ErrorCode::unavailable,
                       "--trust-host-ca: the host has no certificate bundle at " + std::string(kHostBundles[0]))
                     .with_hint("install one: apt-get install ca-certificates"));
}

// A configuration file of ours on the host, written once.
Result<std::string> ensure_file(const Context& context, const std::string& name, const std::string& content) {
  std::string directory = context.configuration.state + "/host-ca";
  std::string path = directory + "/" + name;
  if (auto old = read_file(path, 65536); old && *old == content) return path;
  TRY(make_directories(directory, 0755));
  TRY(write_file_atomically(path, content, 0644, Durability::none));
  return path;
}

}  // namespace

Result<HostCa> make_host_ca(const Context& context, FdRef rootfs, HostCaPlaces places) {
  std::string bundle = TRY(find_host_bundle());
  const std::string place = in_place("host-ca.crt"), apt_place = in_place("apt.conf"), wget_place = in_place("wgetrc");
  HostCa trust;
  trust.mounts.push_back(read_only_bind(bundle, place));
  for (const char* name : kVariables) trust.env.push_back(std::string(name) + "=" + place);
  std::string apt = TRY(ensure_file(context, "apt.conf", "Acquire::https::CAInfo \"" + place + "\";\n"));
  std::string wget = TRY(ensure_file(context, "wgetrc", "ca_certificate = " + place + "\n"));
  trust.mounts.push_back(read_only_bind(apt, apt_place));
  trust.mounts.push_back(read_only_bind(wget, wget_place));
  trust.env.push_back("APT_CONFIG=" + apt_place);
  trust.env.push_back("WGETRC=" + wget_place);
  if (places == HostCaPlaces::variables) return trust;
  for (const char* path : kImageBundles) {
    auto status = stat_in_root(rootfs, path, FollowLast::yes);
    if (status && S_ISREG(status->st_mode)) trust.mounts.push_back(read_only_bind(bundle, path));
  }
  return trust;
}

void apply_host_ca(const HostCa& trust, runtime::Spec& spec) {
  for (const auto& mount : trust.mounts) spec.mounts.push_back(mount);
  for (const auto& entry : trust.env) {
    if (!has_variable(spec.process.env, entry.substr(0, entry.find('=')))) spec.process.env.push_back(entry);
  }
}

}  // namespace dray::engine
