FROM registry.test/base AS one
RUN echo 1 > /1
ENV S=one
FROM one AS two
RUN echo $S > /2
FROM registry.test/base AS unused
RUN false
FROM two
COPY --from=one /1 /copied
WORKDIR /w
