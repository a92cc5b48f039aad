# syntax=docker/dockerfile:1
# check=skip=all
FROM registry.test/base
RUN true
