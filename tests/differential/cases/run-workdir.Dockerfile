FROM registry.test/base
WORKDIR /a/b
RUN pwd > p
WORKDIR c
RUN pwd > p
WORKDIR ../d
RUN pwd > p
ENV X=/var/x
WORKDIR $X/y
RUN pwd > p
