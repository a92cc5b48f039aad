FROM registry.test/base
RUN mkdir -p /d/e && touch /d/a /d/e/b
RUN rm -r /d && mkdir /d && touch /d/c
RUN rm -r /d/c && rmdir /d && touch /d
