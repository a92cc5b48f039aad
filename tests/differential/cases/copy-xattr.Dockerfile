FROM registry.test/base AS b
RUN touch /x && mkdir /d
FROM registry.test/base
COPY --from=b /x /d /k/
