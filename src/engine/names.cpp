// SPDX-License-Identifier: Apache-2.0
// Names for containers that got none: adjective_surname, as users of Docker expect, from word lists of our own (people
// of computing, transport and logistics). A clash is the caller's to notice; it asks again.
#include <cstdlib>

#include "container_state.hpp"

namespace dray::engine {
namespace {

constexpr const char* kAdjectives[] = {
    "able",     "agile",    "amber",   "bold",   "brave",   "breezy", "bright",  "brisk",     "calm",    "candid",
    "cheerful", "clever",   "cosmic",  "crisp",  "curious", "daring", "deft",    "eager",     "earnest", "easy",
    "fair",     "fearless", "fleet",   "fond",   "frank",   "gentle", "glad",    "golden",    "grand",   "happy",
    "hardy",    "hearty",   "honest",  "jolly",  "keen",    "kind",   "lively",  "loyal",     "lucid",   "lucky",
    "mellow",   "merry",    "mighty",  "modest", "nimble",  "noble",  "patient", "placid",    "plucky",  "polite",
    "proud",    "quick",    "quiet",   "rapid",  "ready",   "serene", "sharp",   "silent",    "sincere", "smooth",
    "snug",     "solid",    "spry",    "steady", "stoic",   "sturdy", "sunny",   "swift",     "tender",  "tidy",
    "trusty",   "upbeat",   "valiant", "vivid",  "warm",    "wise",   "witty",   "wonderful", "young",   "zesty"};

constexpr const char* kSurnames[] = {
    "allen",     "antonelli",  "babbage",   "backus",  "bartik",   "benz",     "bessemer", "birdsall", "blanchard",
    "brunel",    "cerf",       "codd",      "curie",   "daimler",  "dijkstra", "eckert",   "euler",    "faraday",
    "feynman",   "floyd",      "fourier",   "fulton",  "gauss",    "germain",  "goldberg", "hamilton", "hamming",
    "hertz",     "hoare",      "holberton", "hopper",  "huffman",  "iverson",  "johnson",  "kay",      "kepler",
    "kernighan", "kleene",     "knuth",     "lamarr",  "lamport",  "lampson",  "liskov",   "lovelace", "mclean",
    "mauchly",   "maxwell",    "mccarthy",  "meitner", "milner",   "naur",     "newell",   "noether",  "nygaard",
    "otis",      "pascal",     "perlman",   "ritchie", "roebling", "sammet",   "shannon",  "shockley", "simon",
    "spence",    "stephenson", "strachey",  "tarjan",  "telford",  "tesla",    "thompson", "torvalds", "trevithick",
    "turing",    "vaughan",    "watt",      "wilkes",  "wirth",    "wilson",   "yao",      "zuse"};

template <std::size_t N>
const char* pick(const char* const (&words)[N]) {
  return words[std::strtoul(random_hex(3).c_str(), nullptr, 16) % N];
}

}  // namespace

std::string make_container_name() { return std::string(pick(kAdjectives)) + "_" + pick(kSurnames); }

}  // namespace dray::engine
