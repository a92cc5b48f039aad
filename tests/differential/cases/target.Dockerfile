# options: --target two
FROM registry.test/base AS one
RUN echo 1 > /1
FROM one AS two
RUN echo 2 > /2
FROM registry.test/base
RUN false
