# options: --build-arg b=cli
ARG tag=latest
ARG GLOBAL=g
FROM registry.test/base
ARG GLOBAL
ARG local=l$GLOBAL a=1 b
RUN echo $GLOBAL $local $a $b > /1
ARG a=2
ENV b=env
RUN echo $a $b > /2
