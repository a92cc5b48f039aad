FROM --platform=linux/amd64 registry.test/base
RUN uname -m > /m
