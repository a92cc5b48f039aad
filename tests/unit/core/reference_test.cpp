// SPDX-License-Identifier: Apache-2.0
#include <dray/core/reference.hpp>

#include "catch.hpp"

using namespace dray;

TEST_CASE("references normalise as Docker's do", "[core]") {
  struct Case {
    const char *name, *canonical, *familiar;
  };
  for (Case test : {Case{"debian", "docker.io/library/debian:latest", "debian:latest"},
                    Case{"debian:bookworm", "docker.io/library/debian:bookworm", "debian:bookworm"},
                    Case{"team/app", "docker.io/team/app:latest", "team/app:latest"},
                    Case{"docker.io/debian", "docker.io/library/debian:latest", "debian:latest"},
                    Case{"index.docker.io/library/debian", "docker.io/library/debian:latest", "debian:latest"},
                    Case{"localhost/app:1", "localhost/app:1", "localhost/app:1"},
                    Case{"localhost:5000/a/b:v1.0", "localhost:5000/a/b:v1.0", "localhost:5000/a/b:v1.0"},
                    Case{"[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"},
                    Case{"a__b/c--d.e", "docker.io/a__b/c--d.e:latest", "a__b/c--d.e:latest"}}) {
    CAPTURE(test.name);
    auto reference = Reference::parse(test.name);
    REQUIRE_OK(reference);
    CHECK(reference->canonical() == test.canonical);
    CHECK(reference->familiar() == test.familiar);
  }
}

TEST_CASE("a digest needs no tag, and wins where both are given", "[core]") {
  std::string digest = "sha256:" + std::string(64, '0');
  auto reference = Reference::parse("app@" + digest);
  REQUIRE_OK(reference);
  CHECK(reference->tag().empty());
  auto both = Reference::parse("app:1@" + digest);
  REQUIRE_OK(both);
  CHECK(both->tag_or_digest() == digest);
}

TEST_CASE("names that are none are refused", "[core]") {
  for (std::string bad :
       {std::string(), std::string("UPPER"), std::string("a//b"), std::string("-a"), std::string("a-"),
        std::string("a:"), std::string("a:-x"), std::string("a@sha256:x"), std::string("a___b"), std::string("a..b"),
        std::string("../etc"), std::string("a b"), std::string("a:b/c"), std::string(64, 'a'), std::string(300, 'a'),
        std::string("host:port/x"), std::string("a:") + std::string(129, 't'), std::string("ex_ample.com/app")}) {
    CAPTURE(bad);
    CHECK_FALSE(Reference::parse(bad).has_value());
  }
}
