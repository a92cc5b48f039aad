FROM registry.test/base
RUN mkdir /v && touch /v/before
VOLUME /v /w
VOLUME ["/x y", "/z"]
RUN touch /v/after; mkdir -p /w && touch /w/f
