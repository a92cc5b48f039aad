FROM registry.test/base AS b
RUN mkdir /g && touch /g/a1 /g/a2 /g/b1
FROM scratch
COPY --from=b /g/a* /out/
COPY --from=b /g/*1 /one/
