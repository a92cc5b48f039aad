FROM registry.test/base
ADD --unpack=false pack.tar.gz /a
ADD --unpack pack.tar.gz /b
