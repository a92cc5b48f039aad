# options: --build-arg G=given
FROM registry.test/base
ENV A=1 B="two words" C='sq $A'
ENV D=${A}x E=$B
ARG F=f
ARG G
RUN env | grep -v -e HOSTNAME -e ^_ -e SHLVL -e OTEL -e TRACEPARENT | sort > /env
