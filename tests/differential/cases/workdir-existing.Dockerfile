FROM registry.test/base
RUN mkdir -m 711 /e && ln -s e /l
WORKDIR /e
WORKDIR /l/sub
