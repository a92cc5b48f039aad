FROM registry.test/base AS a
ONBUILD RUN echo trig > /trig
ONBUILD ARG late=l
FROM a
RUN cat /trig > /2
