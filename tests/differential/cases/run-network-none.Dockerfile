FROM registry.test/base
RUN --network=none ls /sys/class/net > /1
RUN --network=default true
