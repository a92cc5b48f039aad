#include <fmt/format.h>

int main(int argc, char**) { fmt::print("{} words\n", argc - 1); }
