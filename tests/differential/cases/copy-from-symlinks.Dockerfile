FROM registry.test/base AS b
RUN mkdir -p /d/real && echo x > /d/real/x && ln -s real /d/rel && ln -s /d/real /d/abs && ln -s ../../../../d/real /d/up
FROM scratch
COPY --from=b /d/rel /1
COPY --from=b /d/abs/x /2
COPY --from=b /d/up/ /3/
COPY --from=b /d /4
