FROM registry.test/rich
RUN env | grep -v -e HOSTNAME -e ^_ -e SHLVL -e OTEL -e TRACEPARENT | sort > /srv/env; pwd > /srv/pwd; id > /srv/id
