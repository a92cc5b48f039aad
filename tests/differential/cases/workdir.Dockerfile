FROM registry.test/base
WORKDIR /new/dir
WORKDIR rel
USER app
WORKDIR /owned/by
WORKDIR /etc
