FROM registry.test/base
RUN --mount=target=/ctx ls -a /ctx > /1; ls /ctx/ignored > /2
