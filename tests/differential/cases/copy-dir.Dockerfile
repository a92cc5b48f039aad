FROM registry.test/base
COPY src /src
COPY src/ /src2/
COPY src/sub /existing
COPY src/one.c /existing/
