FROM registry.test/base
RUN ls /proc/self > /dev/null && ls -d /dev/null /dev/pts /dev/shm /dev/stdin > /devs && cat /etc/hosts > /dev/null
