# check=skip=all
FROM registry.test/base
RUN true
