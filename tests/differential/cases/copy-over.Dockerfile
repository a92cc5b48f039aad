FROM registry.test/base
RUN mkdir -p /t/src /t/x && chmod 700 /t/src && echo old > /t/src/one.c && ln -s one.c /t/src/two.c && chown 5:6 /t/src
COPY src /t/src
COPY --chown=9 src /t/x
